//! A newer commit of a branch takes the place of older ones.
//!
//! Deliveries come in any order, so the pushes decide what is newer: each names the commit of its branch before and after,
//! and together they are a chain. The chain decides only where exactly one known push leads to a commit and exactly one
//! away from it. A branch that came back to a commit, or a push that never came, ends it, and then nothing is superseded.

use std::collections::HashSet;

use super::outcome;
use super::rows::{after, columns, decode};
use crate::model::{CommitId, Job, Status, Supersede};
use crate::store::outbox::Announce;
use crate::store::sqlite::{SqlConnection, StoreFault, commit as read_commit};

/// The most pushes between two jobs. Each step costs two queries.
const LONGEST: usize = 100;

/// Has the newest commit of the branch of `job`, which has just been stored, take the place of older ones: of `job` itself
/// too, if the pushes came in another order. Returns `job` and the others as they are then: cancelled, or, if they run,
/// marked to be stopped.
pub(in crate::store) fn supersede_older(
    conn: &SqlConnection,
    job: Job,
    rule: Supersede,
    announce: &Announce,
) -> Result<(Job, Vec<Job>), StoreFault> {
    let (Some(after), Some(git_ref)) = (after(&job), job.git_ref.clone()) else { return Ok((job, Vec::new())) };
    let branch = Branch { conn, repository: job.repository.clone(), git_ref };
    let Some(newest) = branch.newest(&after)? else { return Ok((job, Vec::new())) };
    let mut superseded = Vec::new();
    for older in branch.older(&job, &after)? {
        match older.status {
            Status::Pending => superseded.push(outcome::supersede(conn, older, &newest, announce)?),
            Status::Running if rule == Supersede::Running && !older.cancel_requested => {
                superseded.push(mark(conn, older, &newest)?);
            }
            _ => {}
        }
    }
    let job = if newest == after { job } else { outcome::supersede(conn, job, &newest, announce)? };
    Ok((job, superseded))
}

/// Marks a running job, whose runner has to be signalled. The job then ends as superseded.
fn mark(conn: &SqlConnection, job: Job, newer: &CommitId) -> Result<Job, StoreFault> {
    conn.execute(
        "UPDATE jobs SET cancel_requested = 1, superseded_by = $1 WHERE id = $2 AND status = 'running'",
        &[&newer, &job.id],
    )?;
    Ok(Job { cancel_requested: true, superseded_by: Some(newer.clone()), ..job })
}

struct Branch<'a> {
    conn: &'a SqlConnection,
    repository: String,
    git_ref: String,
}

/// The commits on the other side of the known pushes to or from a commit.
enum Neighbour {
    Unknown,
    One(CommitId),
    Several,
}

impl Branch<'_> {
    /// Returns the end of the chain that begins at `commit`, if the chain decides.
    fn newest(&self, commit: &CommitId) -> Result<Option<CommitId>, StoreFault> {
        let (mut at, mut seen) = (commit.clone(), HashSet::new());
        while seen.len() < LONGEST {
            if matches!(self.before(&at)?, Neighbour::Several) || !seen.insert(at.clone()) {
                return Ok(None);
            }
            match self.after(&at)? {
                Neighbour::Unknown => return Ok(Some(at)),
                Neighbour::One(next) => at = next,
                Neighbour::Several => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Returns the pending and running jobs on the chain that ends with `job`.
    fn older(&self, job: &Job, after: &CommitId) -> Result<Vec<Job>, StoreFault> {
        let (mut older, mut seen) = (Vec::new(), HashSet::from([after.clone()]));
        // The job itself is one of the live jobs.
        let live = self.live()? - 1;
        let mut at = job.before.clone();
        while let Some(commit) = at.take()
            && older.len() < live
            && seen.len() < LONGEST
        {
            if !seen.insert(commit.clone()) {
                return Ok(Vec::new());
            }
            if !matches!(self.after(&commit)?, Neighbour::One(_)) {
                break;
            }
            at = match self.before(&commit)? {
                Neighbour::Several => break,
                Neighbour::One(before) => Some(before),
                Neighbour::Unknown => None,
            };
            older.extend(self.live_at(&commit)?);
        }
        Ok(older)
    }

    /// Returns the commit that the branch named before the push to `commit`.
    fn before(&self, commit: &CommitId) -> Result<Neighbour, StoreFault> {
        self.neighbour(
            "SELECT DISTINCT before AS neighbour FROM jobs WHERE repository = $1 AND git_ref = $2 AND after = $3 \
             AND before IS NOT NULL LIMIT 2",
            commit,
        )
    }

    /// Returns the commit that the branch named after the push from `commit`.
    fn after(&self, commit: &CommitId) -> Result<Neighbour, StoreFault> {
        self.neighbour(
            "SELECT DISTINCT after AS neighbour FROM jobs WHERE repository = $1 AND git_ref = $2 AND before = $3 \
             AND after IS NOT NULL LIMIT 2",
            commit,
        )
    }

    fn neighbour(&self, sql: &str, commit: &CommitId) -> Result<Neighbour, StoreFault> {
        let mut found =
            self.conn.all(sql, &[&self.repository, &self.git_ref, &commit], |row| read_commit(row, "neighbour"))?;
        Ok(match (found.pop(), found.is_empty()) {
            (None, _) => Neighbour::Unknown,
            (Some(one), true) => one.map_or(Neighbour::Unknown, Neighbour::One),
            (Some(_), false) => Neighbour::Several,
        })
    }

    /// Returns the number of pending and running jobs of the branch.
    fn live(&self) -> Result<usize, StoreFault> {
        let count = self.conn.first(
            "SELECT COUNT(*) FROM jobs WHERE repository = $1 AND git_ref = $2 AND after IS NOT NULL \
             AND status IN ('pending', 'running')",
            &[&self.repository, &self.git_ref],
            |row| row.get::<_, i64>(0),
        )?;
        Ok(count.unwrap_or_default() as usize)
    }

    fn live_at(&self, commit: &CommitId) -> Result<Vec<Job>, StoreFault> {
        const SQL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE repository = $1 AND git_ref = $2 AND after = $3 AND status IN ('pending', 'running')"
        );
        self.conn.all(SQL, &[&self.repository, &self.git_ref, &commit], decode)
    }
}
