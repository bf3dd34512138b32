use rusqlite::Row;

use crate::model::{CommitId, CommitSpec, Dialect, Job, JobId, Millis, Origin, RepoLimits, Stages, Status, bare_name};
use crate::store::sqlite::{SqlConnection, StoreFault, commit, context, json};
use crate::store::{Store, StoreError};

/// The greatest UUID. Every id is less, because it is no version 7.
pub(in crate::store) const LAST_ID: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/// The columns that [`decode`] reads.
macro_rules! columns {
    () => {
        "id, context, pushed, image, status, attempt, stages, resolved_commit, digest, cause, cancel_requested, \
         created, start_time, end_time, class, failures, engine, origin, dialect, git_ref, before, priority, \
         rebuild_of, superseded_by, tags, tag_named, any_commit, forced, default_branch, repository, created_by, \
         cancelled_by, not_before, held_since, first_start, moves, source, by_admin, kills, \
         own_name"
    };
}
pub(in crate::store) use columns;

/// Returns the JSON of the stages of a job that waits: of most jobs, and of those that are tested ([`Dialect::has_tests`]).
pub(in crate::store) fn pending_stages() -> Result<[String; 2], StoreFault> {
    let of = |dialect| serde_json::to_string(&Stages::pending_for(dialect));
    Ok([of(Dialect::Totem)?, of(Dialect::ComposeCi)?])
}

pub(in crate::store) fn decode(row: &Row) -> rusqlite::Result<Job> {
    Ok(Job {
        id: row.get("id")?,
        repository: row.get("repository")?,
        context: context(row)?,
        source: row.get("source")?,
        image: row.get("image")?,
        own_name: row.get("own_name")?,
        status: row.get("status")?,
        attempt: row.get("attempt")?,
        stages: json(row, "stages")?,
        resolved_commit: commit(row, "resolved_commit")?,
        digest: row.get("digest")?,
        cause: row.get("cause")?,
        class: row.get("class")?,
        failures: row.get("failures")?,
        moves: row.get("moves")?,
        kills: row.get("kills")?,
        engine: row.get("engine")?,
        origin: row.get("origin")?,
        dialect: row.get("dialect")?,
        git_ref: row.get("git_ref")?,
        before: commit(row, "before")?,
        priority: row.get("priority")?,
        rebuild_of: row.get("rebuild_of")?,
        superseded_by: commit(row, "superseded_by")?,
        tags: json(row, "tags")?,
        pushed: row.get("pushed")?,
        tag_named: row.get("tag_named")?,
        any_commit: row.get("any_commit")?,
        by_admin: row.get("by_admin")?,
        forced: row.get("forced")?,
        default_branch: row.get("default_branch")?,
        created_by: row.get("created_by")?,
        cancel_requested: row.get("cancel_requested")?,
        cancelled_by: row.get("cancelled_by")?,
        rests_until: row.get("not_before").map(|until: Millis| Some(until).filter(|until| until.0 > 0))?,
        held_since: row.get("held_since")?,
        created: row.get("created")?,
        start: row.get("start_time")?,
        end: row.get("end_time")?,
        first_start: row.get("first_start")?,
    })
}

/// The condition that a repository's key is within the keys of limits, a JSON list; null stands for no limits.
macro_rules! within {
    ($repository:literal, $keys:literal) => {
        concat!(
            "(",
            $keys,
            " IS NULL OR EXISTS (SELECT 1 FROM json_each(",
            $keys,
            ") AS allowed WHERE ",
            $repository,
            " = allowed.value OR (substr(allowed.value, -1) = '/' AND substr(",
            $repository,
            ", 1, length(allowed.value)) = allowed.value)))"
        )
    };
}
pub(in crate::store) use within;

/// The jobs that a list has, and their order: those that meet every condition that is given.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// `owner/repo`, in any case where the host ignores it.
    pub repository: Option<String>,
    /// A branch or tag of that repository.
    pub branch: Option<String>,
    pub status: Option<Status>,
    /// Repositories that the caller may see.
    pub limits: RepoLimits,
    /// The first digits of a commit's id, in lower case: the commit that was built, or that is to be.
    pub commit: Option<String>,
    /// An image with its tag, or without one for all of its tags.
    pub image: Option<String>,
    /// Jobs that have changed at this time or later.
    pub updated_since: Option<Millis>,
    pub oldest_first: bool,
}

impl JobFilter {
    /// Returns the statement for these columns of [`Store::jobs_like`]. Each condition has its index. A rare condition's index has no pending
    /// jobs, which are read one by one. A `+` keeps SQLite from walking through all jobs by their ids for such a condition.
    pub(in crate::store) fn sql(&self, columns: &str) -> String {
        let usual = [
            (self.repository.is_some(), "repository = $3"),
            (self.repository.is_some() && self.branch.is_some(), "branch = $4"),
            (self.status.is_some(), "status = $5"),
        ];
        let rare = [
            (self.commit.is_some(), "COALESCE(resolved_commit, context ->> 'commit') BETWEEN $6 AND $6 || 'g'"),
            (self.image.is_some(), "image BETWEEN $7 AND $8"),
            (self.updated_since.is_some(), "updated >= $9"),
        ];
        let given = |conditions: [(bool, &'static str); 3]| conditions.into_iter().filter(|(is_given, _)| *is_given);
        let rare = given(rare).map(|(_, condition)| condition).collect::<Vec<_>>().join(" AND ");
        let id = if rare.is_empty() { "id" } else { "+id" };
        let (comparison, order) = if self.oldest_first { (">", "ASC") } else { ("<", "DESC") };
        let mut sql = format!("SELECT {columns} FROM jobs WHERE {id} {comparison} $1");
        for (_, condition) in given(usual) {
            sql += " AND ";
            sql += condition;
        }
        if !rare.is_empty() {
            sql += &format!(" AND ((status <> 'pending' AND {rare}) OR (status = 'pending' AND {rare}))");
        }
        sql += concat!(" AND ", within!("jobs.repository", "$10"));
        sql + &format!(" ORDER BY {id} {order} LIMIT $2")
    }
}

impl Store {
    /// Returns the last argument of `within!`.
    pub(in crate::store) fn keys_of(&self, limits: &RepoLimits) -> Option<String> {
        (!limits.are_none()).then(|| serde_json::Value::from(limits.keys(self.repo_case)).to_string())
    }

    /// Returns the job with this id.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.read(move |conn| by_id(conn, id)).await
    }

    /// Returns jobs, the newest first, that were made before the job `before`.
    pub async fn jobs(&self, limit: u32, before: Option<JobId>) -> Result<Vec<Job>, StoreError> {
        self.jobs_like(&JobFilter::default(), limit, before).await
    }

    /// Returns the jobs that meet the filter, in its order, that come behind the job `cursor`, the last one of the page
    /// before.
    pub async fn jobs_like(
        &self,
        filter: &JobFilter,
        limit: u32,
        cursor: Option<JobId>,
    ) -> Result<Vec<Job>, StoreError> {
        self.rows_like(filter, columns!(), limit, cursor, decode).await
    }

    /// Returns the ids of such jobs.
    pub async fn job_ids_like(
        &self,
        filter: &JobFilter,
        limit: u32,
        cursor: Option<JobId>,
    ) -> Result<Vec<JobId>, StoreError> {
        self.rows_like(filter, "id", limit, cursor, |row| row.get("id")).await
    }

    /// Reads the first of these jobs: as many as have `bytes` in what their senders wrote, or one more. Returns those
    /// that are still there, and how many were looked for.
    pub async fn first_jobs(&self, ids: &[JobId], bytes: usize) -> Result<(Vec<Job>, usize), StoreError> {
        let ids = ids.to_vec();
        self.read(move |conn| {
            let (mut jobs, mut written, mut looked) = (Vec::new(), 0, 0);
            for id in ids {
                looked += 1;
                let Some(job) = by_id(conn, id)? else { continue };
                written += job.context.stored()?.len() + job.source.dockerfile().map_or(0, str::len);
                jobs.push(job);
                if written >= bytes {
                    break;
                }
            }
            Ok((jobs, looked))
        })
        .await
    }

    async fn rows_like<T: Send + 'static>(
        &self,
        filter: &JobFilter,
        columns: &str,
        limit: u32,
        cursor: Option<JobId>,
        decode: fn(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = filter.sql(columns);
        let first = if filter.oldest_first { "" } else { LAST_ID };
        let cursor = cursor.map_or(first.into(), |id| id.to_string());
        let repository = filter.repository.as_deref().map(|name| self.repo_case.key(name));
        let branch = filter.branch.as_deref().map(|branch| bare_name(branch).to_owned());
        let JobFilter { commit, status, updated_since, .. } = filter.clone();
        let limits = self.keys_of(&filter.limits);
        // No character of a tag comes behind the `~`.
        let (image, last_image) = match filter.image.clone() {
            Some(name) if !name.rsplit('/').next().is_some_and(|last| last.contains(':')) => {
                (Some(format!("{name}:")), Some(format!("{name}:~")))
            }
            image => (image.clone(), image),
        };
        self.read(move |conn| {
            let args: [&dyn rusqlite::ToSql; 10] =
                [&cursor, &limit, &repository, &branch, &status, &commit, &image, &last_image, &updated_since, &limits];
            conn.all(&sql, &args, decode)
        })
        .await
    }
}

pub(in crate::store) fn by_id(conn: &SqlConnection, id: JobId) -> Result<Option<Job>, StoreFault> {
    conn.first(concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1"), &[&id], decode)
}

/// Returns the error of an update that named a status and an attempt and met no row.
pub(in crate::store) fn conflict(conn: &SqlConnection, id: JobId) -> StoreFault {
    match by_id(conn, id) {
        Ok(Some(job)) => StoreError::Conflict(job.status).into(),
        Ok(None) => StoreError::NoJob(id).into(),
        Err(fault) => fault,
    }
}

/// Stores a new job: pending, of attempt 0, and in the queue. With `linked` superseding can find it, which costs three
/// indices.
pub(in crate::store) fn insert(conn: &SqlConnection, job: &Job, linked: bool) -> Result<(), StoreFault> {
    conn.execute(
        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created, repository, \
         branch, origin, dialect, git_ref, before, after, priority, rebuild_of, tag_named, any_commit, forced, \
         default_branch, created_by, updated, source, by_admin, own_name) \
         VALUES ($1, $2, $3, $4, $5, 0, $6, 0, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
         $21, $7, $22, $23, $24)",
        &[
            &job.id,
            &job.context.stored()?,
            &job.pushed,
            &job.image,
            &Status::Pending,
            &serde_json::to_string(&Stages::default())?,
            &job.created,
            &job.repository,
            &branch(job),
            &job.origin,
            &job.dialect,
            &job.git_ref,
            &job.before,
            &after(job).filter(|_| linked),
            &job.priority,
            &job.rebuild_of,
            &job.tag_named,
            &job.any_commit,
            &job.forced,
            &job.default_branch,
            &job.created_by,
            &job.source,
            &job.by_admin,
            &job.own_name,
        ],
    )?;
    enqueue(conn, job)
}

/// Has the repository of a pending job that does not rest wait for a turn. A repository that never had a turn is served
/// first.
pub(in crate::store) fn enqueue(conn: &SqlConnection, job: &Job) -> Result<(), StoreFault> {
    conn.execute(
        "INSERT INTO turns (repository, priority, turn, since) VALUES ($1, $2, 0, $3) \
         ON CONFLICT (repository, priority) DO UPDATE SET since = excluded.since WHERE turns.since IS NULL",
        &[&job.repository, &job.priority, &job.id],
    )?;
    Ok(())
}

/// Returns the bare name of the job's branch or tag, so that jobs of one branch are listed together. A job of a commit alone
/// has an empty one, because the branch on its wire is a default that says nothing about the job.
pub(in crate::store) fn branch(job: &Job) -> &str {
    job.context.counted_branch().map_or("", bare_name)
}

/// Returns the commit that the job's branch names since the push. Tags, API builds and rebuilds have none, because they
/// supersede nothing and are not superseded.
pub(in crate::store) fn after(job: &Job) -> Option<CommitId> {
    let is_push = matches!(job.origin, Origin::Hook | Origin::Missed);
    let is_branch = job.git_ref.as_ref().is_some_and(|git_ref| git_ref.starts_with("refs/heads/"));
    match CommitSpec::parse(&job.context.commit) {
        Ok(CommitSpec::Full(commit)) if is_push && is_branch => Some(commit),
        _ => None,
    }
}
