use std::sync::Arc;

use futures_util::FutureExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row, query};
use uuid::Uuid;

use super::{Fault, Store, StoreError};
use crate::model::{Job, JobId, Millis, Status};

/// What a job that has just begun to run, or has just ended, has to tell, and whom; with how the job before it of the
/// same branch ended, if it has ended itself. Called inside the transaction: pure and quick.
pub type Announce = Arc<dyn Fn(&Job, Option<Status>) -> Vec<NewNotification> + Send + Sync>;

/// An outbox row to be. Where it goes, and with which secret, is looked up by its channel when it is sent: neither is
/// stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    pub channel: &'static str,
    /// Which of the channel's destinations: never a URL, which may hold a token.
    pub destination: String,
    /// Notifications of one lane arrive in their order.
    pub lane: String,
    /// It makes those before it in its lane needless, as far as they are not sent.
    pub replaces: bool,
    pub body: String,
}

/// A notification that is to be sent.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Stays the same however often it is sent.
    pub id: String,
    pub job: JobId,
    pub channel: String,
    pub destination: String,
    pub lane: String,
    pub body: String,
    /// How often it was tried.
    pub attempts: u32,
    pub created: Millis,
}

impl Store {
    /// Waits until notifications may have been added since the last call.
    pub async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Those whose time has come, the longest waiting first.
    pub async fn due_notifications(&self, limit: u32) -> Result<Vec<Notification>, StoreError> {
        query(
            "SELECT id, job, channel, body, attempts, created, destination, lane FROM outbox WHERE state = 'due' AND next_at <= $1 \
             ORDER BY next_at LIMIT $2",
        )
        .bind(Millis::now().0)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .and_then(|rows| rows.iter().map(read).collect())
        .map_err(|e| self.explain(e))
    }

    /// When the next one that is not due yet will be.
    pub async fn next_notification(&self) -> Result<Option<Millis>, StoreError> {
        query("SELECT MIN(next_at) FROM outbox WHERE state = 'due' AND next_at > $1")
            .bind(Millis::now().0)
            .fetch_one(&self.readers)
            .await
            .and_then(|row| Ok(row.try_get::<Option<i64>, _>(0)?.map(Millis)))
            .map_err(|e| self.explain(e))
    }

    pub async fn notification_sent(&self, id: &str) -> Result<(), StoreError> {
        self.settle(id, "sent", Millis::now(), None).await
    }

    /// To be tried again then, or never.
    pub async fn notification_failed(&self, id: &str, error: &str, again: Option<Millis>) -> Result<(), StoreError> {
        let state = if again.is_some() { "due" } else { "dead" };
        self.settle(id, state, again.unwrap_or_else(Millis::now), Some(error.to_owned())).await
    }

    async fn settle(
        &self,
        id: &str,
        state: &'static str,
        next: Millis,
        error: Option<String>,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |conn| {
            async move {
                query(
                    "UPDATE outbox SET state = $1, next_at = $2, error = $3, attempts = attempts + 1 \
                     WHERE id = $4 AND state = 'due'",
                )
                .bind(state)
                .bind(next.0)
                .bind(error)
                .bind(id)
                .execute(conn)
                .await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}

fn read(row: &SqliteRow) -> Result<Notification, sqlx::Error> {
    Ok(Notification {
        id: row.try_get(0)?,
        job: row.try_get::<&str, _>(1)?.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        channel: row.try_get(2)?,
        body: row.try_get(3)?,
        attempts: row.try_get(4)?,
        created: Millis(row.try_get(5)?),
        destination: row.try_get(6)?,
        lane: row.try_get(7)?,
    })
}

pub(super) async fn insert(
    conn: &mut SqliteConnection,
    job: &Job,
    notifications: Vec<NewNotification>,
) -> Result<(), Fault> {
    let now = Millis::now().0;
    for new in notifications {
        query(
            "INSERT INTO outbox (id, job, channel, body, state, attempts, created, next_at, destination, lane) \
             VALUES ($1, $2, $3, $4, 'due', 0, $5, $5, $6, $7)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(job.id.to_string())
        .bind(new.channel)
        .bind(new.body)
        .bind(now)
        .bind(new.destination)
        .bind(new.lane)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
