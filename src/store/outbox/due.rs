use futures_util::FutureExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, query};

use super::rows::Notification;
use crate::model::Millis;
use crate::store::{Store, StoreError};

/// Everyone to whom something is due, without a look at each row: from one destination to the next by an index.
pub(in crate::store) const DESTINATIONS: &str = "\
    WITH RECURSIVE places (channel, destination) AS ( \
        SELECT * FROM (SELECT channel, destination FROM outbox WHERE state = 'due' \
            ORDER BY channel, destination LIMIT 1) AS first \
        UNION ALL \
        SELECT outbox.channel, outbox.destination FROM places JOIN outbox ON outbox.id = COALESCE( \
            (SELECT next.id FROM outbox AS next WHERE next.state = 'due' AND next.channel = places.channel \
                AND next.destination > places.destination ORDER BY next.destination LIMIT 1), \
            (SELECT next.id FROM outbox AS next WHERE next.state = 'due' AND next.channel > places.channel \
                ORDER BY next.channel, next.destination LIMIT 1)) \
    ) SELECT channel, destination FROM places";

/// Only the oldest of a lane, also when that waits for its next try. (`IN` is what names the index.)
pub(in crate::store) const DUE: &str = "\
    SELECT id, job, channel, body, attempts, created, destination, lane FROM outbox \
    WHERE state = 'due' AND channel = $1 AND destination = $2 AND next_at <= $3 AND NOT EXISTS ( \
        SELECT 1 FROM outbox AS older WHERE older.lane = outbox.lane AND older.id < outbox.id \
        AND older.state IN ('due', 'dead') AND older.state = 'due') \
    ORDER BY next_at LIMIT $4";

impl Store {
    /// Waits until notifications may have been added since the last call.
    pub async fn notified(&self) {
        self.notified.notified().await;
    }

    /// Those whose time and turn have come, of each destination the `limit` that wait longest.
    pub async fn due_notifications(&self, limit: u32) -> Result<Vec<Notification>, StoreError> {
        let now = self.now().0;
        let due = async {
            let mut due = Vec::new();
            for place in query(DESTINATIONS).fetch_all(&self.readers).await? {
                let (channel, destination): (&str, &str) = (place.try_get(0)?, place.try_get(1)?);
                let rows = query(DUE).bind(channel).bind(destination).bind(now).bind(limit);
                for row in rows.fetch_all(&self.readers).await? {
                    due.push(read(&row)?);
                }
            }
            Ok(due)
        };
        due.await.map_err(|e: sqlx::Error| self.explain(e))
    }

    /// When the next one that is not due yet will be.
    pub async fn next_notification(&self) -> Result<Option<Millis>, StoreError> {
        query("SELECT MIN(next_at) FROM outbox WHERE state = 'due' AND next_at > $1")
            .bind(self.now().0)
            .fetch_one(&self.readers)
            .await
            .and_then(|row| Ok(row.try_get::<Option<i64>, _>(0)?.map(Millis)))
            .map_err(|e| self.explain(e))
    }

    /// Also when a newer one took its place meanwhile.
    pub async fn notification_sent(&self, id: &str) -> Result<(), StoreError> {
        let (id, now) = (id.to_owned(), self.now().0);
        self.write(move |conn| {
            async move {
                let sent = query(
                    "UPDATE outbox SET state = 'sent', next_at = $1, error = NULL, attempts = attempts + 1 \
                     WHERE id = $2 AND state IN ('due', 'replaced')",
                );
                sent.bind(now).bind(id).execute(conn).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }

    /// To be tried again then, or never. Returns when it is: not when its time is over, or when a newer one took its
    /// place.
    pub async fn notification_failed(
        &self,
        id: &str,
        error: &str,
        again: Option<Millis>,
    ) -> Result<Option<Millis>, StoreError> {
        let (id, error, now) = (id.to_owned(), error.to_owned(), self.now().0);
        self.write(move |conn| {
            async move {
                let row = query(
                    "UPDATE outbox SET error = $1, attempts = attempts + 1, \
                     state = CASE WHEN $2 < expires THEN 'due' ELSE 'dead' END, \
                     next_at = CASE WHEN $2 < expires THEN $2 ELSE $3 END \
                     WHERE id = $4 AND state = 'due' RETURNING state, next_at",
                )
                .bind(error)
                .bind(again.map_or(i64::MAX, |again| again.0))
                .bind(now)
                .bind(id)
                .fetch_optional(conn)
                .await?;
                let Some(row) = row else { return Ok(None) };
                let is_due = row.try_get::<&str, _>(0)? == "due";
                let next = Millis(row.try_get(1)?);
                Ok(is_due.then_some(next))
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
