//! The order of the queue: the repositories take turns, and each has its oldest job run.
//!
//! `turns` has a row for each repository and priority that ever had a job. `since` is a hint: the job that began to wait
//! there. It is wrong once that job is cancelled, and the claim that meets it corrects it.

use std::time::Duration;

use super::held::hold;
use super::retry::LONGEST_REST;
use super::rows::{by_id, columns, conflict, decode, enqueue, pending_stages};
use crate::model::{Event, Job, JobId, JobProgress, Millis, Status, transition};
use crate::store::outbox;
use crate::store::sqlite::{SqlConnection, StoreFault};
use crate::store::{Store, StoreError};

/// The highest priority comes first; of one priority, the repository whose turn was longest ago. A repository that has
/// as many running jobs as it may have is passed over, which reads no more rows than jobs run.
const NEXT: &str = "SELECT repository, priority FROM turns WHERE since IS NOT NULL AND ($1 = 0 OR $1 > \
     (SELECT COUNT(*) FROM jobs WHERE jobs.repository = turns.repository AND jobs.status = 'running')) \
     ORDER BY priority DESC, turn, since LIMIT 1";

/// The oldest job of a repository and a priority.
const OLDEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs WHERE id = (SELECT MIN(id) FROM jobs WHERE repository = $1 AND priority = $2 AND status = 'pending' \
     AND not_before = 0)"
);

const CLAIM: &str = concat!(
    "UPDATE jobs SET status = $7, attempt = attempt + 1, \
     stages = CASE dialect WHEN 'compose-ci' THEN $8 ELSE $1 END, digest = NULL, cause = NULL, \
     start_time = $2, first_start = COALESCE(first_start, $2), end_time = NULL, claimed_by = $3, lease_until = $4, \
     held_since = NULL, exposed = 0 \
     WHERE id = (SELECT MIN(id) FROM jobs WHERE repository = $5 AND priority = $6 AND status = 'pending' \
     AND not_before = 0) AND status = 'pending' RETURNING ",
    columns!()
);

/// The repository keeps its number if its hint was wrong, and gets the last one if it had its turn.
const END_TURN: &str = "UPDATE turns SET turn = CASE WHEN $1 = 1 THEN (SELECT MAX(turn) FROM turns) + 1 ELSE turn END, \
     since = (SELECT MIN(id) FROM jobs WHERE repository = $2 AND priority = $3 AND status = 'pending' \
     AND not_before = 0) WHERE repository = $2 AND priority = $3";

impl Store {
    /// Claims the next job like [`Store::claim_unless`], and holds none.
    pub async fn claim(&self, node: &str, lease: Duration) -> Result<Option<Job>, StoreError> {
        self.claim_unless(|_| false, node, lease).await
    }

    /// Claims the next job for `node`, for the time `lease`: the job runs, with one more attempt, fresh stages and a new
    /// start. The notifications of its start are stored in the same transaction. Jobs of a repository whose next job
    /// `is_held` are held, see [`Store::release_held`].
    pub async fn claim_unless(
        &self,
        is_held: impl Fn(&Job) -> bool + Send + 'static,
        node: &str,
        lease: Duration,
    ) -> Result<Option<Job>, StoreError> {
        let (announce, most, node) = (self.announce.clone(), self.repo_concurrency, node.to_owned());
        self.write(move |conn| {
            let now = Millis::now();
            let [stages, with_test] = pending_stages()?;
            let running = transition(Status::Pending, Event::Claim)?;
            end_rests(conn, now)?;
            while let Some((repository, priority)) = conn.first(NEXT, &[&most], |row| {
                Ok((row.get::<_, String>("repository")?, row.get::<_, i64>("priority")?))
            })? {
                let oldest = conn.first(OLDEST, &[&repository, &priority], decode)?;
                if oldest.is_some_and(|job| is_held(&job)) {
                    hold(conn, &repository, now)?;
                    continue;
                }
                let until = now + lease;
                let job = conn.first(
                    CLAIM,
                    &[&stages, &now, &node, &until, &repository, &priority, &running, &with_test],
                    decode,
                )?;
                conn.execute(END_TURN, &[&job.is_some(), &repository, &priority])?;
                if let Some(job) = job {
                    outbox::insert(conn, &job, announce(&job, None))?;
                    return Ok(Some(job));
                }
            }
            Ok(None)
        })
        .await
        .inspect(|_| self.notified.notify_one())
    }

    /// Returns when the next of the jobs that rest after a failure may run again.
    pub async fn next_rest(&self) -> Result<Option<Millis>, StoreError> {
        const SQL: &str = "SELECT MIN(not_before) FROM jobs WHERE status = 'pending' AND not_before > 0";
        self.read(|conn| Ok(conn.first(SQL, &[], |row| row.get(0))?.flatten())).await
    }

    /// Holds a running job for the time `lease` from now on. Returns true if a user wants it cancelled.
    pub async fn renew(&self, id: JobId, attempt: u32, lease: Duration) -> Result<bool, StoreError> {
        self.write(move |conn| {
            conn.first(
                "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND status = 'running' AND attempt = $3 \
                 RETURNING cancel_requested",
                &[&(Millis::now() + lease), &id, &attempt],
                |row| row.get("cancel_requested"),
            )?
            .ok_or_else(|| conflict(conn, id))
        })
        .await
    }

    /// Stores the progress of a running job. Its start is announced once more when its commit becomes known, because
    /// notifications about a commit could not be made before.
    pub async fn save_progress(&self, id: JobId, attempt: u32, progress: &JobProgress) -> Result<(), StoreError> {
        let (announce, progress) = (self.announce.clone(), progress.clone());
        let is_announced = self
            .write(move |conn| {
                let JobProgress { stages, resolved_commit: commit, git_ref, engine, tags, is_exposed } = progress;
                let (stages, tags) = (serde_json::to_string(&stages)?, serde_json::to_string(&tags)?);
                let before = by_id(conn, id)?;
                let job = conn
                    .first(
                        concat!(
                            "UPDATE jobs SET stages = $1, resolved_commit = COALESCE($2, resolved_commit), \
                             engine = COALESCE($3, engine), git_ref = COALESCE(git_ref, $7), \
                             tags = CASE WHEN $6 = '[]' THEN tags ELSE $6 END, exposed = $8 \
                             WHERE id = $4 AND status = 'running' AND attempt = $5 RETURNING ",
                            columns!()
                        ),
                        &[&stages, &commit, &engine, &id, &attempt, &tags, &git_ref, &is_exposed],
                        decode,
                    )?
                    .ok_or_else(|| conflict(conn, id))?;
                let known = before.as_ref().and_then(Job::known_commit);
                let is_found = job.known_commit().is_some() && job.known_commit() != known;
                if is_found {
                    outbox::insert(conn, &job, announce(&job, None))?;
                }
                Ok(is_found)
            })
            .await?;
        if is_announced {
            self.notified.notify_one();
        }
        Ok(())
    }
}

/// Puts the jobs whose rest is over back into the queue.
fn end_rests(conn: &SqlConnection, now: Millis) -> Result<(), StoreFault> {
    const RESTED: &str = concat!(
        "UPDATE jobs SET not_before = 0 WHERE status = 'pending' AND not_before > 0 \
         AND (not_before <= $1 OR not_before > $2) RETURNING ",
        columns!()
    );
    for job in conn.all(RESTED, &[&now, &(now + LONGEST_REST)], decode)? {
        enqueue(conn, &job)?;
    }
    Ok(())
}
