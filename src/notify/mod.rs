//! Sends what the outbox holds: at least once, and again until it arrives or a day has gone by.

mod chat;
mod forge;
mod hipchat;
mod lanes;
mod mail;
mod post_build;
mod send_error;
mod sender;
mod slack;
mod summary;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::metrics::Metrics;
use crate::model::{Job, Status};
use crate::outbound::{self, Route, is_forbidden_target};
use crate::store::{NewNotification, Notification, Store};
pub use forge::{GitHub, GitHubAccess, GitHubConfig, GitHubError, reconcile};
pub use hipchat::HipChat;
pub use mail::{Mail, MailConfig, Mailing};
use send_error::Failure;
pub use slack::Slack;
pub use summary::Links;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is told about jobs.
#[derive(Clone, Default)]
pub struct NotifyConfig {
    /// HOOK_POST_URL
    pub post_build: Vec<String>,
    /// HOOK_POST_SECRET, else HOOK_SECRET: signs what is sent.
    pub hook_secret: Option<Zeroizing<String>>,
    /// HOOK_SIGNING_KEY: signs it as Standard Webhooks has it.
    pub signing_key: Option<Zeroizing<Vec<u8>>>,
    pub links: Links,
    pub hipchat: Option<HipChat>,
    pub slack: Option<Slack>,
    pub mail: Option<Mailing>,
    /// Sets commit statuses.
    pub github: Option<Arc<GitHub>>,
}

impl NotifyConfig {
    /// What a job that has just begun to run, or has just ended, makes known: rows for the outbox. Pure. `previous` is how
    /// the job before it of the same branch ended.
    pub fn announce(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
        let mut rows = post_build::rows(self, job);
        rows.extend(forge::rows(self, job));
        rows.extend(hipchat::rows(self, job, previous));
        rows.extend(slack::rows(self, job, previous));
        rows.extend(mail::rows(self, job, previous));
        rows
    }

    /// The host of a channel's destination, if that is configured now.
    pub fn host(&self, channel: &str, destination: &str) -> Option<String> {
        match channel {
            post_build::CHANNEL => post_build::host(self, destination),
            // Its destination is the host; HipChat's and Slack's a room, mail's an address.
            forge::CHANNEL => self.github.is_some().then(|| destination.to_owned()),
            hipchat::CHANNEL => self.hipchat.as_ref()?.api.host_str().map(str::to_owned),
            slack::CHANNEL => Some(self.slack.as_ref()?.place()?.rsplit_once(':')?.0.to_owned()),
            mail::CHANNEL => Some(self.mail.as_ref()?.mail.place().rsplit_once(':')?.0.to_owned()),
            _ => None,
        }
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
    let outward = outbound::client(Route::Environment).timeout(TIMEOUT).build()?;
    let client = outbound::client(Route::Filtered(is_forbidden_target)).timeout(TIMEOUT).build()?;
    let sender = Sender { store, config, client, outward, metrics };
    shutdown.run_until_cancelled(sender.run()).await;
    Ok(())
}

#[derive(Clone)]
struct Sender {
    store: Store,
    config: NotifyConfig,
    client: Client,
    /// For services of the internet, which may be behind a proxy.
    outward: Client,
    metrics: Metrics,
}

impl Sender {
    async fn send(&self, notification: &Notification) -> Result<(), Failure> {
        match notification.channel.as_str() {
            post_build::CHANNEL => post_build::send(&self.config, &self.client, notification, self.store.now()).await,
            forge::CHANNEL => forge::send(&self.config, notification).await,
            hipchat::CHANNEL => hipchat::send(&self.config, &self.outward, notification, self.store.now()).await,
            slack::CHANNEL => slack::send(&self.config, &self.outward, notification, self.store.now()).await,
            mail::CHANNEL => mail::send(&self.config, notification).await,
            other => Err(Failure::permanent(format!("nothing is configured for {other} any more"))),
        }
    }
}
