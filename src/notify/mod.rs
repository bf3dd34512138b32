//! Sends what the outbox holds: at least once, and again until it arrives or a day has gone by.

mod failure;
mod lanes;
mod post_build;
mod sender;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::address::{Except, is_unfit};
use crate::model::{Job, Status};
use crate::store::{NewNotification, Notification, Store};
use failure::Failure;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is told about jobs.
#[derive(Clone, Default)]
pub struct NotifyConfig {
    /// HOOK_POST_URL
    pub post_build: Vec<String>,
    /// HOOK_SECRET: signs what is sent.
    pub hook_secret: Option<Zeroizing<String>>,
    /// HOOK_SIGNING_KEY: signs it as Standard Webhooks has it.
    pub signing_key: Option<Zeroizing<Vec<u8>>>,
}

impl NotifyConfig {
    /// What a job that has just begun to run, or has just ended, makes known: rows for the outbox. Pure. `previous` is how
    /// the job before it of the same branch ended.
    pub fn announce(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        post_build::rows(self, job)
    }

    /// The host of a channel's destination, if that is configured now.
    pub fn host(&self, channel: &str, destination: &str) -> Option<String> {
        match channel {
            post_build::CHANNEL => post_build::host(self, destination),
            _ => None,
        }
    }
}

/// Sends the outbox until `shutdown`; what is under way then is sent again after the next start. Errors: there is no
/// TLS provider or no root certificate.
pub async fn run(store: Store, config: NotifyConfig, shutdown: CancellationToken) -> Result<(), reqwest::Error> {
    let client = Client::builder()
        .timeout(TIMEOUT)
        // A redirect would carry the body and its signature to a host that nobody configured.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("image-factory/", env!("CARGO_PKG_VERSION")))
        // What was looked up and checked is what is connected to; a proxy would look it up anew.
        .dns_resolver(Arc::new(Except(is_unfit)))
        .no_proxy()
        .build()?;
    let sender = Sender { store, config, client };
    shutdown.run_until_cancelled(sender.run()).await;
    Ok(())
}

#[derive(Clone)]
struct Sender {
    store: Store,
    config: NotifyConfig,
    client: Client,
}

impl Sender {
    async fn send(&self, notification: &Notification) -> Result<(), Failure> {
        match notification.channel.as_str() {
            post_build::CHANNEL => post_build::send(&self.config, &self.client, notification, self.store.now()).await,
            other => Err(Failure::permanent(format!("nothing is configured for {other} any more"))),
        }
    }
}
