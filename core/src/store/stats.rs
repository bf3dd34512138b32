use rusqlite::Row;

use super::sqlite::{SqlConnection, StoreFault};
use super::{Store, StoreError};
use crate::model::{Millis, NotificationState, Status};

/// The content of the store as numbers. Each comes from an index or from a small table, so with a million ended jobs the
/// answer takes a millisecond.
#[derive(Debug, Default)]
pub struct StoreStats {
    pub depth: QueueDepth,
    pub oldest_pending: Option<Millis>,
    /// The number of running jobs by engine (empty: not known).
    pub running: Vec<(String, u64)>,
    /// The number of ended jobs by status and class (empty: none), since the data folder was made.
    pub ended: Vec<(String, String, u64)>,
    pub outbox: Vec<OutboxCount>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    pub pending: u64,
    pub running: u64,
}

/// The notifications of one channel that are due, or dead.
#[derive(Debug)]
pub struct OutboxCount {
    pub channel: String,
    pub state: NotificationState,
    pub count: u64,
    pub oldest: Millis,
}

const DEPTH: &str = "SELECT status, COUNT(*) AS jobs FROM jobs WHERE status IN ('pending', 'running') GROUP BY status";
const OLDEST: &str = "SELECT created FROM jobs WHERE status = 'pending' ORDER BY id LIMIT 1";
const RUNNING: &str = "SELECT COALESCE(engine, '') AS engine, COUNT(*) AS jobs FROM jobs WHERE status = 'running' \
    GROUP BY COALESCE(engine, '')";
const ENDED: &str = "SELECT status, class, jobs FROM ended";
const OUTBOX: &str = "SELECT channel, state, COUNT(*) AS notifications, MIN(created) AS oldest FROM outbox \
    WHERE state IN ('due', 'dead') GROUP BY state, channel";

impl Store {
    pub async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read(|conn| {
            Ok(StoreStats {
                depth: depth(conn)?,
                oldest_pending: conn.first(OLDEST, &[], |row| row.get("created"))?,
                running: conn.all(RUNNING, &[], |row| Ok((row.get("engine")?, count(row, "jobs")?)))?,
                ended: conn.all(ENDED, &[], |row| Ok((row.get("status")?, row.get("class")?, count(row, "jobs")?)))?,
                outbox: conn.all(OUTBOX, &[], |row| {
                    let (channel, state) = (row.get("channel")?, row.get("state")?);
                    Ok(OutboxCount { channel, state, count: count(row, "notifications")?, oldest: row.get("oldest")? })
                })?,
            })
        })
        .await
    }

    /// Returns the number of jobs that wait, and that run.
    pub async fn queue_depth(&self) -> Result<QueueDepth, StoreError> {
        self.read(depth).await
    }
}

fn depth(conn: &SqlConnection) -> Result<QueueDepth, StoreFault> {
    let mut depth = QueueDepth::default();
    for (status, jobs) in conn.all(DEPTH, &[], |row| Ok((row.get("status")?, count(row, "jobs")?)))? {
        match status {
            Status::Pending => depth.pending = jobs,
            _ => depth.running = jobs,
        }
    }
    Ok(depth)
}

fn count(row: &Row, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_read_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        for sql in [DEPTH, OLDEST, RUNNING, OUTBOX] {
            let steps = store.read(|conn| conn.plan(sql)).await.unwrap();
            assert!(
                steps[0].starts_with("SEARCH ") && steps.iter().all(|step| !step.starts_with("SCAN")),
                "{sql}: {steps:?}"
            );
        }
    }

    #[tokio::test]
    async fn jobs_that_ended_before_they_were_counted_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (job, migrated) =
            ("('success'), ('success'), ('failure'), ('pending')", include_str!("migrations/0002_told.sql"));
        let count = migrated.split(';').find(|statement| statement.contains("INSERT INTO ended")).unwrap();
        store
            .write(move |conn| {
                conn.execute_all(&format!(
                    "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created) \
                     SELECT hex(randomblob(8)), '{{}}', 0, '', column1, 1, '[]', 0, 7 FROM (VALUES {job}); {count}"
                ))
            })
            .await
            .unwrap();
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.depth, QueueDepth { pending: 1, running: 0 });
        assert_eq!(stats.oldest_pending, Some(Millis(7)));
        let mut ended = stats.ended;
        ended.sort();
        assert_eq!(ended, [("failure", 1), ("success", 2)].map(|(status, n)| (status.into(), String::new(), n)));
    }
}
