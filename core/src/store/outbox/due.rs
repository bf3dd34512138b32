use rusqlite::Row;

use super::rows::Notification;
use crate::model::{Millis, NotificationState};
use crate::store::{Store, StoreError};

/// The destinations that have a due notification. The query goes from one destination to the next in an index, so it does
/// not read every row.
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

/// The notifications of a destination that may be sent. Only the oldest of a lane may, even while it waits for its next
/// attempt. `state IN ('due', 'dead')` repeats the condition of the partial index `outbox_lanes`, so that SQLite uses it.
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

    /// Returns the notifications that may be sent now: of each destination, the `limit` that have waited longest.
    pub async fn due_notifications(&self, limit: u32) -> Result<Vec<Notification>, StoreError> {
        let now = self.now();
        self.read(move |conn| {
            let destinations = conn.all(DESTINATIONS, &[], |row| {
                Ok((row.get::<_, String>("channel")?, row.get::<_, String>("destination")?))
            })?;
            let mut due = Vec::new();
            for (channel, destination) in destinations {
                due.extend(conn.all(DUE, &[&channel, &destination, &now, &limit], decode)?);
            }
            Ok(due)
        })
        .await
    }

    /// Returns when the next notification will be due that is not due yet.
    pub async fn next_notification(&self) -> Result<Option<Millis>, StoreError> {
        const SQL: &str = "SELECT MIN(next_at) FROM outbox WHERE state = 'due' AND next_at > $1";
        let now = self.now();
        self.read(move |conn| Ok(conn.first(SQL, &[&now], |row| row.get(0))?.flatten())).await
    }

    /// Stores that a notification was sent, even if a newer one has replaced it meanwhile.
    pub async fn notification_sent(&self, id: &str) -> Result<(), StoreError> {
        let (id, now) = (id.to_owned(), self.now());
        self.write(move |conn| {
            conn.execute(
                "UPDATE outbox SET state = 'sent', next_at = $1, error = NULL, attempts = attempts + 1 \
                 WHERE id = $2 AND state IN ('due', 'replaced')",
                &[&now, &id],
            )?;
            Ok(())
        })
        .await
    }

    /// Stores that an attempt failed, and when the next one follows; with `next` None there is no other. Returns when it
    /// follows, or None if the notification's time is over by then, or if a newer one has replaced it.
    pub async fn notification_failed(
        &self,
        id: &str,
        error: &str,
        next: Option<Millis>,
    ) -> Result<Option<Millis>, StoreError> {
        let (id, error, now) = (id.to_owned(), error.to_owned(), self.now());
        let next = next.unwrap_or(Millis(i64::MAX));
        self.write(move |conn| {
            let stored = conn.first(
                "UPDATE outbox SET error = $1, attempts = attempts + 1, \
                 state = CASE WHEN $2 < expires THEN 'due' ELSE 'dead' END, \
                 next_at = CASE WHEN $2 < expires THEN $2 ELSE $3 END \
                 WHERE id = $4 AND state = 'due' RETURNING state, next_at",
                &[&error, &next, &now, &id],
                |row| Ok((row.get::<_, NotificationState>("state")?, row.get("next_at")?)),
            )?;
            Ok(stored.and_then(|(state, next)| (state == NotificationState::Due).then_some(next)))
        })
        .await
    }
}

fn decode(row: &Row) -> rusqlite::Result<Notification> {
    Ok(Notification {
        id: row.get("id")?,
        job: row.get("job")?,
        channel: row.get("channel")?,
        destination: row.get("destination")?,
        lane: row.get("lane")?,
        body: row.get("body")?,
        attempts: row.get("attempts")?,
        created: row.get("created")?,
    })
}
