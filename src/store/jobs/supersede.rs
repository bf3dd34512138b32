//! A newer commit of a branch takes the place of older ones.
//!
//! Deliveries come in any order, so it is the pushes that tell what is newer: each says what its branch named before and
//! after, and from one to the next they are a chain. Only where exactly one known push leads to a commit and exactly one
//! away from it does the chain tell; a branch that came back to a commit, or a push that never came, ends it, and then
//! nothing is superseded.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query};

use super::outcome;
use super::rows::{after, columns, read};
use crate::model::{CommitId, Job, Status};
use crate::store::outbox::Announce;
use crate::store::sqlite::Fault;

/// How many pushes apart two jobs may be. Each step costs two look-ups, 30 µs together.
const LONGEST: usize = 100;

/// What a newer commit does to older ones of its branch.
#[derive(Clone)]
pub struct Superseding {
    /// Also those that run are stopped.
    pub running: bool,
    /// What is told of those that end by it.
    pub announce: Announce,
}

/// Has the newest commit of the branch of `job`, which has just been stored, take the place of what is older: that job
/// itself, too, if the pushes came in another order. Returns it and the others as they are then: cancelled, or, those
/// that run, told to stop.
pub(in crate::store) async fn settle(
    conn: &mut SqliteConnection,
    job: Job,
    rule: &Superseding,
) -> Result<(Job, Vec<Job>), Fault> {
    let (Some(after), Some(git_ref)) = (after(&job), job.git_ref.clone()) else { return Ok((job, Vec::new())) };
    let branch = Branch { repository: job.repository.clone(), git_ref };
    let Some(newest) = branch.newest(conn, &after).await? else { return Ok((job, Vec::new())) };
    let mut superseded = Vec::new();
    for older in branch.older(conn, &job, &after).await? {
        match older.status {
            Status::Pending => superseded.push(outcome::supersede(conn, older, &newest, &rule.announce).await?),
            Status::Running if rule.running && !older.cancel_requested => {
                superseded.push(stop(conn, older, &newest).await?);
            }
            _ => {}
        }
    }
    let job = if newest == after { job } else { outcome::supersede(conn, job, &newest, &rule.announce).await? };
    Ok((job, superseded))
}

/// Its runner has to be told; it then ends as superseded.
async fn stop(conn: &mut SqliteConnection, job: Job, newer: &CommitId) -> Result<Job, Fault> {
    query("UPDATE jobs SET cancel_requested = 1, superseded_by = $1 WHERE id = $2 AND status = 'running'")
        .bind(newer.to_string())
        .bind(job.id.to_string())
        .execute(conn)
        .await?;
    Ok(Job { cancel_requested: true, superseded_by: Some(newer.clone()), ..job })
}

struct Branch {
    repository: String,
    git_ref: String,
}

/// The commits on the other side of the known pushes to or from a commit.
enum Next {
    Unknown,
    One(CommitId),
    Several,
}

impl Branch {
    /// The end of the chain that begins at `commit`; none if the chain does not tell.
    async fn newest(&self, conn: &mut SqliteConnection, commit: &CommitId) -> Result<Option<CommitId>, Fault> {
        let (mut at, mut seen) = (commit.clone(), HashSet::new());
        while seen.len() < LONGEST {
            if matches!(self.led_to(conn, &at).await?, Next::Several) || !seen.insert(at.clone()) {
                return Ok(None);
            }
            match self.led_from(conn, &at).await? {
                Next::Unknown => return Ok(Some(at)),
                Next::One(next) => at = next,
                Next::Several => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The pending and running jobs on the chain that ends with `job`.
    async fn older(&self, conn: &mut SqliteConnection, job: &Job, after: &CommitId) -> Result<Vec<Job>, Fault> {
        let (mut older, mut seen) = (Vec::new(), HashSet::from([after.clone()]));
        // The job itself is one of them.
        let live = self.live(conn).await? - 1;
        let mut at = job.before.clone();
        while let Some(commit) = at.take()
            && older.len() < live
            && seen.len() < LONGEST
        {
            if !seen.insert(commit.clone()) {
                return Ok(Vec::new());
            }
            if !matches!(self.led_from(conn, &commit).await?, Next::One(_)) {
                break;
            }
            at = match self.led_to(conn, &commit).await? {
                Next::Several => break,
                Next::One(before) => Some(before),
                Next::Unknown => None,
            };
            older.extend(self.live_at(conn, &commit).await?);
        }
        Ok(older)
    }

    async fn led_to(&self, conn: &mut SqliteConnection, commit: &CommitId) -> Result<Next, Fault> {
        const SQL: &str = "SELECT DISTINCT before FROM jobs WHERE repository = $1 AND git_ref = $2 AND after = $3 \
             AND before IS NOT NULL LIMIT 2";
        self.next(conn, SQL, commit).await
    }

    async fn led_from(&self, conn: &mut SqliteConnection, commit: &CommitId) -> Result<Next, Fault> {
        const SQL: &str = "SELECT DISTINCT after FROM jobs WHERE repository = $1 AND git_ref = $2 AND before = $3 \
             AND after IS NOT NULL LIMIT 2";
        self.next(conn, SQL, commit).await
    }

    async fn next(&self, conn: &mut SqliteConnection, sql: &'static str, commit: &CommitId) -> Result<Next, Fault> {
        let asked = query(sql).bind(self.repository.clone()).bind(self.git_ref.clone()).bind(commit.to_string());
        Ok(match &asked.fetch_all(conn).await?[..] {
            [] => Next::Unknown,
            [one] => CommitId::read_stored(one.try_get(0)?).map_or(Next::Unknown, Next::One),
            _ => Next::Several,
        })
    }

    async fn live(&self, conn: &mut SqliteConnection) -> Result<usize, Fault> {
        let row = query(
            "SELECT COUNT(*) FROM jobs WHERE repository = $1 AND git_ref = $2 AND after IS NOT NULL \
             AND status IN ('pending', 'running')",
        )
        .bind(self.repository.clone())
        .bind(self.git_ref.clone())
        .fetch_one(conn)
        .await?;
        Ok(row.try_get::<i64, _>(0)? as usize)
    }

    async fn live_at(&self, conn: &mut SqliteConnection, commit: &CommitId) -> Result<Vec<Job>, Fault> {
        let rows = query(concat!(
            "SELECT ",
            columns!(),
            " FROM jobs WHERE repository = $1 AND git_ref = $2 AND after = $3 AND status IN ('pending', 'running')"
        ))
        .bind(self.repository.clone())
        .bind(self.git_ref.clone())
        .bind(commit.to_string())
        .fetch_all(conn)
        .await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }
}
