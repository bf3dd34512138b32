use std::time::Duration;

use futures_util::FutureExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query};
use uuid::Uuid;

use super::sqlite::Fault;
use super::{Store, StoreError, Superseding, images, jobs};
use crate::model::{CommitId, Job, JobContext, JobId, Millis, NewJob};

/// How long the same signed delivery means the same job.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long a delivery is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many are deleted at once: webhooks wait for these 2 ms at most.
const BATCH: u32 = 200;

/// Of a [`Delivery`], in the order that [`read`] reads.
macro_rules! select {
    () => {
        "SELECT d.id, d.route, d.digest, d.delivery, d.event, d.received, d.repeats, d.repeated, d.job, j.context, \
         j.git_ref, j.before FROM deliveries d JOIN jobs j ON j.id = d.job"
    };
}

/// A signed webhook delivery that makes a job.
#[derive(Debug)]
pub struct NewDelivery {
    /// Where it came in, as `/hooks/github`.
    pub route: &'static str,
    /// SHA-256 of the raw body, hex.
    pub digest: String,
    /// The sender's id of it. For people: anyone can send another one.
    pub delivery_id: Option<String>,
    pub event: String,
}

/// A delivery that was accepted in the last 30 days, and what it asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// A UUIDv7, our own.
    pub id: Uuid,
    pub route: String,
    pub digest: String,
    pub delivery_id: Option<String>,
    pub event: String,
    pub received: Millis,
    /// How often it came again, and when that was last.
    pub repeats: u32,
    pub repeated: Option<Millis>,
    pub job: JobId,
    pub context: JobContext,
    /// `refs/heads/…` or `refs/tags/…`, and the commit that it named before.
    pub git_ref: Option<String>,
    pub before: Option<CommitId>,
}

/// What became of a request for a job.
#[derive(Debug)]
pub enum Added {
    New(Job),
    /// The same delivery came within 24 h, or its commit is what was found to be missing on its branch last: the job that
    /// was made then.
    Duplicate(Job),
}

impl Store {
    /// Stores a job, its delivery and its dedupe mark in one transaction. Without a delivery it is always a new job.
    pub async fn add_job(&self, new: NewJob, delivery: Option<NewDelivery>) -> Result<Added, StoreError> {
        Ok(self.add_superseding(new, delivery, None).await?.0)
    }

    /// The same; and, if its branch has a newer commit by it, or had one before, the older ones are superseded in that
    /// transaction: those others are returned beside it.
    pub async fn add_superseding(
        &self,
        mut new: NewJob,
        delivery: Option<NewDelivery>,
        rule: Option<Superseding>,
    ) -> Result<(Added, Vec<Job>), StoreError> {
        let json = new.context.stored().map_err(|e| self.explain(e))?;
        let alternative = new.alternative_image.take();
        let mut job = Job::pending(new, self.repo_case);
        let superseding = rule.is_some();
        let added = self.enqueue(superseding, move |conn| {
            async move {
                if let Some(delivery) = delivery {
                    let made = note(conn, &delivery, &job).await?;
                    if made != job.id {
                        let job = jobs::by_id(conn, made).await?;
                        return Ok((Added::Duplicate(job.ok_or(StoreError::NoJob(made))?), Vec::new()));
                    }
                }
                images::choose(conn, &mut job, alternative).await?;
                jobs::insert(conn, &job, json, rule.is_some()).await?;
                let (job, superseded) = match rule {
                    Some(rule) => jobs::settle(conn, job, &rule).await?,
                    None => (job, Vec::new()),
                };
                Ok((Added::New(job), superseded))
            }
            .boxed()
        });
        let added = added.await?;
        if superseding {
            self.notified.notify_one();
        }
        Ok(added)
    }

    /// Newest first; those before the delivery `before`, which is the last one of the page before.
    pub async fn deliveries(&self, limit: u32, before: Option<Uuid>) -> Result<Vec<Delivery>, StoreError> {
        query(concat!(select!(), " WHERE d.id < $1 ORDER BY d.id DESC LIMIT $2"))
            // Every id is less than that one: it is no version 7.
            .bind(before.unwrap_or(Uuid::max()).to_string())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(|e| self.explain(e))
    }

    pub async fn delivery(&self, id: Uuid) -> Result<Option<Delivery>, StoreError> {
        let row =
            query(concat!(select!(), " WHERE d.id = $1")).bind(id.to_string()).fetch_optional(&self.readers).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(|e| self.explain(e))
    }

    /// Deletes some of the deliveries of more than 30 days ago; how many, 0 if there were none.
    pub async fn forget_deliveries(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = first_id(now.0 - KEPT.as_millis() as i64);
        self.write(move |conn| {
            async move {
                let done = query(
                    "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE id < $1 ORDER BY id LIMIT $2)",
                )
                .bind(oldest)
                .bind(BATCH)
                .execute(conn)
                .await?;
                Ok(done.rows_affected())
            }
            .boxed()
        })
        .await
    }
}

/// Notes a delivery that is to make `job`. The job that it means: this one, or the one that there is of it. In one
/// statement, since webhooks wait for it.
async fn note(conn: &mut SqliteConnection, delivery: &NewDelivery, job: &Job) -> Result<JobId, Fault> {
    loop {
        let row = query(
            "INSERT INTO deliveries (id, route, digest, delivery, event, job, received, newest, repeats) \
             VALUES ($1, $2, $3, $4, $5, COALESCE((SELECT CASE WHEN origin = 'missed' AND context ->> 'commit' = $9 \
             THEN id END FROM jobs WHERE repository = $10 AND branch = $11 ORDER BY id DESC LIMIT 1), $6), $7, 1, 0) \
             ON CONFLICT (route, digest) WHERE newest = 1 \
             DO UPDATE SET repeats = deliveries.repeats + 1, repeated = excluded.received \
             WHERE deliveries.received > excluded.received - $8 RETURNING job",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(delivery.route)
        .bind(delivery.digest.clone())
        .bind(delivery.delivery_id.clone())
        .bind(delivery.event.clone())
        .bind(job.id.to_string())
        .bind(job.created.0)
        .bind(REMEMBERED.as_millis() as i64)
        .bind(job.context.commit.clone())
        .bind(job.repository.clone())
        .bind(jobs::branch(job))
        .fetch_optional(&mut *conn)
        .await?;
        if let Some(row) = row {
            return Ok(row.try_get::<&str, _>(0)?.parse().map_err(damaged)?);
        }
        // The same came before, but too long ago: that one is no mark any more.
        query("UPDATE deliveries SET newest = 0 WHERE route = $1 AND digest = $2 AND newest = 1")
            .bind(delivery.route)
            .bind(delivery.digest.clone())
            .execute(&mut *conn)
            .await?;
    }
}

/// What comes before every UUIDv7 of this millisecond: their first 48 bits are the time.
fn first_id(at: i64) -> String {
    let at = at.max(0);
    format!("{:08x}-{:04x}", at >> 16, at & 0xffff)
}

fn damaged(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(e.into())
}

fn read(row: &SqliteRow) -> Result<Delivery, sqlx::Error> {
    Ok(Delivery {
        id: row.try_get::<&str, _>(0)?.parse().map_err(damaged)?,
        route: row.try_get(1)?,
        digest: row.try_get(2)?,
        delivery_id: row.try_get(3)?,
        event: row.try_get(4)?,
        received: Millis(row.try_get(5)?),
        repeats: row.try_get(6)?,
        repeated: row.try_get::<Option<i64>, _>(7)?.map(Millis),
        job: row.try_get::<&str, _>(8)?.parse().map_err(damaged)?,
        context: JobContext::read(row.try_get(9)?).map_err(damaged)?,
        git_ref: row.try_get(10)?,
        before: CommitId::read_stored(row.try_get(11)?),
    })
}
