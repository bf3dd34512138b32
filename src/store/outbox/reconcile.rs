//! Whose outcome may not have arrived: what a reconciler looks at.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::query;

use super::rows::{self, NewNotification};
use crate::model::{Job, JobId, Millis};
use crate::store::jobs::{columns, read};
use crate::store::{Store, StoreError};

/// What died so young was refused. What was tried in vain dies after 24 h, less its last pause, an hour at most.
const REFUSED: Duration = Duration::from_secs(22 * 3600);

impl Store {
    /// Marks the jobs that ended since then and whose outcome this channel has sent.
    pub async fn mark_told(&self, channel: &'static str, since: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            async move {
                query(
                    "UPDATE jobs SET told = 1 WHERE told = 0 AND end_time >= $1 AND EXISTS (SELECT 1 FROM outbox \
                     WHERE job = jobs.id AND channel = $2 AND state = 'sent' AND outbox.created >= jobs.end_time)",
                )
                .bind(since.0)
                .bind(channel)
                .execute(conn)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Jobs that ended since then, are not marked as told, and of which nothing is due in this channel; newest first,
    /// and made before the job `before`. Without those whose outcome was refused, unless `also_refused`.
    pub async fn untold(
        &self,
        channel: &'static str,
        since: Millis,
        also_refused: bool,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let refused = if also_refused { 0 } else { REFUSED.as_millis() as i64 };
        query(concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE told = 0 AND end_time >= $1 AND id < $2 AND NOT EXISTS (SELECT 1 FROM outbox \
             WHERE job = jobs.id AND channel = $3 AND outbox.created >= jobs.end_time \
             AND (state = 'due' OR (state = 'dead' AND next_at - outbox.created < $4))) ORDER BY id DESC LIMIT $5"
        ))
        .bind(since.0)
        .bind(before.map_or("ffffffff-ffff-ffff-ffff-ffffffffffff".into(), |id| id.to_string()))
        .bind(channel)
        .bind(refused)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .and_then(|rows| rows.iter().map(read).collect())
        .map_err(|e| self.explain(e))
    }

    /// Marks this job: nobody looks at it again.
    pub async fn told(&self, id: JobId) -> Result<(), StoreError> {
        self.write(move |conn| {
            async move {
                query("UPDATE jobs SET told = 1 WHERE id = $1").bind(id.to_string()).execute(conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// Adds a notification of an earlier outcome; false if its lane has something to send, or something of a later job.
    pub async fn tell_again(&self, job: &Job, new: NewNotification) -> Result<bool, StoreError> {
        let job = job.clone();
        let added = self
            .write(move |conn| {
                async move {
                    // Two questions, as an index answers each: not all that was ever sent is looked through.
                    let newer = query(
                        "SELECT 1 FROM outbox WHERE lane = $1 AND state IN ('due', 'dead') AND state = 'due' \
                         UNION ALL SELECT 1 FROM outbox WHERE job > $2 AND lane = $1 LIMIT 1",
                    )
                    .bind(new.lane.clone())
                    .bind(job.id.to_string())
                    .fetch_optional(&mut *conn)
                    .await?;
                    if newer.is_none() {
                        rows::insert(conn, &job, vec![new]).await?;
                    }
                    Ok(newer.is_none())
                }
                .boxed()
            })
            .await?;
        self.notified.notify_one();
        Ok(added)
    }
}
