use std::time::Duration;

use futures_util::FutureExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query};

use super::outbox::{self, Announce};
use super::{Fault, Store, StoreError};
use crate::model::{
    Context, Event, FailureClass, Job, JobId, Millis, Outcome, StageStatus, Stages, Status, transition,
};

/// The columns of a [`Job`], in the order that [`read`] reads them.
macro_rules! columns {
    () => {
        "id, context, pushed, image, status, attempt, stages, resolved_commit, digest, cause, cancel_requested, \
         created, start_time, end_time, class, failures, engine, origin, dialect, git_ref, before, priority, \
         rebuild_of, superseded_by"
    };
}

fn read(row: &SqliteRow) -> Result<Job, sqlx::Error> {
    fn damaged(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
        sqlx::Error::Decode(e.into())
    }
    fn optional<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, sqlx::Error>
    where
        T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        text.map(str::parse).transpose().map_err(damaged)
    }
    let mut context: Context = serde_json::from_str(row.try_get(1)?).map_err(damaged)?;
    context.pushed = row.try_get::<i64, _>(2)? != 0;
    Ok(Job {
        id: row.try_get::<&str, _>(0)?.parse().map_err(damaged)?,
        context,
        image: row.try_get(3)?,
        status: row.try_get::<&str, _>(4)?.parse().map_err(|e: String| damaged(e))?,
        attempt: row.try_get(5)?,
        stages: serde_json::from_str(row.try_get(6)?).map_err(damaged)?,
        resolved_commit: row.try_get(7)?,
        digest: row.try_get(8)?,
        cause: row.try_get(9)?,
        class: optional(row.try_get(14)?)?,
        failures: row.try_get(15)?,
        engine: row.try_get(16)?,
        origin: row.try_get::<&str, _>(17)?.parse().map_err(|e: String| damaged(e))?,
        dialect: row.try_get::<&str, _>(18)?.parse().map_err(|e: String| damaged(e))?,
        git_ref: row.try_get(19)?,
        before: row.try_get(20)?,
        priority: row.try_get(21)?,
        rebuild_of: optional(row.try_get(22)?)?,
        superseded_by: row.try_get(23)?,
        cancel_requested: row.try_get::<i64, _>(10)? != 0,
        created: Millis(row.try_get(11)?),
        start: row.try_get::<Option<i64>, _>(12)?.map(Millis),
        end: row.try_get::<Option<i64>, _>(13)?.map(Millis),
    })
}

impl Store {
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = query(BY_ID).bind(id.to_string()).fetch_optional(&self.readers).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(|e| self.explain(e))
    }

    /// Newest first; those made before the job `before`, which is the last one of the page before.
    pub async fn jobs(&self, limit: u32, before: Option<JobId>) -> Result<Vec<Job>, StoreError> {
        // Every id is less than this: it is the greatest UUID, and no version 7.
        let before = before.map_or("ffffffff-ffff-ffff-ffff-ffffffffffff".into(), |id| id.to_string());
        query(concat!("SELECT ", columns!(), " FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT $2"))
            .bind(before)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(|e| self.explain(e))
    }

    /// The oldest pending job, now running with one more attempt, fresh stages and a new start, held by `node` for
    /// `lease`; what is told of a start is written in the same transaction.
    pub async fn claim(&self, node: &str, lease: Duration, announce: &Announce) -> Result<Option<Job>, StoreError> {
        let announce = announce.clone();
        let (node, stages) = (node.to_owned(), json(&Stages::pending()).map_err(|e| self.explain(e))?);
        self.write(move |conn| {
            async move {
                let now = Millis::now();
                let row = query(concat!(
                    "UPDATE jobs SET status = 'running', attempt = attempt + 1, stages = $1, digest = NULL, \
                     cause = NULL, start_time = $2, end_time = NULL, claimed_by = $3, lease_until = $4 \
                     WHERE id = (SELECT id FROM jobs WHERE status = 'pending' ORDER BY id LIMIT 1) \
                     AND status = 'pending' RETURNING ",
                    columns!()
                ))
                .bind(stages)
                .bind(now.0)
                .bind(node)
                .bind((now + lease).0)
                .fetch_optional(&mut *conn)
                .await?;
                let job = row.as_ref().map(read).transpose()?;
                if let Some(job) = &job {
                    outbox::insert(conn, job, announce(job, None)).await?;
                }
                Ok(job)
            }
            .boxed()
        })
        .await
    }

    /// Holds a running job for `lease` from now on. True if a user wants it cancelled.
    pub async fn renew(&self, id: JobId, attempt: u32, lease: Duration) -> Result<bool, StoreError> {
        self.write(move |conn| {
            async move {
                let row = query(
                    "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND status = 'running' AND attempt = $3 \
                     RETURNING cancel_requested",
                )
                .bind((Millis::now() + lease).0)
                .bind(id.to_string())
                .bind(attempt)
                .fetch_optional(&mut *conn)
                .await?;
                match row {
                    Some(row) => Ok(row.try_get::<i64, _>(0)? != 0),
                    None => Err(conflict(conn, id).await),
                }
            }
            .boxed()
        })
        .await
    }

    /// How far a running job is.
    pub async fn save_stages(
        &self,
        id: JobId,
        attempt: u32,
        stages: &Stages,
        resolved_commit: Option<&str>,
    ) -> Result<(), StoreError> {
        let (stages, commit) = (json(stages).map_err(|e| self.explain(e))?, resolved_commit.map(str::to_owned));
        self.write(move |conn| {
            async move {
                let done = query(
                    "UPDATE jobs SET stages = $1, resolved_commit = COALESCE($2, resolved_commit) \
                     WHERE id = $3 AND status = 'running' AND attempt = $4",
                )
                .bind(stages)
                .bind(commit)
                .bind(id.to_string())
                .bind(attempt)
                .execute(&mut *conn)
                .await?;
                if done.rows_affected() == 0 { Err(conflict(conn, id).await) } else { Ok(()) }
            }
            .boxed()
        })
        .await
    }

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
        let job = self
            .write(move |conn| {
                async move {
                    match by_id(conn, id).await? {
                        Some(job) if job.status == Status::Running && job.attempt == attempt => {
                            put_back(conn, job, &announce).await
                        }
                        _ => Err(conflict(conn, id).await),
                    }
                }
                .boxed()
            })
            .await?;
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
                            let cause = Some("it was cancelled before it ran".into());
                            let outcome = cancelled(job.stages, cause);
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

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    Ok(serde_json::to_string(value)?)
}

pub(super) async fn by_id(conn: &mut SqliteConnection, id: JobId) -> Result<Option<Job>, Fault> {
    let row = query(BY_ID).bind(id.to_string()).fetch_optional(conn).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// A job that was never stored yet: pending, of attempt 0.
pub(super) async fn insert(conn: &mut SqliteConnection, job: &Job, context: String) -> Result<(), Fault> {
    query(
        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created, repository, \
         branch, origin, dialect, git_ref, before, priority, rebuild_of) \
         VALUES ($1, $2, $3, $4, 'pending', 0, '[]', 0, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(job.id.to_string())
    .bind(context)
    .bind(job.context.pushed)
    .bind(job.image.clone())
    .bind(job.created.0)
    .bind(repository(job))
    .bind(job.context.branch.clone())
    .bind(job.origin.as_str())
    .bind(job.dialect.as_str())
    .bind(job.git_ref.clone())
    .bind(job.before.clone())
    .bind(job.priority)
    .bind(job.rebuild_of.map(|id| id.to_string()))
    .execute(conn)
    .await?;
    Ok(())
}

/// What is one repository to GitHub, which knows no case.
fn repository(job: &Job) -> String {
    format!("{}/{}", job.context.owner, job.context.repo).to_ascii_lowercase()
}

/// How the last job before this one ended, of the same repository and branch and not cancelled.
async fn previous(conn: &mut SqliteConnection, job: &Job) -> Result<Option<Status>, Fault> {
    let row = query(
        "SELECT status FROM jobs WHERE repository = $1 AND branch = $2 AND id < $3 \
         AND status IN ('success', 'failure') ORDER BY id DESC LIMIT 1",
    )
    .bind(repository(job))
    .bind(job.context.branch.clone())
    .bind(job.id.to_string())
    .fetch_optional(conn)
    .await?;
    let parse = |text: &str| text.parse().map_err(|e: String| sqlx::Error::Decode(e.into()));
    Ok(row.map(|row| row.try_get::<&str, _>(0).and_then(parse)).transpose()?)
}

/// Why an update that names a status and an attempt met no row.
async fn conflict(conn: &mut SqliteConnection, id: JobId) -> Fault {
    match by_id(conn, id).await {
        Ok(Some(job)) => StoreError::Conflict(job.status).into(),
        Ok(None) => StoreError::NoJob(id).into(),
        Err(fault) => fault,
    }
}

fn cancelled(stages: Stages, cause: Option<String>) -> Outcome {
    let class = Some(FailureClass::Cancelled);
    Outcome { status: Status::Cancelled, stages, resolved_commit: None, digest: None, cause, class }
}

/// The only statement that ends a job, and the notifications of it.
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
         cause = $5, end_time = $6, class = $7, claimed_by = NULL, lease_until = NULL \
         WHERE id = $8 AND status = $9 AND attempt = $10 RETURNING ",
        columns!()
    ))
    .bind(status.as_str())
    .bind(json(&outcome.stages)?)
    .bind(outcome.resolved_commit)
    .bind(outcome.digest)
    .bind(outcome.cause)
    .bind(Millis::now().0)
    .bind(outcome.class.map(FailureClass::as_str))
    .bind(id.to_string())
    .bind(from.as_str())
    .bind(attempt)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Err(conflict(conn, id).await) };
    let job = read(&row)?;
    query("INSERT INTO ended (status, class, jobs) VALUES ($1, $2, 1) ON CONFLICT (status, class) DO UPDATE SET jobs = ended.jobs + 1")
        .bind(job.status.as_str())
        .bind(job.class.map_or("", FailureClass::as_str))
        .execute(&mut *conn)
        .await?;
    let previous = previous(conn, &job).await?;
    outbox::insert(conn, &job, announce(&job, previous)).await?;
    Ok(job)
}

async fn put_back(conn: &mut SqliteConnection, mut job: Job, announce: &Announce) -> Result<Job, Fault> {
    if job.cancel_requested {
        for stage in job.stages.0.iter_mut().filter(|s| s.status == StageStatus::Running) {
            stage.status = StageStatus::Cancelled;
            stage.end = Some(Millis::now().0);
        }
        let outcome = cancelled(job.stages, Some("it was cancelled".into()));
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
    match row {
        Some(row) => Ok(read(&row)?),
        None => Err(conflict(conn, job.id).await),
    }
}
