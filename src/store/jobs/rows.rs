use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query};

use crate::model::{CommitId, CommitSpec, Job, JobContext, JobId, Millis, Origin, Status, bare_name};
use crate::store::sqlite::Fault;
use crate::store::{Store, StoreError};

/// The columns of a [`Job`], in the order that [`read`] reads them.
macro_rules! columns {
    () => {
        "id, context, pushed, image, status, attempt, stages, resolved_commit, digest, cause, cancel_requested, \
         created, start_time, end_time, class, failures, engine, origin, dialect, git_ref, before, priority, \
         rebuild_of, superseded_by, tags, tag_named, any_commit, forced, repository"
    };
}
pub(in crate::store) use columns;

pub(in crate::store) fn read(row: &SqliteRow) -> Result<Job, sqlx::Error> {
    fn damaged(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
        sqlx::Error::Decode(e.into())
    }
    fn optional<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, sqlx::Error>
    where
        T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        text.map(str::parse).transpose().map_err(damaged)
    }
    Ok(Job {
        id: row.try_get::<&str, _>(0)?.parse().map_err(damaged)?,
        repository: row.try_get(28)?,
        context: JobContext::read(row.try_get(1)?).map_err(damaged)?,
        image: row.try_get(3)?,
        status: row.try_get::<&str, _>(4)?.parse().map_err(|e: String| damaged(e))?,
        attempt: row.try_get(5)?,
        stages: serde_json::from_str(row.try_get(6)?).map_err(damaged)?,
        resolved_commit: CommitId::read_stored(row.try_get(7)?),
        digest: row.try_get(8)?,
        cause: row.try_get(9)?,
        class: optional(row.try_get(14)?)?,
        failures: row.try_get(15)?,
        engine: row.try_get(16)?,
        origin: row.try_get::<&str, _>(17)?.parse().map_err(|e: String| damaged(e))?,
        dialect: row.try_get::<&str, _>(18)?.parse().map_err(|e: String| damaged(e))?,
        git_ref: row.try_get(19)?,
        before: CommitId::read_stored(row.try_get(20)?),
        priority: row.try_get(21)?,
        rebuild_of: optional(row.try_get(22)?)?,
        superseded_by: CommitId::read_stored(row.try_get(23)?),
        tags: serde_json::from_str(row.try_get(24)?).map_err(damaged)?,
        pushed: row.try_get::<i64, _>(2)? != 0,
        tag_named: row.try_get::<i64, _>(25)? != 0,
        any_commit: row.try_get::<i64, _>(26)? != 0,
        forced: row.try_get::<i64, _>(27)? != 0,
        cancel_requested: row.try_get::<i64, _>(10)? != 0,
        created: Millis(row.try_get(11)?),
        start: row.try_get::<Option<i64>, _>(12)?.map(Millis),
        end: row.try_get::<Option<i64>, _>(13)?.map(Millis),
    })
}

/// Which jobs are listed: those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// `owner/repo`, in any case where the host ignores it.
    pub repository: Option<String>,
    /// Of that repository.
    pub branch: Option<String>,
    pub status: Option<Status>,
}

impl Store {
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = query(BY_ID).bind(id.to_string()).fetch_optional(&self.readers).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(|e| self.explain(e))
    }

    /// Newest first; those made before the job `before`, which is the last one of the page before.
    pub async fn jobs(&self, limit: u32, before: Option<JobId>) -> Result<Vec<Job>, StoreError> {
        self.jobs_like(&JobFilter::default(), limit, before).await
    }

    /// The same, of those that fit. Each way to ask has an index to go by.
    pub async fn jobs_like(
        &self,
        filter: &JobFilter,
        limit: u32,
        before: Option<JobId>,
    ) -> Result<Vec<Job>, StoreError> {
        macro_rules! sql {
            ($wanted:literal) => {
                concat!("SELECT ", columns!(), " FROM jobs WHERE ", $wanted, "id < $1 ORDER BY id DESC LIMIT $2")
            };
        }
        let JobFilter { repository, branch, status } = filter;
        let sql = match (repository, branch, status) {
            (None, _, None) => sql!(""),
            (None, _, Some(_)) => sql!("status = $5 AND "),
            (Some(_), None, None) => sql!("repository = $3 AND "),
            (Some(_), None, Some(_)) => sql!("repository = $3 AND status = $5 AND "),
            (Some(_), Some(_), None) => sql!("repository = $3 AND branch = $4 AND "),
            (Some(_), Some(_), Some(_)) => sql!("repository = $3 AND branch = $4 AND status = $5 AND "),
        };
        // Every id is less than this: it is the greatest UUID, and no version 7.
        let before = before.map_or("ffffffff-ffff-ffff-ffff-ffffffffffff".into(), |id| id.to_string());
        query(sql)
            .bind(before)
            .bind(limit)
            .bind(repository.as_deref().map(|name| self.repo_case.key(name)))
            .bind(branch.as_deref().map(bare_name).map(str::to_owned))
            .bind(status.map(Status::as_str))
            .fetch_all(&self.readers)
            .await
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(|e| self.explain(e))
    }
}

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");

pub(in crate::store) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    Ok(serde_json::to_string(value)?)
}

pub(in crate::store) async fn by_id(conn: &mut SqliteConnection, id: JobId) -> Result<Option<Job>, Fault> {
    let row = query(BY_ID).bind(id.to_string()).fetch_optional(conn).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// A job that was never stored yet: pending, of attempt 0, and in the line.
/// `linked` if superseding is to know it: what finds it then costs three indices.
pub(in crate::store) async fn insert(
    conn: &mut SqliteConnection,
    job: &Job,
    context: String,
    linked: bool,
) -> Result<(), Fault> {
    query(
        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created, repository, \
         branch, origin, dialect, git_ref, before, after, priority, rebuild_of, tag_named, any_commit, \
         forced) VALUES ($1, $2, $3, $4, 'pending', 0, '[]', 0, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
         $16, $17)",
    )
    .bind(job.id.to_string())
    .bind(context)
    .bind(job.pushed)
    .bind(job.image.clone())
    .bind(job.created.0)
    .bind(job.repository.clone())
    .bind(branch(job))
    .bind(job.origin.as_str())
    .bind(job.dialect.as_str())
    .bind(job.git_ref.clone())
    .bind(job.before.as_ref().map(CommitId::to_string))
    .bind(after(job).filter(|_| linked).map(|after| after.to_string()))
    .bind(job.priority)
    .bind(job.rebuild_of.map(|id| id.to_string()))
    .bind(job.tag_named)
    .bind(job.any_commit)
    .bind(job.forced)
    .execute(&mut *conn)
    .await?;
    line_up(conn, job).await
}

/// The bare name of the branch or tag, however the job names it: jobs of one branch are listed together.
pub(in crate::store) fn branch(job: &Job) -> String {
    bare_name(&job.context.branch).to_owned()
}

/// Why an update that names a status and an attempt met no row.
pub(in crate::store) async fn conflict(conn: &mut SqliteConnection, id: JobId) -> Fault {
    match by_id(conn, id).await {
        Ok(Some(job)) => StoreError::Conflict(job.status).into(),
        Ok(None) => StoreError::NoJob(id).into(),
        Err(fault) => fault,
    }
}

/// A job has become pending, and does not rest: its repository waits for a turn. One that never had a turn is served
/// first.
pub(in crate::store) async fn line_up(conn: &mut SqliteConnection, job: &Job) -> Result<(), Fault> {
    query(
        "INSERT INTO turns (repository, priority, turn, since) VALUES ($1, $2, 0, $3) \
         ON CONFLICT (repository, priority) DO UPDATE SET since = excluded.since WHERE turns.since IS NULL",
    )
    .bind(job.repository.clone())
    .bind(job.priority)
    .bind(job.id.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// The commit that a branch names since the push that the job is of. None for tags, for API builds and for rebuilds,
/// which supersede nothing and are not superseded.
pub(in crate::store) fn after(job: &Job) -> Option<CommitId> {
    let is_push = matches!(job.origin, Origin::Hook | Origin::Missed);
    let of_branch = job.git_ref.as_ref().is_some_and(|git_ref| git_ref.starts_with("refs/heads/"));
    match CommitSpec::parse(&job.context.commit) {
        Ok(CommitSpec::Full(commit)) if is_push && of_branch => Some(commit),
        _ => None,
    }
}
