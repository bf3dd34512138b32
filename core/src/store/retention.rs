use std::time::Duration;

use super::deliveries::first_id;
use super::{Store, StoreError};
use crate::model::{JobId, Millis};

/// Number of jobs that are deleted at once.
const BATCH: u32 = 200;

/// A job is needed until it has ended, and while it is the newest of its branch, because the next job is compared with it.
const NEEDED: &str = "(status IN ('pending', 'running') OR NOT EXISTS (SELECT 1 FROM jobs AS newer \
    WHERE newer.repository = jobs.repository AND newer.branch = jobs.branch AND newer.id > jobs.id))";

impl Store {
    /// Deletes the oldest jobs that are older than `keep`, and returns them. A job that is needed, and one with a
    /// notification that is still in the outbox, stays.
    pub async fn delete_old_jobs(&self, now: Millis, keep: Duration) -> Result<Vec<JobId>, StoreError> {
        let oldest = first_id(now.0 - keep.as_millis() as i64);
        let sql = format!(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE id < $1 AND NOT {NEEDED} \
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.job = jobs.id) ORDER BY id LIMIT $2) RETURNING id"
        );
        self.write(move |conn| conn.all(&sql, &[&oldest, &BATCH], |row| row.get("id"))).await
    }

    /// Returns those of these jobs that there are, each with whether its log is needed: a job that is needed, or one with a
    /// notification that is still to be sent and may quote the log.
    pub async fn logs_needed(&self, jobs: Vec<JobId>) -> Result<Vec<(JobId, bool)>, StoreError> {
        let sql = format!(
            "SELECT {NEEDED} OR EXISTS (SELECT 1 FROM outbox WHERE outbox.job = jobs.id AND state = 'due') AS needed \
             FROM jobs WHERE id = $1"
        );
        self.read(move |conn| {
            let mut found = Vec::new();
            for id in jobs {
                found.extend(conn.first(&sql, &[&id], |row| row.get("needed"))?.map(|needed| (id, needed)));
            }
            Ok(found)
        })
        .await
    }
}
