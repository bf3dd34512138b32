use std::time::Duration;

use futures_util::FutureExt;
use sqlx::{Row, query};

use super::{Store, StoreError, jobs};
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
        let json = jobs::json(&new.context).map_err(|e| self.explain(e))?;
        let job = Job::pending(new);
        self.enqueue(false, move |conn| {
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
                        return Ok(Added::Duplicate(job.ok_or(StoreError::NoJob(id))?));
                    }
                }
                jobs::insert(conn, &job, json).await?;
                Ok(Added::New(job))
            }
            .boxed()
        })
        .await
    }
}
