use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::{Store, StoreError};
use crate::model::Millis;

/// What is in the store, as numbers. Each comes from an index or from a small table: with a million ended jobs it is
/// asked for in a millisecond.
#[derive(Debug, Default)]
pub struct StoreStats {
    pub depth: QueueDepth,
    pub oldest_pending: Option<Millis>,
    /// Of each engine (empty: not known) how many jobs it runs.
    pub running: Vec<(String, u64)>,
    /// By status and class (empty: none), since the data folder was made.
    pub ended: Vec<(String, String, u64)>,
    pub outbox: Vec<OutboxCount>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    pub pending: u64,
    pub running: u64,
}

/// The notifications of one channel and state: those not sent yet, and the dead.
#[derive(Debug)]
pub struct OutboxCount {
    pub channel: String,
    pub state: String,
    pub count: u64,
    pub oldest: Millis,
}

const DEPTH: &str = "SELECT status, COUNT(*) FROM jobs WHERE status IN ('pending', 'running') GROUP BY status";
const OLDEST: &str = "SELECT created FROM jobs WHERE status = 'pending' ORDER BY id LIMIT 1";
const RUNNING: &str =
    "SELECT COALESCE(engine, ''), COUNT(*) FROM jobs WHERE status = 'running' GROUP BY COALESCE(engine, '')";
const ENDED: &str = "SELECT status, class, jobs FROM ended";
const OUTBOX: &str = "SELECT channel, state, COUNT(*), MIN(created) FROM outbox WHERE state IN ('due', 'dead') \
    GROUP BY state, channel";

impl Store {
    pub async fn figures(&self) -> Result<StoreStats, StoreError> {
        self.read_figures().await.map_err(|e| self.explain(e))
    }

    /// How many jobs wait and run.
    pub async fn depth(&self) -> Result<QueueDepth, StoreError> {
        self.read_depth().await.map_err(|e| self.explain(e))
    }

    async fn read_depth(&self) -> Result<QueueDepth, sqlx::Error> {
        let mut depth = QueueDepth::default();
        for row in query(DEPTH).fetch_all(&self.readers).await? {
            match row.try_get(0)? {
                "pending" => depth.pending = count(&row, 1)?,
                _ => depth.running = count(&row, 1)?,
            }
        }
        Ok(depth)
    }

    async fn read_figures(&self) -> Result<StoreStats, sqlx::Error> {
        let depth = self.read_depth().await?;
        let oldest = query(OLDEST).fetch_optional(&self.readers).await?;
        let running = query(RUNNING).fetch_all(&self.readers).await?;
        let ended = query(ENDED).fetch_all(&self.readers).await?;
        let outbox = query(OUTBOX).fetch_all(&self.readers).await?;
        let lot = |row: &SqliteRow| {
            let (channel, state) = (row.try_get(0)?, row.try_get(1)?);
            Ok(OutboxCount { channel, state, count: count(row, 2)?, oldest: Millis(row.try_get(3)?) })
        };
        Ok(StoreStats {
            depth,
            oldest_pending: oldest.map(|row| row.try_get(0).map(Millis)).transpose()?,
            running: running
                .iter()
                .map(|row| Ok((row.try_get(0)?, count(row, 1)?)))
                .collect::<Result<_, sqlx::Error>>()?,
            ended: ended
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, count(row, 2)?)))
                .collect::<Result<_, sqlx::Error>>()?,
            outbox: outbox.iter().map(lot).collect::<Result<_, sqlx::Error>>()?,
        })
    }
}

fn count(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use sqlx::AssertSqlSafe;

    #[tokio::test]
    async fn nothing_is_read_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        for sql in [DEPTH, OLDEST, RUNNING, OUTBOX] {
            let plan =
                query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&store.readers).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.get(3)).collect();
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
                async move {
                    let insert = format!(
                        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created) \
                         SELECT hex(randomblob(8)), '{{}}', 0, '', column1, 1, '[]', 0, 7 FROM (VALUES {job})"
                    );
                    query(AssertSqlSafe(insert)).execute(&mut *conn).await?;
                    query(AssertSqlSafe(count)).execute(conn).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
        let figures = store.figures().await.unwrap();
        assert_eq!(figures.depth, QueueDepth { pending: 1, running: 0 });
        assert_eq!(figures.oldest_pending, Some(Millis(7)));
        let mut ended = figures.ended;
        ended.sort();
        assert_eq!(ended, [("failure", 1), ("success", 2)].map(|(status, n)| (status.into(), String::new(), n)));
    }
}
