//! Who is next: the repositories take turns, and each has its oldest job run.
//!
//! `turns` has a row for each repository and priority that ever had a job. `since` is a hint: the job that began to wait
//! there. Where it is wrong, because that job was cancelled, the claim that meets it puts it right.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Row, query};

use super::retry::LONGEST_REST;
use super::rows::{by_id, columns, conflict, json, line_up, read};
use crate::model::{Job, JobId, JobProgress, Millis, Stages};
use crate::store::outbox::{self, Announce};
use crate::store::sqlite::Fault;
use crate::store::{Store, StoreError};

/// The highest priority first; of one priority the repository whose turn was longest ago. One that has as many running
/// jobs as it may is passed over: no more rows than jobs run.
const NEXT: &str = "SELECT repository, priority FROM turns WHERE since IS NOT NULL AND ($1 = 0 OR $1 > \
     (SELECT COUNT(*) FROM jobs WHERE jobs.repository = turns.repository AND jobs.status = 'running')) \
     ORDER BY priority DESC, turn, since LIMIT 1";

const CLAIM: &str = concat!(
    "UPDATE jobs SET status = 'running', attempt = attempt + 1, stages = $1, digest = NULL, cause = NULL, \
     start_time = $2, end_time = NULL, claimed_by = $3, lease_until = $4 \
     WHERE id = (SELECT MIN(id) FROM jobs WHERE repository = $5 AND priority = $6 AND status = 'pending' \
     AND not_before = 0) AND status = 'pending' RETURNING ",
    columns!()
);

/// The turn was taken, or its hint was wrong: then it keeps its number. Who waits there next is looked up.
const TAKEN: &str = "UPDATE turns SET turn = CASE WHEN $1 = 1 THEN (SELECT MAX(turn) FROM turns) + 1 ELSE turn END, \
     since = (SELECT MIN(id) FROM jobs WHERE repository = $2 AND priority = $3 AND status = 'pending' \
     AND not_before = 0) WHERE repository = $2 AND priority = $3";

impl Store {
    /// The next job, now running with one more attempt, fresh stages and a new start, held by `node` for `lease`; what is
    /// told of a start is written in the same transaction.
    pub async fn claim(&self, node: &str, lease: Duration, announce: &Announce) -> Result<Option<Job>, StoreError> {
        let (announce, most) = (announce.clone(), self.repo_concurrency);
        let (node, stages) = (node.to_owned(), json(&Stages::pending()).map_err(|e| self.explain(e))?);
        self.write(move |conn| {
            async move {
                let now = Millis::now();
                end_rests(conn, now).await?;
                while let Some(next) = query(NEXT).bind(most).fetch_optional(&mut *conn).await? {
                    let (repository, priority): (String, i64) = (next.try_get(0)?, next.try_get(1)?);
                    let row = query(CLAIM)
                        .bind(stages.clone())
                        .bind(now.0)
                        .bind(node.clone())
                        .bind((now + lease).0)
                        .bind(repository.clone())
                        .bind(priority)
                        .fetch_optional(&mut *conn)
                        .await?;
                    let job = row.as_ref().map(read).transpose()?;
                    query(TAKEN)
                        .bind(i64::from(job.is_some()))
                        .bind(repository)
                        .bind(priority)
                        .execute(&mut *conn)
                        .await?;
                    if let Some(job) = job {
                        outbox::insert(conn, &job, announce(&job, None)).await?;
                        return Ok(Some(job));
                    }
                }
                Ok(None)
            }
            .boxed()
        })
        .await
        .inspect(|_| self.notified.notify_one())
    }

    /// When the next of the jobs that rest after a failure may run again.
    pub async fn next_rest(&self) -> Result<Option<Millis>, StoreError> {
        query("SELECT MIN(not_before) FROM jobs WHERE status = 'pending' AND not_before > 0")
            .fetch_one(&self.readers)
            .await
            .and_then(|row| Ok(row.try_get::<Option<i64>, _>(0)?.map(Millis)))
            .map_err(|e| self.explain(e))
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

    /// Stores how far a running job is, and where. Its start is announced once more when its commit becomes known,
    /// because what is told of a commit could not be told before.
    pub async fn save_stages(
        &self,
        id: JobId,
        attempt: u32,
        progress: &JobProgress,
        announce: &Announce,
    ) -> Result<(), StoreError> {
        let JobProgress { stages, resolved_commit: commit, git_ref, engine, tags } = progress.clone();
        let (stages, tags) =
            json(&stages).and_then(|stages| Ok((stages, json(&tags)?))).map_err(|e| self.explain(e))?;
        let announce = announce.clone();
        let told = self
            .write(move |conn| {
                async move {
                    let before = by_id(conn, id).await?;
                    let row = query(concat!(
                        "UPDATE jobs SET stages = $1, resolved_commit = COALESCE($2, resolved_commit), \
                         engine = COALESCE($3, engine), git_ref = COALESCE(git_ref, $7), tags = CASE WHEN $6 = '[]' THEN tags ELSE $6 END \
                         WHERE id = $4 AND status = 'running' AND attempt = $5 RETURNING ",
                        columns!()
                    ))
                    .bind(stages)
                    .bind(commit.map(|id| id.to_string()))
                    .bind(engine)
                    .bind(id.to_string())
                    .bind(attempt)
                    .bind(tags)
                    .bind(git_ref)
                    .fetch_optional(&mut *conn)
                    .await?;
                    let Some(row) = row else { return Err(conflict(conn, id).await) };
                    let job = read(&row)?;
                    let known = before.as_ref().and_then(Job::known_commit);
                    let is_found = job.known_commit().is_some() && job.known_commit() != known;
                    if is_found {
                        outbox::insert(conn, &job, announce(&job, None)).await?;
                    }
                    Ok(is_found)
                }
                .boxed()
            })
            .await?;
        if told {
            self.notified.notify_one();
        }
        Ok(())
    }
}

/// Jobs that have rested long enough wait for their turn again.
async fn end_rests(conn: &mut SqliteConnection, now: Millis) -> Result<(), Fault> {
    const RESTED: &str = concat!(
        "UPDATE jobs SET not_before = 0 WHERE status = 'pending' AND not_before > 0 \
         AND (not_before <= $1 OR not_before > $2) RETURNING ",
        columns!()
    );
    for row in query(RESTED).bind(now.0).bind((now + LONGEST_REST).0).fetch_all(&mut *conn).await? {
        line_up(conn, &read(&row)?).await?;
    }
    Ok(())
}
