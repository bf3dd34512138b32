//! What is known of branches, for whoever looks for pushes that no webhook told of.

use futures_util::FutureExt;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};
use sqlx::{Row, query};

use super::{Store, StoreError, images, jobs};
use crate::model::{Dialect, Job, JobContext, JobId, NewJob};

/// How far back a branch is looked through for a commit. One that was built longer ago is built again.
const FAR: u32 = 1000;

/// A branch that a webhook told of before.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownBranch {
    /// Of its newest webhook's job.
    pub context: JobContext,
    pub dialect: Dialect,
}

impl Store {
    /// The repository that follows `after` in the order of their names (`owner/repo`, lower case), and those of its
    /// branches that a webhook told of before, which may be none. `""` comes before the first.
    pub async fn known_branches(&self, after: &str) -> Result<Option<(String, Vec<KnownBranch>)>, StoreError> {
        self.known_of_next(after).await.map_err(|e| self.explain(e))
    }

    async fn known_of_next(&self, after: &str) -> Result<Option<(String, Vec<KnownBranch>)>, sqlx::Error> {
        let next = query("SELECT MIN(repository) FROM jobs WHERE repository > $1").bind(after.to_owned());
        let Some(repository) = next.fetch_one(&self.readers).await?.try_get::<Option<String>, _>(0)? else {
            return Ok(None);
        };
        // From branch to branch by the index: a repository may have 100,000 jobs on three branches.
        let rows = query(
            "WITH RECURSIVE known (branch) AS ( \
             SELECT MIN(branch) FROM jobs WHERE repository = $1 \
             UNION ALL SELECT (SELECT MIN(branch) FROM jobs WHERE repository = $1 AND branch > known.branch) \
             FROM known WHERE known.branch IS NOT NULL) \
             SELECT context, dialect FROM jobs WHERE id IN (SELECT (SELECT id FROM jobs WHERE repository = $1 \
             AND branch = known.branch AND origin = 'hook' AND git_ref LIKE 'refs/heads/%' ORDER BY id DESC LIMIT 1) \
             FROM known) ORDER BY id",
        )
        .bind(repository.clone())
        .fetch_all(&self.readers)
        .await?;
        let branches = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Some((repository, branches)))
    }

    /// Stores a job unless one of the newest jobs of its branch has built its commit, or will, or is newer than `asked`:
    /// than the question whose answer this commit was. In one transaction with that. A webhook that tells of the commit
    /// later gets this job. `linked` if a newer commit may take its place.
    pub async fn add_missed(&self, mut new: NewJob, asked: JobId, linked: bool) -> Result<Option<Job>, StoreError> {
        let json = new.context.stored().map_err(|e| self.explain(e))?;
        let alternative = new.alternative_image.take();
        let mut job = Job::pending(new, self.repo_case);
        // Nearly always it is: that needs no write.
        if is_known(&self.readers, &job, asked).await.map_err(|e| self.explain(e))? {
            return Ok(None);
        }
        self.write(move |conn| {
            async move {
                if is_known(&mut *conn, &job, asked).await? {
                    return Ok(None);
                }
                images::choose(conn, &mut job, alternative).await?;
                jobs::insert(conn, &job, json, linked).await?;
                Ok(Some(job))
            }
            .boxed()
        })
        .await
    }
}

impl Store {
    /// True if one of the repository's newest 1,000 jobs is of a signed push of this commit, or was granted it by one.
    pub async fn was_pushed(&self, context: &JobContext) -> Result<bool, StoreError> {
        let row = query(
            "SELECT EXISTS (SELECT 1 FROM (SELECT pushed, context FROM jobs WHERE repository = $1 ORDER BY id DESC \
             LIMIT $2) AS newest WHERE pushed = 1 AND context ->> 'commit' = $3)",
        )
        .bind(context.repository(self.repo_case))
        .bind(FAR)
        .bind(context.commit.to_ascii_lowercase())
        .fetch_one(&self.readers)
        .await;
        row.and_then(|row| row.try_get::<i64, _>(0)).map(|is_there| is_there != 0).map_err(|e| self.explain(e))
    }
}

async fn is_known<'c>(database: impl SqliteExecutor<'c>, job: &Job, asked: JobId) -> Result<bool, sqlx::Error> {
    let row = query(
        "SELECT EXISTS (SELECT 1 FROM (SELECT id, context, resolved_commit FROM jobs \
         WHERE repository = $1 AND branch = $2 ORDER BY id DESC LIMIT $3) AS newest \
         WHERE id > $5 OR resolved_commit = $4 OR context ->> 'commit' = $4)",
    )
    .bind(job.repository.clone())
    .bind(jobs::branch(job))
    .bind(FAR)
    .bind(job.context.commit.clone())
    .bind(asked.to_string())
    .fetch_one(database)
    .await?;
    Ok(row.try_get::<i64, _>(0)? != 0)
}

fn read(row: &SqliteRow) -> Result<KnownBranch, sqlx::Error> {
    Ok(KnownBranch {
        context: JobContext::read(row.try_get(0)?).map_err(|e| sqlx::Error::Decode(e.into()))?,
        dialect: row.try_get::<&str, _>(1)?.parse().map_err(|e: String| sqlx::Error::Decode(e.into()))?,
    })
}
