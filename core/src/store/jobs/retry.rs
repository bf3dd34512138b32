use std::time::Duration;

use super::outcome;
use super::rows::{columns, decode, pending_stages};
use crate::model::{CommitId, Event, FailureClass, Job, JobId, Millis, Status, transition};
use crate::store::{Store, StoreError};

/// The longest rest of a job. A job that seems to rest longer began its rest before somebody set the clock back.
pub const LONGEST_REST: Duration = Duration::from_secs(120);

/// The end of an attempt that another attempt follows.
#[derive(Debug, Clone)]
pub struct Retry {
    pub class: FailureClass,
    pub cause: String,
    pub resolved_commit: Option<CommitId>,
    /// The time until the next attempt, LONGEST_REST at most.
    pub rest: Duration,
}

impl Store {
    /// Puts a running job back for another attempt after its rest, and counts the failure. Cancels the job instead if a
    /// user asked for that meanwhile. Only one of the two happens, and only in this attempt.
    pub async fn retry(&self, id: JobId, attempt: u32, retry: &Retry) -> Result<Job, StoreError> {
        let (retry, announce) = (retry.clone(), self.announce.clone());
        let job = self
            .write(move |conn| {
                let status = transition(Status::Running, Event::Requeue)?;
                let [stages, with_test] = pending_stages()?;
                let retried = conn.first(
                    concat!(
                        "UPDATE jobs SET status = $1, stages = CASE dialect WHEN 'compose-ci' THEN $9 ELSE $2 END, \
                         resolved_commit = COALESCE($3, resolved_commit), \
                         failures = failures + 1, class = $4, cause = $5, not_before = $6, start_time = NULL, \
                         claimed_by = NULL, lease_until = NULL \
                         WHERE id = $7 AND status = 'running' AND attempt = $8 AND cancel_requested = 0 RETURNING ",
                        columns!()
                    ),
                    &[
                        &status,
                        &stages,
                        &retry.resolved_commit,
                        &retry.class,
                        &retry.cause,
                        &(Millis::now() + retry.rest.min(LONGEST_REST)),
                        &id,
                        &attempt,
                        &with_test,
                    ],
                    decode,
                )?;
                retried.map_or_else(|| outcome::requeue_attempt(conn, id, attempt, &announce), Ok)
            })
            .await?;
        self.notified.notify_one();
        Ok(job)
    }
}
