use std::sync::Arc;
use std::time::Duration;

use sqlx::query;
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use crate::model::{Job, JobId, Millis, Status};
use crate::store::sqlite::Fault;

/// How long a notification is tried.
pub(in crate::store) const LIFE: Duration = Duration::from_secs(24 * 3600);

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
    /// How often it was tried, since it was made or an operator had it sent again.
    pub attempts: u32,
    pub created: Millis,
}

pub(in crate::store) const REPLACE: &str =
    "UPDATE outbox SET state = 'replaced', next_at = $1 WHERE lane = $2 AND state IN ('due', 'dead')";

pub(in crate::store) async fn insert(
    conn: &mut SqliteConnection,
    job: &Job,
    notifications: Vec<NewNotification>,
) -> Result<(), Fault> {
    let now = Millis::now();
    for new in notifications {
        if new.replaces {
            // Dead ones as well: sent again they would bring back what is over.
            query(REPLACE).bind(now.0).bind(new.lane.clone()).execute(&mut *conn).await?;
        }
        query(
            "INSERT INTO outbox (id, job, channel, body, state, attempts, created, next_at, destination, lane, \
             expires) VALUES ($1, $2, $3, $4, 'due', 0, $5, $5, $6, $7, $8)",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(job.id.to_string())
        .bind(new.channel)
        .bind(new.body)
        .bind(now.0)
        .bind(new.destination)
        .bind(new.lane)
        .bind((now + LIFE).0)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
