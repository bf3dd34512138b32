//! The `repository` columns follow the rule for case that the store was opened with.
//!
//! The columns hold `RepoName::key`: in lower case where case is ignored, as every version before this rule wrote them.
//! When the rule is another one than the last time, the keys are made anew from the contexts of the jobs, which have the
//! senders' spelling. Heads of refs have no such source and are forgotten: the remote is asked instead.

use super::sqlite::{SqlConnection, StoreFault};
use super::{Store, StoreError};
use crate::model::RepoCase;

/// Statements that write the keys of names as their senders spelled them.
const KEEP: &[&str] = &[
    "UPDATE jobs SET repository = (context ->> 'owner') || '/' || (context ->> 'repo') \
     WHERE source IS NULL AND repository <> (context ->> 'owner') || '/' || (context ->> 'repo')",
    // A skipped push has no job.
    "UPDATE deliveries SET repository = (context ->> 'owner') || '/' || (context ->> 'repo') \
     WHERE repository IS NOT NULL",
    // The users of an image are known in lower case alone, so each spelling of theirs that had a job is one.
    "INSERT INTO image_users (image, repository, dockerfile) \
     SELECT u.image, j.repository, u.dockerfile FROM image_users AS u \
     JOIN (SELECT DISTINCT repository FROM jobs) AS j ON lower(j.repository) = u.repository \
     WHERE j.repository <> u.repository ON CONFLICT (image, repository) DO NOTHING",
    "DELETE FROM image_users WHERE repository NOT IN (SELECT repository FROM jobs) \
     AND repository IN (SELECT lower(repository) FROM jobs)",
];

/// Statements that write all keys in lower case.
const IGNORE: &[&str] = &[
    "UPDATE jobs SET repository = lower((context ->> 'owner') || '/' || (context ->> 'repo')) \
     WHERE source IS NULL AND repository <> lower((context ->> 'owner') || '/' || (context ->> 'repo'))",
    "UPDATE deliveries SET repository = lower(repository) WHERE repository IS NOT NULL",
    "INSERT INTO image_users (image, repository, dockerfile) \
     SELECT image, lower(repository), dockerfile FROM image_users WHERE repository <> lower(repository) \
     ON CONFLICT (image, repository) DO NOTHING",
    "DELETE FROM image_users WHERE repository <> lower(repository)",
];

/// Statements that follow either. The repositories' turns begin anew.
const BOTH: &[&str] = &[
    "UPDATE tags SET repository = COALESCE((SELECT repository FROM jobs WHERE jobs.id = tags.job), repository) \
     WHERE repository IS NOT NULL",
    "DELETE FROM ref_heads",
    "DELETE FROM turns",
    "INSERT INTO turns (repository, priority, turn, since) SELECT repository, priority, 0, MIN(id) FROM jobs \
     WHERE status = 'pending' AND not_before = 0 GROUP BY repository, priority",
];

impl Store {
    /// Has the keys of repositories follow this rule. If the last rule was another one, the keys of names with capitals are
    /// written anew in one transaction, which took 25 s for 200,000 jobs on a loaded machine of two cores.
    pub async fn with_repo_case(mut self, case: RepoCase) -> Result<Self, StoreError> {
        self.write(move |conn| follow(conn, case)).await?;
        self.repo_case = case;
        Ok(self)
    }

    /// Returns two spellings of one name among the repositories of jobs, if there are any. The query goes from repository
    /// to repository in the index, because there may be a million jobs.
    pub async fn two_spellings(&self) -> Result<Option<[String; 2]>, StoreError> {
        const SQL: &str = "WITH RECURSIVE known (repository) AS (SELECT MIN(repository) FROM jobs UNION ALL \
            SELECT (SELECT MIN(repository) FROM jobs WHERE repository > known.repository) FROM known \
            WHERE known.repository IS NOT NULL) \
            SELECT MIN(repository) AS one, MAX(repository) AS other FROM known WHERE repository IS NOT NULL \
            GROUP BY lower(repository) HAVING COUNT(*) > 1 ORDER BY one LIMIT 1";
        self.read(|conn| conn.first(SQL, &[], |row| Ok([row.get("one")?, row.get("other")?]))).await
    }
}

fn follow(conn: &SqlConnection, case: RepoCase) -> Result<(), StoreFault> {
    let last = conn.first("SELECT rule FROM repo_case", &[], |row| row.get::<_, String>("rule"))?;
    if last.as_deref() == Some(case.as_str()) {
        return Ok(());
    }
    if conn.first("SELECT id FROM jobs LIMIT 1", &[], |row| row.get::<_, String>("id"))?.is_some() {
        tracing::info!(
            rule = case.as_str(),
            "the rule for case in names of repositories is new: writing their keys anew"
        );
    }
    let first = match case {
        RepoCase::Keep => KEEP,
        RepoCase::Ignore => IGNORE,
    };
    for &sql in first.iter().chain(BOTH) {
        conn.execute(sql, &[])?;
    }
    conn.execute("UPDATE repo_case SET rule = $1", &[&case.as_str()])?;
    Ok(())
}
