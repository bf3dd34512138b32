//! Sends what the outbox holds: at least once, and again until it arrives or a day has gone by.

mod failure;
mod post_build;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Client, redirect};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::metrics::{Metrics, Sending};
use crate::model::{Job, Millis, Status};
use crate::store::{NewNotification, Notification, Store, StoreError};
use failure::Failure;

/// How many are sent at once, so that a slow destination does not stop the others.
const AT_ONCE: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the first failure; doubled after each, up to five minutes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// One that is older is dead.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// It looks so often at least, whatever it was told.
const TICK: Duration = Duration::from_secs(60);

/// Who is told about jobs.
#[derive(Clone, Default)]
pub struct NotifyConfig {
    /// HOOK_POST_URL
    pub post_build: Vec<String>,
    /// HOOK_SECRET: signs what is sent.
    pub hook_secret: Option<Zeroizing<String>>,
}

impl NotifyConfig {
    /// What a job that has just begun to run, or has just ended, makes known: rows for the outbox. Pure. `previous` is how
    /// the job before it of the same branch ended.
    pub fn announce(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        post_build::rows(self, job)
    }
}

/// Sends the outbox until `shutdown`; what is under way then is sent again after the next start. Errors: there is no
/// TLS provider or no root certificate.
pub async fn run(
    store: Store,
    config: NotifyConfig,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<(), reqwest::Error> {
    let client = Client::builder()
        .timeout(TIMEOUT)
        // A redirect would carry the body and its signature to a host that nobody configured.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("image-factory/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let sender = Sender { store, config, client, metrics };
    shutdown.run_until_cancelled(sender.run()).await;
    Ok(())
}

#[derive(Clone)]
struct Sender {
    store: Store,
    config: NotifyConfig,
    client: Client,
    metrics: Metrics,
}

impl Sender {
    async fn run(&self) {
        let mut sending = JoinSet::new();
        let mut ids = HashSet::new();
        loop {
            let pause = self.start(&mut sending, &mut ids).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the outbox cannot be read: trying again");
                TICK
            });
            let event = async {
                tokio::select! {
                    Some(Ok(id)) = sending.join_next() => {
                        ids.remove(&id);
                    }
                    () = self.store.notified() => {}
                    () = sleep(pause) => {}
                }
            };
            self.metrics.outbox.wait(event).await;
        }
    }

    /// Starts to send what is due and not yet under way. Returns when to look again.
    async fn start(&self, sending: &mut JoinSet<String>, ids: &mut HashSet<String>) -> Result<Duration, StoreError> {
        let due = self.store.due_notifications((AT_ONCE + ids.len()) as u32).await?;
        for notification in due {
            if ids.len() < AT_ONCE && ids.insert(notification.id.clone()) {
                let sender = self.clone();
                sending.spawn(async move {
                    sender.deliver(&notification).await;
                    notification.id
                });
            }
        }
        let next = self.store.next_notification().await?;
        Ok(next.map_or(TICK, |next| next.since(Millis::now()).min(TICK)))
    }

    async fn deliver(&self, notification: &Notification) {
        let Notification { id, job, channel, attempts, created, .. } = notification;
        let stored = match self.send(notification).await {
            Ok(()) => {
                tracing::info!(%job, channel, "notification sent");
                self.metrics.notification(channel, Sending::Sent);
                self.store.notification_sent(id).await
            }
            Err(Failure { error, permanent, retry_after }) => {
                let pause = pause(*attempts, fastrand::f64()).max(retry_after.unwrap_or_default());
                let again = (!permanent).then(|| Millis::now() + pause);
                let again = again.filter(|again| again.since(*created) < LIFE);
                self.metrics.notification(channel, if again.is_some() { Sending::Again } else { Sending::Dead });
                let next = again.map(|again| again.to_string());
                tracing::warn!(%job, channel, error, attempt = attempts + 1, next, "notification not sent");
                self.store.notification_failed(id, &error, again).await
            }
        };
        if let Err(error) = stored {
            // It stays due. Not at once again: it may have been sent.
            tracing::error!(%job, channel, %error, "what became of a notification cannot be stored");
            sleep(TIMEOUT).await;
        }
    }

    async fn send(&self, notification: &Notification) -> Result<(), Failure> {
        match notification.channel.as_str() {
            post_build::CHANNEL => post_build::send(&self.config, &self.client, notification).await,
            other => Err(Failure::permanent(format!("nothing is configured for {other} any more"))),
        }
    }
}

/// From half to all of a pause that doubles; `jitter` is 0 to 1.
fn pause(attempts: u32, jitter: f64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempts)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + jitter / 2.0)
}
