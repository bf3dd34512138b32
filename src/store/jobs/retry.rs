use std::time::Duration;

use futures_util::FutureExt;
use sqlx::query;

use super::{outcome, rows};
use crate::model::{CommitId, Event, FailureClass, Job, JobId, Millis, Stages, Status, transition};
use crate::store::outbox::Announce;
use crate::store::{Store, StoreError};

/// A job rests at most so long. One that seems to rest longer was put to rest before somebody set the clock back.
pub const LONGEST_REST: Duration = Duration::from_secs(120);

/// Why an attempt ended that is to be followed by another one.
#[derive(Debug, Clone)]
pub struct Retry {
    pub class: FailureClass,
    pub cause: String,
    pub resolved_commit: Option<CommitId>,
    /// From now on; LONGEST_REST at most.
    pub rest: Duration,
}

impl Store {
    /// Puts a running job back for another attempt, not before its rest is over, and counts the failure; cancelled
    /// instead if that is what a user wanted meanwhile. Only one of these happens, and only in this attempt.
    pub async fn retry(&self, id: JobId, attempt: u32, retry: &Retry, announce: &Announce) -> Result<Job, StoreError> {
        let (retry, announce) = (retry.clone(), announce.clone());
        let stages = rows::json(&Stages::pending()).map_err(|e| self.explain(e))?;
        let job = self
            .write(move |conn| {
                async move {
                    let status =
                        transition(Status::Running, Event::Requeue).map_err(|e| StoreError::Conflict(e.status))?;
                    let row = query(concat!(
                        "UPDATE jobs SET status = $1, stages = $2, resolved_commit = COALESCE($3, resolved_commit), \
                         failures = failures + 1, class = $4, cause = $5, not_before = $6, start_time = NULL, \
                         claimed_by = NULL, lease_until = NULL \
                         WHERE id = $7 AND status = 'running' AND attempt = $8 AND cancel_requested = 0 RETURNING ",
                        rows::columns!()
                    ))
                    .bind(status.as_str())
                    .bind(stages)
                    .bind(retry.resolved_commit.map(|id| id.to_string()))
                    .bind(retry.class.as_str())
                    .bind(retry.cause)
                    .bind((Millis::now() + retry.rest.min(LONGEST_REST)).0)
                    .bind(id.to_string())
                    .bind(attempt)
                    .fetch_optional(&mut *conn)
                    .await?;
                    match row {
                        Some(row) => Ok(rows::read(&row)?),
                        None => outcome::put_back_running(conn, id, attempt, &announce).await,
                    }
                }
                .boxed()
            })
            .await?;
        self.notified.notify_one();
        Ok(job)
    }
}
