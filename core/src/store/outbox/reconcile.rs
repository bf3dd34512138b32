//! The jobs whose outcome may not have arrived as a commit status, for the reconciler.

use std::time::Duration;

use super::rows::{self, NewNotification};
use crate::model::{Job, JobId, Millis};
use crate::store::jobs::{LAST_ID, columns, decode};
use crate::store::{Store, StoreError};

/// A notification that died sooner was refused. One that was tried in vain dies after 24 h less its last pause, an hour
/// at most.
const REFUSED: Duration = Duration::from_secs(22 * 3600);

impl Store {
    /// Marks the jobs that ended after `since` and whose outcome this channel has sent.
    pub async fn mark_reported(&self, channel: &'static str, since: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            conn.execute(
                "UPDATE jobs SET told = 1 WHERE told = 0 AND end_time >= $1 AND EXISTS (SELECT 1 FROM outbox \
                 WHERE job = jobs.id AND channel = $2 AND state = 'sent' AND outbox.created >= jobs.end_time)",
                &[&since, &channel],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the jobs that ended after `since`, are not marked as reported, and have no due notification in this
    /// channel. They were made before the job `before`, and come newest first. Jobs whose outcome was refused are among
    /// them only if `also_refused`.
    pub async fn unreported(
        &self,
        channel: &'static str,
        since: Millis,
        also_refused: bool,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE told = 0 AND end_time >= $1 AND id < $2 AND NOT EXISTS (SELECT 1 FROM outbox \
             WHERE job = jobs.id AND channel = $3 AND outbox.created >= jobs.end_time \
             AND (state = 'due' OR (state = 'dead' AND next_at - outbox.created < $4))) ORDER BY id DESC LIMIT $5"
        );
        let refused = if also_refused { 0 } else { REFUSED.as_millis() as i64 };
        let before = before.map_or(LAST_ID.into(), |id| id.to_string());
        self.read(move |conn| conn.all(SQL, &[&since, &before, &channel, &refused, &limit], decode)).await
    }

    /// Marks a job, so that the reconciler does not read it again.
    pub async fn status_reported(&self, id: JobId) -> Result<(), StoreError> {
        self.write(move |conn| {
            conn.execute("UPDATE jobs SET told = 1 WHERE id = $1", &[&id])?;
            Ok(())
        })
        .await
    }

    /// Adds a notification of an earlier outcome. Returns false, and adds nothing, if its lane has a due notification or
    /// one of a later job.
    pub async fn requeue_status(&self, job: &Job, new: NewNotification) -> Result<bool, StoreError> {
        let job = job.clone();
        let is_added = self
            .write(move |conn| {
                // The union has two parts because an index answers each, so not all that was ever sent is read.
                let newer = conn.first(
                    "SELECT 1 FROM outbox WHERE lane = $1 AND state IN ('due', 'dead') AND state = 'due' \
                     UNION ALL SELECT 1 FROM outbox WHERE job > $2 AND lane = $1 LIMIT 1",
                    &[&new.lane, &job.id],
                    |_| Ok(()),
                )?;
                if newer.is_none() {
                    rows::insert(conn, &job, vec![new])?;
                }
                Ok(newer.is_none())
            })
            .await?;
        self.notified.notify_one();
        Ok(is_added)
    }
}
