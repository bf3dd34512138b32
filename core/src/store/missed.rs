//! The known branches, for the sweep that looks for pushes without a webhook.

use rusqlite::Row;

use super::sqlite::{SqlConnection, StoreFault, context};
use super::{Store, StoreError, images, jobs};
use crate::model::{Dialect, Job, JobContext, JobId, NewJob, SkipReason};

/// The number of a branch's newest jobs that are searched for a commit. One that was built earlier is built again.
const SEARCHED: u32 = 1000;

/// A branch of which a webhook has come.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownBranch {
    /// The context of the job of its newest webhook.
    pub context: JobContext,
    pub dialect: Dialect,
}

impl Store {
    /// Returns the repository that follows `after` in the order of names (`RepoName::key`), and those of its
    /// branches of which a webhook has come, which may be none. `""` comes before the first repository.
    pub async fn known_branches(&self, after: &str) -> Result<Option<(String, Vec<KnownBranch>)>, StoreError> {
        let after = after.to_owned();
        self.read(move |conn| {
            let next = "SELECT MIN(repository) FROM jobs WHERE repository > $1";
            let Some(repository) = conn.first(next, &[&after], |row| row.get::<_, Option<String>>(0))?.flatten() else {
                return Ok(None);
            };
            // The query goes from branch to branch in the index, because a repository may have 100,000 jobs on three
            // branches.
            let branches = conn.all(
                "WITH RECURSIVE known (branch) AS ( \
                 SELECT MIN(branch) FROM jobs WHERE repository = $1 \
                 UNION ALL SELECT (SELECT MIN(branch) FROM jobs WHERE repository = $1 AND branch > known.branch) \
                 FROM known WHERE known.branch IS NOT NULL) \
                 SELECT context, dialect FROM jobs WHERE id IN (SELECT (SELECT id FROM jobs WHERE repository = $1 \
                 AND branch = known.branch AND origin = 'hook' AND git_ref LIKE 'refs/heads/%' ORDER BY id DESC LIMIT 1) \
                 FROM known) ORDER BY id",
                &[&repository],
                |row: &Row| Ok(KnownBranch { context: context(row)?, dialect: row.get("dialect")? }),
            )?;
            Ok(Some((repository, branches)))
        })
        .await
    }

    /// Stores the job of a missed push unless one of the branch's newest 1,000 jobs is for this commit, or was created
    /// after `asked` (when the remote's heads were listed). A webhook of the commit that comes later gets this job. With
    /// `linked` a newer commit may supersede it.
    pub async fn add_missed(&self, mut new: NewJob, asked: JobId, linked: bool) -> Result<Option<Job>, StoreError> {
        let alternative = new.alternative_image.take();
        let mut job = Job::pending(new, self.repo_case);
        // The commit is nearly always known, and then nothing is written.
        let wanted = job.clone();
        if self.read(move |conn| is_known(conn, &wanted, asked)).await? {
            return Ok(None);
        }
        self.write(move |conn| {
            if is_known(conn, &job, asked)? {
                return Ok(None);
            }
            images::choose(conn, &mut job, alternative)?;
            jobs::insert(conn, &job, linked)?;
            Ok(Some(job))
        })
        .await
    }

    /// Returns true if one of the repository's newest 1,000 jobs is of a signed push of this commit, or was granted the
    /// commit by one.
    pub async fn was_pushed(&self, context: &JobContext) -> Result<bool, StoreError> {
        let (repository, commit) = (context.repository(self.repo_case), context.commit.to_ascii_lowercase());
        self.read(move |conn| {
            let found = conn.first(
                "SELECT 1 FROM (SELECT pushed, context FROM jobs WHERE repository = $1 ORDER BY id DESC LIMIT $2) \
                 AS newest WHERE pushed = 1 AND context ->> 'commit' = $3 LIMIT 1",
                &[&repository, &SEARCHED, &commit],
                |_| Ok(()),
            )?;
            Ok(found.is_some())
        })
        .await
    }
}

fn is_known(conn: &SqlConnection, job: &Job, asked: JobId) -> Result<bool, StoreFault> {
    let found = conn.first(
        "SELECT 1 FROM (SELECT id, context, resolved_commit FROM jobs \
         WHERE repository = $1 AND branch = $2 ORDER BY id DESC LIMIT $3) AS newest \
         WHERE id > $5 OR resolved_commit = $4 OR context ->> 'commit' = $4 LIMIT 1",
        &[&job.repository, &jobs::branch(job), &SEARCHED, &job.context.commit, &asked],
        |_| Ok(()),
    )?;
    Ok(found.is_some() || was_skipped(conn, job)?)
}

/// Returns true if a webhook's push of this commit to this branch was skipped for its message, which a commit keeps
/// whatever repository has it.
fn was_skipped(conn: &SqlConnection, job: &Job) -> Result<bool, StoreFault> {
    let found = conn.first(
        "SELECT 1 FROM deliveries WHERE job IS NULL AND commit_id = $1 AND git_ref = $2 AND reason = $3 LIMIT 1",
        &[&job.context.commit, &job.git_ref, &SkipReason::SkipWords],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}
