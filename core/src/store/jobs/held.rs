//! Jobs that are held, because a secret of theirs is stored and cannot be used. A held job is pending and rests. Its rest
//! ends when the secrets change, or after a minute, and then the claim looks again.

use std::time::Duration;

use super::outcome;
use super::rows::{columns, decode, enqueue};
use crate::model::{Job, Millis, Outcome, Status};
use crate::store::sqlite::{SqlConnection, StoreFault};
use crate::store::{Store, StoreError};

/// The time after which a held job is looked at again although no change of the secrets was seen.
const REST: Duration = Duration::from_secs(60);

/// Holds all jobs of a repository, because they need the same secrets.
pub(super) fn hold(conn: &SqlConnection, repository: &str, now: Millis) -> Result<(), StoreFault> {
    conn.execute(
        "UPDATE jobs SET held_since = COALESCE(held_since, $1), not_before = $2 \
         WHERE repository = $3 AND status = 'pending' AND not_before = 0",
        &[&now, &(now + REST), &repository],
    )?;
    conn.execute("UPDATE turns SET since = NULL WHERE repository = $1", &[&repository])?;
    Ok(())
}

impl Store {
    /// Has the held jobs looked at again. Each keeps the time since which it is held until it is claimed.
    pub async fn release_held(&self) -> Result<(), StoreError> {
        const RELEASE: &str = concat!(
            "UPDATE jobs SET not_before = 0 WHERE held_since IS NOT NULL AND status = 'pending' AND not_before > 0 \
             RETURNING ",
            columns!()
        );
        self.write(|conn| conn.all(RELEASE, &[], decode)?.iter().try_for_each(|job| enqueue(conn, job))).await
    }

    /// Returns the jobs that are held since `since` or longer.
    pub async fn held(&self, since: Millis) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE held_since IS NOT NULL AND held_since <= $1 AND status = 'pending' AND not_before > 0"
        );
        self.read(move |conn| conn.all(SQL, &[&since], decode)).await
    }

    /// Ends a pending job whose secret could not be used for too long. Its notifications are stored in the same
    /// transaction.
    pub async fn give_up(&self, job: &Job, outcome: &Outcome) -> Result<Job, StoreError> {
        let (id, attempt, outcome, announce) = (job.id, job.attempt, outcome.clone(), self.announce.clone());
        let job = self.write(move |conn| outcome::end(conn, id, Status::Pending, attempt, outcome, &announce)).await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Returns the newest job that ended of each repository, of those that ended after `since` for a reason that only an
    /// operator can mend; the `limit` newest.
    pub async fn operators_failures(&self, since: Millis, limit: u32) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE class IN ('config', 'git-host') AND end_time >= $1 AND NOT EXISTS (SELECT 1 FROM jobs AS newer \
             WHERE newer.repository = jobs.repository AND newer.id > jobs.id AND newer.status IN ('success', 'failure')) \
             ORDER BY end_time DESC LIMIT $2"
        );
        self.read(move |conn| conn.all(SQL, &[&since, &limit], decode)).await
    }
}
