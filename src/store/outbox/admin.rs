//! The outbox as an operator sees it: what became of each notification, the dead ones sent again, the old ones gone.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::rows::LIFE;
use crate::model::{JobId, Millis};
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long each is kept once it is finished.
const KEPT: [(&str, Duration); 3] =
    [("sent", DAY.saturating_mul(30)), ("replaced", DAY.saturating_mul(30)), ("dead", DAY.saturating_mul(90))];
/// So many go in one write, which takes 2 ms.
const BATCH: u32 = 200;

/// A notification and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationRecord {
    pub id: String,
    pub job: JobId,
    pub channel: String,
    pub destination: String,
    /// due, sent, replaced or dead
    pub state: String,
    pub attempts: u32,
    pub created: Millis,
    /// When it is tried next, or was finished.
    pub next: Millis,
    /// Of the last attempt.
    pub error: Option<String>,
}

/// What a list of notifications is of.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    pub state: Option<String>,
    pub job: Option<JobId>,
    /// The last one of the page before.
    pub before: Option<String>,
}

macro_rules! columns {
    () => {
        "id, job, channel, destination, state, attempts, created, next_at, error"
    };
}

/// Newest first. Three statements, so that each has its index: of all, of a state, of a job.
pub(in crate::store) const LISTS: [&str; 3] = [
    concat!("SELECT ", columns!(), " FROM outbox WHERE id < $1 AND '' = $2 AND '' = $3 ORDER BY id DESC LIMIT $4"),
    concat!("SELECT ", columns!(), " FROM outbox WHERE id < $1 AND state = $2 AND '' = $3 ORDER BY id DESC LIMIT $4"),
    concat!(
        "SELECT ",
        columns!(),
        " FROM outbox WHERE id < $1 AND ('' = $2 OR state = $2) AND job = $3 ORDER BY id DESC LIMIT $4"
    ),
];

pub(in crate::store) const OLD: &str = "SELECT id FROM outbox WHERE state = $1 AND next_at < $2 LIMIT $3";
pub(in crate::store) const AHEAD: &str = "SELECT id FROM outbox WHERE state = 'due' AND created > $1 LIMIT 1";

fn read(row: &SqliteRow) -> Result<NotificationRecord, sqlx::Error> {
    Ok(NotificationRecord {
        id: row.try_get(0)?,
        job: row.try_get::<&str, _>(1)?.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        channel: row.try_get(2)?,
        destination: row.try_get(3)?,
        state: row.try_get(4)?,
        attempts: row.try_get(5)?,
        created: Millis(row.try_get(6)?),
        next: Millis(row.try_get(7)?),
        error: row.try_get(8)?,
    })
}

impl Store {
    /// Newest first.
    pub async fn letters(&self, of: &NotificationFilter, limit: u32) -> Result<Vec<NotificationRecord>, StoreError> {
        let list = match of {
            NotificationFilter { job: Some(_), .. } => LISTS[2],
            NotificationFilter { state: Some(_), .. } => LISTS[1],
            _ => LISTS[0],
        };
        query(list)
            // Every id is less than this: it is the greatest UUID, and no version 7.
            .bind(of.before.clone().unwrap_or_else(|| "ffffffff-ffff-ffff-ffff-ffffffffffff".into()))
            .bind(of.state.clone().unwrap_or_default())
            .bind(of.job.map(|job| job.to_string()).unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(|e| self.explain(e))
    }

    /// Has a dead notification sent again, with its old id and as much time as a new one.
    ///
    /// # Errors
    /// There is none with this id, or it is not dead.
    pub async fn replay_notification(&self, id: &str) -> Result<NotificationRecord, StoreError> {
        let (id, now) = (id.to_owned(), self.now());
        let letter = self
            .write(move |conn| {
                async move {
                    let again = query(concat!(
                        "UPDATE outbox SET state = 'due', attempts = 0, next_at = $1, expires = $2 \
                         WHERE id = $3 AND state = 'dead' RETURNING ",
                        columns!()
                    ));
                    let again = again.bind(now.0).bind((now + LIFE).0).bind(id.clone());
                    if let Some(row) = again.fetch_optional(&mut *conn).await? {
                        return Ok(read(&row)?);
                    }
                    let found = query("SELECT state FROM outbox WHERE id = $1").bind(id.clone());
                    Err(match found.fetch_optional(conn).await? {
                        Some(row) => StoreError::NotDead(row.try_get(0)?).into(),
                        None => StoreError::NoNotification(id).into(),
                    })
                }
                .boxed()
            })
            .await?;
        self.notified.notify_one();
        Ok(letter)
    }

    /// Deletes what was finished long ago, and makes due what a clock put off that was ahead and was set back.
    pub async fn tidy_notifications(&self) -> Result<(), StoreError> {
        for (state, kept) in KEPT {
            let before = Millis(self.now().0 - kept.as_millis() as i64);
            // A look first: without it an idle daemon would write once a minute.
            while self.finds(query(OLD).bind(state).bind(before.0).bind(1)).await? {
                self.forget(state, before).await?;
            }
        }
        let now = self.now();
        if self.finds(query(AHEAD).bind(now.0)).await? {
            self.mend(now).await?;
            self.notified.notify_one();
        }
        Ok(())
    }

    async fn finds(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<bool, StoreError> {
        query.fetch_optional(&self.readers).await.map(|row| row.is_some()).map_err(|e| self.explain(e))
    }

    async fn forget(&self, state: &'static str, before: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            async move {
                let old = query(
                    "DELETE FROM outbox WHERE id IN \
                     (SELECT id FROM outbox WHERE state = $1 AND next_at < $2 LIMIT $3)",
                );
                old.bind(state).bind(before.0).bind(BATCH).execute(conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn mend(&self, now: Millis) -> Result<(), StoreError> {
        self.write(move |conn| {
            async move {
                let ahead = query(
                    "UPDATE outbox SET created = $1, next_at = $1, expires = $2 WHERE state = 'due' AND created > $1",
                );
                ahead.bind(now.0).bind((now + LIFE).0).execute(conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
