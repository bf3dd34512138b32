use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::lanes::{AT_ONCE, Lanes};
use super::{Failure, Sender};
use crate::metrics::Sending;
use crate::model::Backoff;
use crate::store::{Notification, StoreError};

/// The longest that a channel may take, whatever it does.
const LONGEST_TRY: Duration = Duration::from_secs(60);
/// The pauses between attempts to send a notification.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// It looks so often at least, whatever it was told: also what a clock that is set back has put off is found so.
const LOOK: Duration = Duration::from_secs(5);
/// How often it deletes what is old.
const TIDY: Duration = Duration::from_secs(60);
/// Before what was sent, and could not be stored as sent, is sent again.
const STORE_PAUSE: Duration = Duration::from_secs(10);

impl Sender {
    /// Sends and tidies up, for ever.
    pub(super) async fn run(&self) {
        tokio::join!(self.send_all(), self.tidy());
    }

    async fn send_all(&self) {
        let mut lanes = Lanes::default();
        loop {
            let pause = self.start(&mut lanes).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the outbox cannot be read: trying again");
                LOOK
            });
            let event = async {
                tokio::select! {
                    () = lanes.one_ended() => {}
                    () = self.store.notified() => {}
                    () = sleep(pause) => {}
                }
            };
            self.metrics.outbox.wait(event).await;
        }
    }

    async fn tidy(&self) {
        loop {
            if let Err(error) = self.store.tidy_notifications().await {
                tracing::warn!(%error, "old notifications are not deleted: trying again");
            }
            sleep(TIDY).await;
        }
    }

    /// Starts to send what is due and may go. Returns when to look again.
    pub(super) async fn start(&self, lanes: &mut Lanes) -> Result<Duration, StoreError> {
        // Of so many that wait longest at a destination, as many as it has room for are not under way.
        for notification in self.store.due_notifications(AT_ONCE).await? {
            if lanes.are_free_for(&notification) {
                let (sender, sent) = (self.clone(), notification.clone());
                lanes.send(&notification, async move { sender.deliver(&sent).await });
            }
        }
        let next = self.store.next_notification().await?;
        Ok(next.map_or(LOOK, |next| next.since(self.store.now()).min(LOOK)))
    }

    pub(super) async fn deliver(&self, notification: &Notification) {
        let Notification { id, job, channel, attempts, .. } = notification;
        let stored = match self.attempt(notification).await {
            Ok(()) => {
                tracing::info!(%job, channel, "notification sent");
                self.metrics.notification(channel, Sending::Sent);
                self.store.notification_sent(id).await
            }
            Err(Failure { error, permanent, retry_after }) => {
                let pause = BACKOFF.random_pause(*attempts).max(retry_after.unwrap_or_default());
                let again = (!permanent).then(|| self.store.now() + pause);
                let stored = self.store.notification_failed(id, &error, again).await;
                let attempt = attempts + 1;
                let is_dead = matches!(stored, Ok(None));
                self.metrics.notification(channel, if is_dead { Sending::Dead } else { Sending::Again });
                stored.map(|next| match next {
                    Some(next) => tracing::warn!(%job, channel, error, attempt, %next, "notification not sent"),
                    None => tracing::warn!(%job, channel, error, attempt, notification = id, "notification given up"),
                })
            }
        };
        if let Err(error) = stored {
            // It stays due. Not at once again: it may have been sent.
            tracing::error!(%job, channel, %error, "what became of a notification cannot be stored");
            sleep(STORE_PAUSE).await;
        }
    }

    async fn attempt(&self, notification: &Notification) -> Result<(), Failure> {
        match AssertUnwindSafe(timeout(LONGEST_TRY, self.send(notification))).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::passing(format!("it took longer than {} s", LONGEST_TRY.as_secs()))),
            // The panic itself is on standard error.
            Err(_) => Err(Failure::passing("the channel has a fault of its own")),
        }
    }
}
