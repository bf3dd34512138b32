//! The end of a job, or its way back into the queue.

use super::rows::{branch, by_id, columns, conflict, decode, enqueue};
use crate::model::{
    CommitId, Event, FailureClass, Job, JobId, Millis, Outcome, StageStatus, Stages, Status, transition,
};
use crate::store::outbox::{self, Announce};
use crate::store::sqlite::{SqlConnection, StoreFault};
use crate::store::{Store, StoreError, images};

impl Store {
    /// Ends a running job. Its notifications are stored in the same transaction.
    pub async fn finish(&self, id: JobId, attempt: u32, outcome: &Outcome) -> Result<Job, StoreError> {
        let (outcome, announce) = (outcome.clone(), self.announce.clone());
        let job = self.write(move |conn| end(conn, id, Status::Running, attempt, outcome, &announce)).await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Puts a running job back: it is pending again, or cancelled if a user asked for that.
    pub async fn requeue(&self, id: JobId, attempt: u32) -> Result<Job, StoreError> {
        let announce = self.announce.clone();
        let job = self.write(move |conn| requeue_attempt(conn, id, attempt, &announce)).await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Puts a running job back like [`Store::requeue`], and counts that its engine was taken from it.
    pub async fn requeue_moved(&self, id: JobId, attempt: u32) -> Result<Job, StoreError> {
        let announce = self.announce.clone();
        let job = self
            .write(move |conn| {
                conn.execute(
                    "UPDATE jobs SET moves = moves + 1 WHERE id = $1 AND status = 'running' AND attempt = $2",
                    &[&id, &attempt],
                )?;
                requeue_attempt(conn, id, attempt, &announce)
            })
            .await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Cancels a pending job now, and marks a running job, whose runner has to be signalled. `by` is the name of the
    /// token that asked; the first one is kept.
    ///
    /// # Errors
    /// A job that has ended is a conflict.
    pub async fn cancel(&self, id: JobId, by: &str) -> Result<Job, StoreError> {
        let (announce, by) = (self.announce.clone(), by.to_owned());
        let job = self
            .write(move |conn| {
                const ASKED: &str = concat!(
                    "UPDATE jobs SET cancel_requested = CASE WHEN status = 'running' THEN 1 ELSE cancel_requested END, \
                     cancelled_by = COALESCE(cancelled_by, $2) \
                     WHERE id = $1 AND status IN ('pending', 'running') RETURNING ",
                    columns!()
                );
                let job = conn.first(ASKED, &[&id, &by], decode)?.ok_or_else(|| conflict(conn, id))?;
                match job.status {
                    Status::Pending => {
                        let again = if job.attempt > 0 { " again" } else { "" };
                        let outcome = cancelled(job.stages, &format!("it was cancelled before it ran{again}"));
                        end(conn, id, Status::Pending, job.attempt, outcome, &announce)
                    }
                    _ => Ok(job),
                }
            })
            .await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Puts back, at the start of the daemon, the jobs that this node's former process held, and those whose lease is
    /// over. `boot` is the id of the machine's boot: a former process of the same boot that was not asked to stop
    /// ([`Store::note_stop`]) was ended by a signal, which counts for the jobs that were exposed.
    pub async fn recover(&self, node: &str, boot: &str) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE status = 'running' AND (claimed_by = $1 OR lease_until < $2)"
        );
        // Two suspects are never exposed at once. Where both seem to be, one has just left its stage, so that nobody
        // knows which of them it was.
        const COUNT: &str = "UPDATE jobs SET kills = kills + 1 WHERE status = 'running' AND claimed_by = $1 AND exposed = 1 \
             AND (kills < $2 OR (SELECT COUNT(*) FROM jobs AS suspect WHERE suspect.status = 'running' \
             AND suspect.claimed_by = $1 AND suspect.exposed = 1 AND suspect.kills >= $2) = 1)";
        let (own, boot) = (node.to_owned(), boot.to_owned());
        let note = move |conn: &SqlConnection| {
            let former =
                conn.first("SELECT boot FROM processes WHERE node = $1", &[&own], |row| row.get::<_, String>("boot"))?;
            if former.is_some_and(|former| former == boot) {
                conn.execute(COUNT, &[&own, &Job::SUSPECT])?;
            }
            conn.execute(
                "INSERT INTO processes (node, boot) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE SET boot = excluded.boot",
                &[&own, &boot],
            )?;
            Ok(())
        };
        self.requeue_all(SQL, node, note).await
    }

    /// Notes that this node's process was asked to stop, so that what follows counts for no job.
    pub async fn note_stop(&self, node: &str) -> Result<(), StoreError> {
        let node = node.to_owned();
        self.write(move |conn| conn.execute("DELETE FROM processes WHERE node = $1", &[&node]).map(drop)).await
    }

    /// Puts back the jobs that other nodes held and whose lease is over. This node ends its own jobs itself, because its
    /// clock may jump.
    pub async fn sweep(&self, node: &str) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE status = 'running' AND claimed_by <> $1 AND lease_until < $2"
        );
        self.requeue_all(SQL, node, |_| Ok(())).await
    }

    /// Runs `before`, and puts back the jobs that `sql` finds, in one transaction.
    async fn requeue_all(
        &self,
        sql: &'static str,
        node: &str,
        before: impl Fn(&SqlConnection) -> Result<(), StoreFault> + Send + 'static,
    ) -> Result<Vec<Job>, StoreError> {
        let (node, announce) = (node.to_owned(), self.announce.clone());
        let jobs = self
            .write(move |conn| {
                before(conn)?;
                let lost = conn.all(sql, &[&node, &Millis::now()], decode)?;
                lost.into_iter().map(|job| requeue(conn, job, &announce)).collect()
            })
            .await?;
        self.notified.notify_one();
        Ok(jobs)
    }
}

/// Returns how the newest earlier job of the same repository and branch ended that says something about its commit. The
/// failures that only an operator can mend (`config` and `git-host`) and cancelled jobs do not. A job of a commit alone
/// has none before it.
fn previous(conn: &SqlConnection, job: &Job) -> Result<Option<Status>, StoreFault> {
    if job.context.counted_branch().is_none() {
        return Ok(None);
    }
    conn.first(
        "SELECT status FROM jobs WHERE repository = $1 AND branch = $2 AND id < $3 \
         AND status IN ('success', 'failure') AND (class IS NULL OR class NOT IN ('config', 'git-host')) ORDER BY id DESC LIMIT 1",
        &[&job.repository, &branch(job), &job.id],
        |row| row.get("status"),
    )
}

fn cancelled(stages: Stages, cause: &str) -> Outcome {
    Outcome {
        status: Status::Cancelled,
        stages,
        resolved_commit: None,
        digest: None,
        cause: Some(cause.into()),
        class: Some(FailureClass::Cancelled),
        superseded_by: None,
        tags: Vec::new(),
    }
}

/// Ends a pending job because of a newer commit.
pub(in crate::store) fn supersede(
    conn: &SqlConnection,
    job: Job,
    newer: &CommitId,
    announce: &Announce,
) -> Result<Job, StoreFault> {
    let superseded_by = Some(newer.clone());
    let outcome = Outcome { superseded_by, ..cancelled(job.stages, &format!("superseded by {newer}")) };
    end(conn, job.id, Status::Pending, job.attempt, outcome, announce)
}

/// Ends a job; no other function does. An outcome without tags leaves the tags that an earlier attempt, or the progress
/// of this one, has stored. A job that is marked as superseded keeps that commit if it is cancelled, and loses it if it
/// ended in another way first.
pub(super) fn end(
    conn: &SqlConnection,
    id: JobId,
    from: Status,
    attempt: u32,
    outcome: Outcome,
    announce: &Announce,
) -> Result<Job, StoreFault> {
    let event = match (from, outcome.status) {
        (Status::Pending, Status::Cancelled) => Event::Cancel,
        (Status::Pending, _) => Event::GiveUp,
        _ => Event::Finish(outcome.status),
    };
    let status = transition(from, event)?;
    let (stages, tags) = (serde_json::to_string(&outcome.stages)?, serde_json::to_string(&outcome.tags)?);
    let job = conn
        .first(
            concat!(
                "UPDATE jobs SET status = $1, stages = $2, resolved_commit = COALESCE($3, resolved_commit), \
                 digest = $4, cause = CASE WHEN $1 = 'cancelled' AND superseded_by IS NOT NULL \
                 THEN 'superseded by ' || superseded_by ELSE $5 END, \
                 superseded_by = CASE WHEN $1 = 'cancelled' THEN COALESCE(superseded_by, $11) END, \
                 tags = CASE WHEN $12 = '[]' THEN tags ELSE $12 END, end_time = $6, class = $7, claimed_by = NULL, \
                 lease_until = NULL, not_before = 0, held_since = NULL WHERE id = $8 AND status = $9 AND attempt = $10 RETURNING ",
                columns!()
            ),
            &[
                &status,
                &stages,
                &outcome.resolved_commit,
                &outcome.digest,
                &outcome.cause,
                &Millis::now(),
                &outcome.class,
                &id,
                &from,
                &attempt,
                &outcome.superseded_by,
                &tags,
            ],
            decode,
        )?
        .ok_or_else(|| conflict(conn, id))?;
    conn.execute(
        "INSERT INTO ended (status, class, jobs) VALUES ($1, $2, 1) \
         ON CONFLICT (status, class) DO UPDATE SET jobs = ended.jobs + 1",
        &[&job.status, &job.class.map_or("", FailureClass::as_str)],
    )?;
    images::record(conn, &job)?;
    let previous = previous(conn, &job)?;
    outbox::insert(conn, &job, announce(&job, previous))?;
    Ok(job)
}

/// Puts back a running job, if this is its attempt.
pub(in crate::store) fn requeue_attempt(
    conn: &SqlConnection,
    id: JobId,
    attempt: u32,
    announce: &Announce,
) -> Result<Job, StoreFault> {
    match by_id(conn, id)? {
        Some(job) if job.status == Status::Running && job.attempt == attempt => requeue(conn, job, announce),
        _ => Err(conflict(conn, id)),
    }
}

fn requeue(conn: &SqlConnection, mut job: Job, announce: &Announce) -> Result<Job, StoreFault> {
    if job.cancel_requested {
        for stage in job.stages.0.iter_mut().filter(|s| s.status == StageStatus::Running) {
            stage.status = StageStatus::Cancelled;
            stage.end = Some(Millis::now().0);
        }
        let outcome = cancelled(job.stages, "it was cancelled");
        return end(conn, job.id, Status::Running, job.attempt, outcome, announce);
    }
    let status = transition(job.status, Event::Requeue)?;
    let requeued = conn
        .first(
            concat!(
                "UPDATE jobs SET status = $4, stages = $1, start_time = NULL, claimed_by = NULL, lease_until = NULL \
                 WHERE id = $2 AND status = 'running' AND attempt = $3 RETURNING ",
                columns!()
            ),
            &[&serde_json::to_string(&Stages::pending_for(job.dialect))?, &job.id, &job.attempt, &status],
            decode,
        )?
        .ok_or_else(|| conflict(conn, job.id))?;
    enqueue(conn, &requeued)?;
    Ok(requeued)
}
