use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::channel::Channels;
use super::lanes::{AT_ONCE, Lanes};
use super::send_error::SendError;
use crate::metrics::{Metrics, SendResult};
use crate::model::Backoff;
use crate::store::{Notification, Store, StoreError};

/// The longest time that a channel may take for one attempt.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(60);
/// The pauses between attempts to send a notification.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
/// The longest pause between two looks at the outbox. A clock that was set back may have made rows due without a wake-up.
const POLL: Duration = Duration::from_secs(5);
/// The pause between two deletions of old rows.
const TIDY: Duration = Duration::from_secs(60);
/// The pause after a result that could not be stored, because the row stays due and may have arrived already.
const STORE_PAUSE: Duration = Duration::from_secs(10);

/// Sends the outbox until `shutdown`, and runs the channels' own work. A notification that is in flight then is sent
/// again after the next start.
pub async fn run(store: Store, channels: Channels, metrics: Metrics, shutdown: CancellationToken) {
    let background =
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(background(store.clone(), channels.clone())));
    let sender = OutboxSender { store, channels, metrics };
    shutdown.run_until_cancelled(sender.run()).await;
    background.abort();
}

/// Runs the channels' own work. Each replacement of the channels begins it anew.
async fn background(store: Store, channels: Channels) {
    let mut replaced = channels.subscribe();
    loop {
        let work = join_all(channels.background(&store));
        let forever = async {
            work.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = replaced.changed() => {}
            () = forever => {}
        }
    }
}

/// The loops that send the outbox and tidy it up.
#[derive(Clone)]
pub(super) struct OutboxSender {
    pub store: Store,
    pub channels: Channels,
    pub metrics: Metrics,
}

impl OutboxSender {
    /// Sends and tidies up for ever.
    async fn run(&self) {
        tokio::join!(self.send_all(), self.tidy());
    }

    async fn send_all(&self) {
        let mut lanes = Lanes::default();
        loop {
            let pause = self.start(&mut lanes).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the outbox cannot be read: trying again");
                POLL
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
                tracing::warn!(%error, "old notifications cannot be deleted: trying again");
            }
            sleep(TIDY).await;
        }
    }

    /// Starts to send every notification that is due and may go. Returns when to look again.
    pub(super) async fn start(&self, lanes: &mut Lanes) -> Result<Duration, StoreError> {
        // At most `AT_ONCE` per destination are in flight, so the oldest `AT_ONCE` rows include every row that may start.
        for notification in self.store.due_notifications(AT_ONCE).await? {
            if lanes.are_free_for(&notification) {
                let (sender, sent) = (self.clone(), notification.clone());
                lanes.send(&notification, async move { sender.deliver(&sent).await });
            }
        }
        let next = self.store.next_notification().await?;
        Ok(next.map_or(POLL, |next| next.since(self.store.now()).min(POLL)))
    }

    /// Makes one attempt and stores its result.
    pub(super) async fn deliver(&self, notification: &Notification) {
        let Notification { id, job, channel, attempts, .. } = notification;
        let stored = match self.attempt(notification).await {
            Ok(()) => {
                tracing::info!(%job, channel, "notification sent");
                self.metrics.notification(channel, SendResult::Sent);
                self.store.notification_sent(id).await
            }
            Err(SendError { message: error, is_permanent, retry_after }) => {
                let pause = BACKOFF.random_pause(*attempts).max(retry_after.unwrap_or_default());
                let retry_at = (!is_permanent).then(|| self.store.now() + pause);
                let stored = self.store.notification_failed(id, &error, retry_at).await;
                let attempt = attempts + 1;
                let is_dead = matches!(stored, Ok(None));
                self.metrics.notification(channel, if is_dead { SendResult::Dead } else { SendResult::Again });
                stored.map(|next| match next {
                    Some(next) => tracing::warn!(%job, channel, error, attempt, %next, "notification not sent"),
                    None => tracing::warn!(%job, channel, error, attempt, notification = id, "notification given up"),
                })
            }
        };
        if let Err(error) = stored {
            tracing::error!(%job, channel, %error, "the result of a notification cannot be stored: it is sent again");
            sleep(STORE_PAUSE).await;
        }
    }

    async fn attempt(&self, notification: &Notification) -> Result<(), SendError> {
        let sending = self.channels.send(notification, self.store.now());
        match AssertUnwindSafe(timeout(LONGEST_ATTEMPT, sending)).catch_unwind().await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SendError::transient(format!("it took longer than {} s", LONGEST_ATTEMPT.as_secs()))),
            // The panic's own message is on standard error.
            Err(_) => Err(SendError::transient("the channel has a fault of its own")),
        }
    }
}
