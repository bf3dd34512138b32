use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::{Job, JobId, Millis, Status};
use crate::store::sqlite::{SqlConnection, StoreFault};

/// The time for which a notification is tried.
pub(in crate::store) const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Makes the notifications of a job that has just begun to run, or has just ended. The status is that with which the
/// branch's previous job ended, if this job has ended. The function is called inside a transaction, so it is pure and
/// quick.
pub type Announce = Arc<dyn Fn(&Job, Option<Status>) -> Vec<NewNotification> + Send + Sync>;

/// A notification that is to be stored. The channel finds its target and secret when it sends; neither is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    pub channel: &'static str,
    /// The name of one of the channel's destinations. It must not be a URL, which may hold a token.
    pub destination: String,
    /// Notifications of one lane arrive in their order.
    pub lane: String,
    /// The notification makes earlier ones of its lane needless that are not sent yet.
    pub replaces: bool,
    pub body: String,
}

/// A notification that is to be sent.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The same for every attempt.
    pub id: String,
    pub job: JobId,
    pub channel: String,
    pub destination: String,
    pub lane: String,
    pub body: String,
    /// The number of attempts since the notification was made, or since an operator replayed it.
    pub attempts: u32,
    pub created: Millis,
}

pub(in crate::store) const REPLACE: &str =
    "UPDATE outbox SET state = 'replaced', next_at = $1 WHERE lane = $2 AND state IN ('due', 'dead')";

/// Stores the notifications of a job.
pub(in crate::store) fn insert(
    conn: &SqlConnection,
    job: &Job,
    notifications: Vec<NewNotification>,
) -> Result<(), StoreFault> {
    let now = Millis::now();
    for new in notifications {
        if new.replaces {
            // Dead ones are replaced too, because a replay of one would bring back a state that is over.
            conn.execute(REPLACE, &[&now, &new.lane])?;
        }
        conn.execute(
            "INSERT INTO outbox (id, job, channel, body, state, attempts, created, next_at, destination, lane, \
             expires) VALUES ($1, $2, $3, $4, 'due', 0, $5, $5, $6, $7, $8)",
            &[
                &Uuid::now_v7().to_string(),
                &job.id,
                &new.channel,
                &new.body,
                &now,
                &new.destination,
                &new.lane,
                &(now + LIFE),
            ],
        )?;
    }
    Ok(())
}
