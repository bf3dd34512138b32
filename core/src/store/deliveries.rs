use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::FromSqlError;
use uuid::Uuid;

use super::jobs::{self, LAST_ID, within};
use super::sqlite::{SqlConnection, StoreFault, commit, context};
use super::{Store, StoreError, images};
use crate::model::{
    CommitId, Dialect, Forge, Job, JobContext, JobId, Millis, NewJob, RepoLimits, SkipReason, Supersede,
};

/// The time for which the same signed delivery means the same job.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// The time for which a delivery is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The number of deliveries that one write deletes, because webhooks wait for these 2 ms.
const BATCH: u32 = 200;

macro_rules! select {
    () => {
        "SELECT d.id, d.route, d.digest, d.delivery, d.forge, d.event, d.received, d.repeats, d.repeated, d.job, \
         d.reason, COALESCE(j.context, d.context) AS context, COALESCE(j.git_ref, d.git_ref) AS git_ref, \
         COALESCE(j.before, d.before) AS before, COALESCE(j.pushed, d.pushed) AS pushed, \
         COALESCE(j.forced, d.forced) AS forced, COALESCE(j.default_branch, d.default_branch) AS default_branch, \
         COALESCE(j.dialect, d.dialect) AS dialect FROM deliveries d LEFT JOIN jobs j ON j.id = d.job \
         WHERE (d.job IS NULL OR j.id IS NOT NULL) AND "
    };
}

/// A signed webhook delivery of a push.
#[derive(Debug)]
pub struct NewDelivery {
    /// The path that received it, as `/hooks/github`.
    pub route: &'static str,
    /// SHA-256 of the signed text, hex.
    pub digest: String,
    /// The sender's id of the delivery. It is only for people, because anyone can send another one.
    pub delivery_id: Option<String>,
    pub forge: Forge,
    pub event: String,
}

/// A delivery that was accepted in the last 30 days, and the job that it asked for or would have made.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Our own id, a UUIDv7.
    pub id: Uuid,
    pub route: String,
    pub digest: String,
    pub delivery_id: Option<String>,
    pub forge: Forge,
    pub event: String,
    pub received: Millis,
    /// The number of times that the delivery came again.
    pub repeats: u32,
    /// When it came again last.
    pub repeated: Option<Millis>,
    /// `None` if the push was skipped.
    pub job: Option<JobId>,
    /// The reason why it was skipped.
    pub skipped: Option<SkipReason>,
    pub context: JobContext,
    /// `refs/heads/…` or `refs/tags/…`
    pub git_ref: Option<String>,
    /// The commit that this ref named before the push.
    pub before: Option<CommitId>,
    /// These are as in [`NewJob`].
    pub pushed: bool,
    pub forced: bool,
    pub default_branch: Option<String>,
    pub dialect: Dialect,
}

/// The answer to a push that is to be skipped.
#[derive(Debug)]
pub enum Skipped {
    New,
    /// The same body was skipped before.
    Repeated,
    /// The same body made this job within 24 h, by other settings.
    Built(Box<Job>),
}

/// The answer to a request for a job.
#[derive(Debug)]
pub enum Added {
    New(Job),
    /// The job already exists: the same body came within 24 h, or the sweep for missed pushes had queued this commit.
    Duplicate(Job),
}

impl Store {
    /// Stores a job, its delivery and its dedupe mark in one transaction. A request without a delivery is always a new
    /// job.
    ///
    /// # Errors
    /// [`StoreError::Building`] for an exclusive job.
    pub async fn add_job(&self, new: NewJob, delivery: Option<NewDelivery>) -> Result<Added, StoreError> {
        Ok(self.add_superseding(new, delivery, Supersede::Off).await?.0)
    }

    /// Stores a job as [`Store::add_job`] does, and has the newest commit of its branch supersede older ones in the same
    /// transaction. Returns the other jobs that are superseded beside it.
    pub async fn add_superseding(
        &self,
        mut new: NewJob,
        delivery: Option<NewDelivery>,
        rule: Supersede,
    ) -> Result<(Added, Vec<Job>), StoreError> {
        let (alternative, exclusive) = (new.alternative_image.take(), new.exclusive);
        let mut job = Job::pending(new, self.repo_case);
        let announce = self.announce.clone();
        let add = move |conn: &SqlConnection| {
            if let Some(delivery) = delivery {
                let (made, _) = record(conn, &delivery, &job, None)?;
                if let Some(made) = made.filter(|made| *made != job.id) {
                    let job = jobs::by_id(conn, made)?.ok_or(StoreError::NoJob(made))?;
                    return Ok((Added::Duplicate(job), Vec::new()));
                }
            }
            if exclusive && let Some(other) = jobs::same_build(conn, &job)? {
                return Err(StoreError::Building(other).into());
            }
            images::choose(conn, &mut job, alternative)?;
            jobs::insert(conn, &job, rule != Supersede::Off)?;
            let (job, superseded) = match rule {
                Supersede::Off => (job, Vec::new()),
                rule => jobs::supersede_older(conn, job, rule, &announce)?,
            };
            Ok((Added::New(job), superseded))
        };
        // A refusal of an exclusive job takes back its delivery.
        if rule == Supersede::Off && !exclusive {
            return self.write_unsaved(add).await;
        }
        let added = self.write(add).await?;
        self.notified.notify_one();
        Ok(added)
    }

    /// Stores a delivery whose push makes no job.
    pub async fn skip(&self, new: NewJob, delivery: NewDelivery, reason: SkipReason) -> Result<Skipped, StoreError> {
        let job = Job::pending(new, self.repo_case);
        self.write(move |conn| {
            Ok(match record(conn, &delivery, &job, Some(reason))? {
                (Some(made), _) => Skipped::Built(jobs::by_id(conn, made)?.ok_or(StoreError::NoJob(made))?.into()),
                (None, 0) => Skipped::New,
                (None, _) => Skipped::Repeated,
            })
        })
        .await
    }

    /// Returns deliveries for the repositories of `limits`, the newest first, that came before the delivery `before`, the
    /// last one of the page before.
    pub async fn deliveries(
        &self,
        limits: &RepoLimits,
        limit: u32,
        before: Option<Uuid>,
    ) -> Result<Vec<Delivery>, StoreError> {
        const SQL: &str = concat!(
            select!(),
            "d.id < $1 AND ",
            within!("COALESCE(j.repository, d.repository)", "$3"),
            " ORDER BY d.id DESC LIMIT $2"
        );
        let limits = self.keys_of(limits);
        let before = before.map_or(LAST_ID.into(), |id| id.to_string());
        self.read(move |conn| conn.all(SQL, &[&before, &limit, &limits], decode)).await
    }

    /// Returns the delivery with this id of ours.
    pub async fn delivery(&self, id: Uuid) -> Result<Option<Delivery>, StoreError> {
        const SQL: &str = concat!(select!(), "d.id = $1");
        self.read(move |conn| conn.first(SQL, &[&id.to_string()], decode)).await
    }

    /// Deletes some of the deliveries that are older than 30 days, and returns their number.
    pub async fn delete_old_deliveries(&self, now: Millis) -> Result<u64, StoreError> {
        let oldest = first_id(now.0 - KEPT.as_millis() as i64);
        self.write(move |conn| {
            let deleted = conn.execute(
                "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE id < $1 ORDER BY id LIMIT $2)",
                &[&oldest, &BATCH],
            )?;
            Ok(deleted as u64)
        })
        .await
    }
}

/// Records a delivery that is to make `job`, or that is skipped for a reason. Returns the job that the delivery means, this
/// one or an existing one, and how often the delivery came before. The usual case is one statement, because webhooks wait
/// for it.
fn record(
    conn: &SqlConnection,
    delivery: &NewDelivery,
    job: &Job,
    skipped: Option<SkipReason>,
) -> Result<(Option<JobId>, u32), StoreFault> {
    let made = Some(job.id).filter(|_| skipped.is_none());
    let of_skipped = skipped.map(|_| job);
    let context = of_skipped.map(|job| job.context.stored()).transpose()?;
    loop {
        let recorded = conn.first(
            "INSERT INTO deliveries (id, route, digest, delivery, event, job, received, newest, repeats, forge, reason, \
             context, commit_id, git_ref, before, pushed, forced, default_branch, dialect, repository) \
             VALUES ($1, $2, $3, $4, $5, COALESCE((SELECT CASE WHEN origin = 'missed' AND context ->> 'commit' = $9 \
             THEN id END FROM jobs WHERE repository = $10 AND branch = $11 ORDER BY id DESC LIMIT 1), $6), $7, 1, 0, \
             $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) \
             ON CONFLICT (route, digest) WHERE newest = 1 \
             DO UPDATE SET repeats = deliveries.repeats + 1, repeated = excluded.received, \
             job = COALESCE(deliveries.job, excluded.job), reason = CASE WHEN deliveries.job IS NULL \
             AND excluded.job IS NULL THEN excluded.reason END \
             WHERE deliveries.received > excluded.received - $8 RETURNING job, repeats",
            &[
                &Uuid::now_v7().to_string(),
                &delivery.route,
                &delivery.digest,
                &delivery.delivery_id,
                &delivery.event,
                &made,
                &job.created,
                &(REMEMBERED.as_millis() as i64),
                &job.context.commit,
                &job.repository,
                &jobs::branch(job),
                &delivery.forge,
                &skipped,
                &context,
                &of_skipped.map(|job| &job.context.commit),
                &of_skipped.and_then(|job| job.git_ref.as_ref()),
                &of_skipped.and_then(|job| job.before.as_ref()),
                &of_skipped.map(|job| job.pushed),
                &of_skipped.map(|job| job.forced),
                &of_skipped.and_then(|job| job.default_branch.as_ref()),
                &of_skipped.map(|job| job.dialect),
                &of_skipped.map(|job| &job.repository),
            ],
            |row| Ok((row.get("job")?, row.get("repeats")?)),
        )?;
        if let Some(recorded) = recorded {
            return Ok(recorded);
        }
        // The same delivery came too long ago, so it is no dedupe mark any more.
        conn.execute(
            "UPDATE deliveries SET newest = 0 WHERE route = $1 AND digest = $2 AND newest = 1",
            &[&delivery.route, &delivery.digest],
        )?;
    }
}

/// Returns a text that comes before every UUIDv7 of this millisecond, because the first 48 bits of those are the time.
pub(super) fn first_id(at: i64) -> String {
    let at = at.max(0);
    format!("{:08x}-{:04x}", at >> 16, at & 0xffff)
}

fn decode(row: &Row) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get_ref("id")?.as_str()?.parse().map_err(FromSqlError::other)?,
        route: row.get("route")?,
        digest: row.get("digest")?,
        delivery_id: row.get("delivery")?,
        forge: row.get("forge")?,
        event: row.get("event")?,
        received: row.get("received")?,
        repeats: row.get("repeats")?,
        repeated: row.get("repeated")?,
        job: row.get("job")?,
        skipped: row.get("reason")?,
        context: context(row)?,
        git_ref: row.get("git_ref")?,
        before: commit(row, "before")?,
        pushed: row.get("pushed")?,
        forced: row.get("forced")?,
        default_branch: row.get("default_branch")?,
        dialect: row.get("dialect")?,
    })
}
