//! The outbox for an operator: lists of notifications, replays of dead ones, and the deletion of old ones.

use std::time::Duration;

use rusqlite::{Row, ToSql};

use super::rows::LIFE;
use crate::model::{JobId, Millis, NotificationState, RepoLimits};
use crate::store::jobs::{LAST_ID, within};
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The time for which a notification is kept once it is finished.
const KEPT: [(NotificationState, Duration); 3] = [
    (NotificationState::Sent, DAY.saturating_mul(30)),
    (NotificationState::Replaced, DAY.saturating_mul(30)),
    (NotificationState::Dead, DAY.saturating_mul(90)),
];
/// The number of notifications that one write deletes, which takes 2 ms.
const BATCH: u32 = 200;

/// A notification and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationRecord {
    pub id: String,
    pub job: JobId,
    pub channel: String,
    pub destination: String,
    pub state: NotificationState,
    pub attempts: u32,
    pub created: Millis,
    /// Time of the next attempt, or of the end.
    pub next: Millis,
    /// Error of the last attempt.
    pub error: Option<String>,
}

/// The notifications that a list has.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    pub state: Option<NotificationState>,
    pub job: Option<JobId>,
    /// Id of the last notification of the page before.
    pub before: Option<String>,
    /// Repositories that the caller may see.
    pub limits: RepoLimits,
}

macro_rules! columns {
    () => {
        "id, job, channel, destination, state, attempts, created, next_at, error"
    };
}

macro_rules! list {
    ($wanted:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM outbox WHERE id < $1 AND ",
            $wanted,
            " AND ($5 IS NULL OR EXISTS (SELECT 1 FROM jobs WHERE jobs.id = outbox.job AND ",
            within!("jobs.repository", "$5"),
            ")) ORDER BY id DESC LIMIT $4"
        )
    };
}

/// The lists of all notifications, of a state and of a job, newest first. There are three statements so that each has its
/// index.
pub(in crate::store) const LISTS: [&str; 3] =
    [list!("'' = $2 AND '' = $3"), list!("state = $2 AND '' = $3"), list!("('' = $2 OR state = $2) AND job = $3")];

pub(in crate::store) const OLD: &str = "SELECT id FROM outbox WHERE state = $1 AND next_at < $2 LIMIT $3";
pub(in crate::store) const AHEAD: &str = "SELECT id FROM outbox WHERE state = 'due' AND created > $1 LIMIT 1";

fn decode(row: &Row) -> rusqlite::Result<NotificationRecord> {
    Ok(NotificationRecord {
        id: row.get("id")?,
        job: row.get("job")?,
        channel: row.get("channel")?,
        destination: row.get("destination")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        created: row.get("created")?,
        next: row.get("next_at")?,
        error: row.get("error")?,
    })
}

impl Store {
    /// Returns notifications, the newest first.
    pub async fn notifications(
        &self,
        filter: &NotificationFilter,
        limit: u32,
    ) -> Result<Vec<NotificationRecord>, StoreError> {
        let list = match filter {
            NotificationFilter { job: Some(_), .. } => LISTS[2],
            NotificationFilter { state: Some(_), .. } => LISTS[1],
            _ => LISTS[0],
        };
        let before = filter.before.clone().unwrap_or_else(|| LAST_ID.into());
        let state = filter.state.map_or("", NotificationState::as_str);
        let job = filter.job.map(|job| job.to_string()).unwrap_or_default();
        let limits = self.keys_of(&filter.limits);
        self.read(move |conn| conn.all(list, &[&before, &state, &job, &limit, &limits], decode)).await
    }

    /// Has a dead notification sent again, with its old id and as much time as a new one.
    ///
    /// # Errors
    /// No notification has this id, or it is not dead.
    pub async fn replay_notification(&self, id: &str) -> Result<NotificationRecord, StoreError> {
        let (id, now) = (id.to_owned(), self.now());
        let replayed = self
            .write(move |conn| {
                let replayed = conn.first(
                    concat!(
                        "UPDATE outbox SET state = 'due', attempts = 0, next_at = $1, expires = $2 \
                         WHERE id = $3 AND state = 'dead' RETURNING ",
                        columns!()
                    ),
                    &[&now, &(now + LIFE), &id],
                    decode,
                )?;
                if let Some(replayed) = replayed {
                    return Ok(replayed);
                }
                let state = conn.first("SELECT state FROM outbox WHERE id = $1", &[&id], |row| row.get("state"))?;
                Err(state.map_or(StoreError::NoNotification(id), StoreError::NotDead).into())
            })
            .await?;
        self.notified.notify_one();
        Ok(replayed)
    }

    /// Deletes the notifications that were finished long ago, and makes due those that were stored by a clock that was
    /// ahead and has been set back.
    pub async fn tidy_notifications(&self) -> Result<(), StoreError> {
        for (state, kept) in KEPT {
            let before = Millis(self.now().0 - kept.as_millis() as i64);
            // The read comes first, because otherwise an idle daemon would write once a minute.
            while self.finds(OLD, [Box::new(state), Box::new(before), Box::new(1)]).await? {
                self.delete_old_notifications(state, before).await?;
            }
        }
        let now = self.now();
        if self.finds(AHEAD, [Box::new(now)]).await? {
            self.make_due(now).await?;
            self.notified.notify_one();
        }
        Ok(())
    }

    async fn finds<const N: usize>(
        &self,
        sql: &'static str,
        args: [Box<dyn ToSql + Send>; N],
    ) -> Result<bool, StoreError> {
        self.read(move |conn| {
            let args = args.each_ref().map(|arg| &**arg as &dyn ToSql);
            Ok(conn.first(sql, &args, |_| Ok(()))?.is_some())
        })
        .await
    }

    async fn delete_old_notifications(&self, state: NotificationState, before: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            conn.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state = $1 AND next_at < $2 LIMIT $3)",
                &[&state, &before, &BATCH],
            )?;
            Ok(())
        })
        .await
    }

    async fn make_due(&self, now: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            conn.execute(
                "UPDATE outbox SET created = $1, next_at = $1, expires = $2 WHERE state = 'due' AND created > $1",
                &[&now, &(now + LIFE)],
            )?;
            Ok(())
        })
        .await
    }
}
