use std::time::Duration;

use futures_util::FutureExt;
use sqlx::{Row, query};

use super::{Store, StoreError, Superseding, jobs, supersede};
use crate::model::{Job, NewJob};

/// How long the same signed delivery means the same job.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// A signed webhook delivery that makes a job.
pub struct NewDelivery {
    /// Where it came in, as `/hooks/github`.
    pub route: &'static str,
    /// SHA-256 of the raw body, hex.
    pub digest: String,
    /// The sender's id of it. For people: anyone can send another one.
    pub delivery_id: Option<String>,
    pub event: String,
}

/// What became of a request for a job.
#[derive(Debug)]
pub enum Added {
    New(Job),
    /// The same delivery came within 24 h: the job that it made.
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
        new: NewJob,
        delivery: Option<NewDelivery>,
        rule: Option<Superseding>,
    ) -> Result<(Added, Vec<Job>), StoreError> {
        let json = jobs::json(&new.context).map_err(|e| self.explain(e))?;
        let job = Job::pending(new);
        let superseding = rule.is_some();
        let added = self.enqueue(superseding, move |conn| {
            async move {
                if let Some(delivery) = delivery {
                    let first = query(
                        "INSERT INTO deliveries (route, digest, delivery, event, job, received) \
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (route, digest) DO UPDATE SET \
                         delivery = excluded.delivery, event = excluded.event, job = excluded.job, \
                         received = excluded.received WHERE deliveries.received <= excluded.received - $7",
                    )
                    .bind(delivery.route)
                    .bind(delivery.digest.clone())
                    .bind(delivery.delivery_id)
                    .bind(delivery.event)
                    .bind(job.id.to_string())
                    .bind(job.created.0)
                    .bind(REMEMBERED.as_millis() as i64)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                    if first == 0 {
                        let row = query("SELECT job FROM deliveries WHERE route = $1 AND digest = $2")
                            .bind(delivery.route)
                            .bind(delivery.digest)
                            .fetch_one(&mut *conn)
                            .await?;
                        let id = row.try_get::<&str, _>(0)?.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
                        let job = jobs::by_id(conn, id).await?;
                        return Ok((Added::Duplicate(job.ok_or(StoreError::NoJob(id))?), Vec::new()));
                    }
                }
                jobs::insert(conn, &job, json).await?;
                let (job, superseded) = match rule {
                    Some(rule) => supersede::settle(conn, job, &rule).await?,
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
}
