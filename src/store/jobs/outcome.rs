//! How jobs end, or go back to wait.

use futures_util::FutureExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query};

use super::rows::{branch, by_id, columns, conflict, json, line_up, read};
use crate::model::{
    CommitId, Event, FailureClass, Job, JobId, Millis, Outcome, StageStatus, Stages, Status, transition,
};
use crate::store::outbox::{self, Announce};
use crate::store::sqlite::Fault;
use crate::store::{Store, StoreError, images};

impl Store {
    /// Ends a running job; its notifications are written in the same transaction.
    pub async fn finish(
        &self,
        id: JobId,
        attempt: u32,
        outcome: &Outcome,
        announce: &Announce,
    ) -> Result<Job, StoreError> {
        let (outcome, announce) = (outcome.clone(), announce.clone());
        let job = self
            .write(move |conn| async move { end(conn, id, Status::Running, attempt, outcome, &announce).await }.boxed())
            .await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// Puts a running job back: pending again, or cancelled if that is what a user wanted.
    pub async fn requeue(&self, id: JobId, attempt: u32, announce: &Announce) -> Result<Job, StoreError> {
        let announce = announce.clone();
        let job =
            self.write(move |conn| async move { put_back_running(conn, id, attempt, &announce).await }.boxed()).await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// A pending job is cancelled now. A running one is marked, and its runner has to be told. One that has ended is a
    /// conflict.
    pub async fn cancel(&self, id: JobId, announce: &Announce) -> Result<Job, StoreError> {
        let announce = announce.clone();
        let job = self
            .write(move |conn| {
                async move {
                    let Some(job) = by_id(conn, id).await? else { return Err(StoreError::NoJob(id).into()) };
                    match job.status {
                        Status::Pending => {
                            let again = if job.attempt > 0 { " again" } else { "" };
                            let outcome = cancelled(job.stages, &format!("it was cancelled before it ran{again}"));
                            end(conn, id, Status::Pending, job.attempt, outcome, &announce).await
                        }
                        Status::Running => {
                            let mark =
                                query("UPDATE jobs SET cancel_requested = 1 WHERE id = $1 AND status = 'running'");
                            mark.bind(id.to_string()).execute(conn).await?;
                            Ok(Job { cancel_requested: true, ..job })
                        }
                        ended => Err(StoreError::Conflict(ended).into()),
                    }
                }
                .boxed()
            })
            .await?;
        self.notified.notify_one();
        Ok(job)
    }

    /// At the start: puts back what this node's former incarnation held, and what nobody holds any more.
    pub async fn recover(&self, node: &str, announce: &Announce) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE status = 'running' AND (claimed_by = $1 OR lease_until < $2)"
        );
        self.put_back_all(SQL, node, announce).await
    }

    /// Puts back what other nodes held and did not renew. What this node runs is its own to end: its clock may jump.
    pub async fn sweep(&self, node: &str, announce: &Announce) -> Result<Vec<Job>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE status = 'running' AND claimed_by <> $1 AND lease_until < $2"
        );
        self.put_back_all(SQL, node, announce).await
    }

    async fn put_back_all(&self, sql: &'static str, node: &str, announce: &Announce) -> Result<Vec<Job>, StoreError> {
        let (node, announce) = (node.to_owned(), announce.clone());
        let jobs = self
            .write(move |conn| {
                async move {
                    let rows = query(sql).bind(node).bind(Millis::now().0).fetch_all(&mut *conn).await?;
                    let mut jobs = Vec::with_capacity(rows.len());
                    for row in &rows {
                        jobs.push(put_back(conn, read(row)?, &announce).await?);
                    }
                    Ok(jobs)
                }
                .boxed()
            })
            .await?;
        self.notified.notify_one();
        Ok(jobs)
    }
}

/// How the last job before this one ended, of the same repository and branch and not cancelled.
async fn previous(conn: &mut SqliteConnection, job: &Job) -> Result<Option<Status>, Fault> {
    let row = query(
        "SELECT status FROM jobs WHERE repository = $1 AND branch = $2 AND id < $3 \
         AND status IN ('success', 'failure') ORDER BY id DESC LIMIT 1",
    )
    .bind(job.repository.clone())
    .bind(branch(job))
    .bind(job.id.to_string())
    .fetch_optional(conn)
    .await?;
    let parse = |text: &str| text.parse().map_err(|e: String| sqlx::Error::Decode(e.into()));
    Ok(row.map(|row| row.try_get::<&str, _>(0).and_then(parse)).transpose()?)
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

/// A pending job ends because of a newer commit.
pub(in crate::store) async fn supersede(
    conn: &mut SqliteConnection,
    job: Job,
    newer: &CommitId,
    announce: &Announce,
) -> Result<Job, Fault> {
    let superseded_by = Some(newer.clone());
    let outcome = Outcome { superseded_by, ..cancelled(job.stages, &format!("superseded by {newer}")) };
    end(conn, job.id, Status::Pending, job.attempt, outcome, announce).await
}

/// The only statement that ends a job, and the notifications of it. An outcome without tags leaves those that an earlier
/// attempt, or the progress of this one, has stored. One that a newer commit stopped is `superseded_by` it
/// by then, unless it ended in another way first.
async fn end(
    conn: &mut SqliteConnection,
    id: JobId,
    from: Status,
    attempt: u32,
    outcome: Outcome,
    announce: &Announce,
) -> Result<Job, Fault> {
    let event = if from == Status::Pending { Event::Cancel } else { Event::Finish(outcome.status) };
    let status = transition(from, event).map_err(|e| StoreError::Conflict(e.status))?;
    let row = query(concat!(
        "UPDATE jobs SET status = $1, stages = $2, resolved_commit = COALESCE($3, resolved_commit), digest = $4, \
         cause = CASE WHEN $1 = 'cancelled' AND superseded_by IS NOT NULL THEN 'superseded by ' || superseded_by \
         ELSE $5 END, superseded_by = CASE WHEN $1 = 'cancelled' THEN COALESCE(superseded_by, $11) END, \
         tags = CASE WHEN $12 = '[]' THEN tags ELSE $12 END, end_time = $6, class = $7, claimed_by = NULL, lease_until = NULL \
         WHERE id = $8 AND status = $9 AND attempt = $10 RETURNING ",
        columns!()
    ))
    .bind(status.as_str())
    .bind(json(&outcome.stages)?)
    .bind(outcome.resolved_commit.map(|id| id.to_string()))
    .bind(outcome.digest)
    .bind(outcome.cause)
    .bind(Millis::now().0)
    .bind(outcome.class.map(FailureClass::as_str))
    .bind(id.to_string())
    .bind(from.as_str())
    .bind(attempt)
    .bind(outcome.superseded_by.map(|id| id.to_string()))
    .bind(json(&outcome.tags)?)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Err(conflict(conn, id).await) };
    let job = read(&row)?;
    query(
        "INSERT INTO ended (status, class, jobs) VALUES ($1, $2, 1) \
         ON CONFLICT (status, class) DO UPDATE SET jobs = ended.jobs + 1",
    )
    .bind(job.status.as_str())
    .bind(job.class.map_or("", FailureClass::as_str))
    .execute(&mut *conn)
    .await?;
    images::record(conn, &job).await?;
    let previous = previous(conn, &job).await?;
    outbox::insert(conn, &job, announce(&job, previous)).await?;
    Ok(job)
}

pub(in crate::store) async fn put_back_running(
    conn: &mut SqliteConnection,
    id: JobId,
    attempt: u32,
    announce: &Announce,
) -> Result<Job, Fault> {
    match by_id(conn, id).await? {
        Some(job) if job.status == Status::Running && job.attempt == attempt => put_back(conn, job, announce).await,
        _ => Err(conflict(conn, id).await),
    }
}

async fn put_back(conn: &mut SqliteConnection, mut job: Job, announce: &Announce) -> Result<Job, Fault> {
    if job.cancel_requested {
        for stage in job.stages.0.iter_mut().filter(|s| s.status == StageStatus::Running) {
            stage.status = StageStatus::Cancelled;
            stage.end = Some(Millis::now().0);
        }
        let outcome = cancelled(job.stages, "it was cancelled");
        return end(conn, job.id, Status::Running, job.attempt, outcome, announce).await;
    }
    let row = query(concat!(
        "UPDATE jobs SET status = 'pending', stages = $1, start_time = NULL, claimed_by = NULL, lease_until = NULL \
         WHERE id = $2 AND status = 'running' AND attempt = $3 RETURNING ",
        columns!()
    ))
    .bind(json(&Stages::pending())?)
    .bind(job.id.to_string())
    .bind(job.attempt)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Err(conflict(conn, job.id).await) };
    line_up(conn, &job).await?;
    Ok(read(&row)?)
}
