//! Asks the running daemon whether it has what `secrets put` or `secrets rm` changed, and waits until it has.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ConnectionArgs, LocalDaemon};
use crate::client::{ApiClient, ClientError, RemoteSecrets};

/// Time for the daemon to see a change. API v2 of etcd may be silent for 10 s.
const LIMIT: Duration = Duration::from_secs(20);
/// The same where the daemon names another place, which may be another address of this one.
const ELSEWHERE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// The answer of a daemon, as a sentence.
pub enum Uptake {
    Done(String),
    /// There is no daemon to ask, or it does not answer this user.
    Unknown(String),
    /// The daemon does not have the change, or cannot use the secret.
    Missing(String),
}

/// Waits until the daemon has the value with this fingerprint by this name, or none for `None`. `place` is where this
/// command has stored or deleted it.
pub async fn wait(daemon: anyhow::Result<LocalDaemon>, place: &str, name: &str, fingerprint: Option<&str>) -> Uptake {
    let client = match (ConnectionArgs { url: None, json: false }).client(daemon) {
        Ok(client) => client,
        Err(error) => return Uptake::Unknown(format!("no running daemon was asked: {error:#}")),
    };
    let begun = Instant::now();
    loop {
        let read = match client.secrets().await {
            Ok(read) => read,
            Err(error) => return unknown(&client, &error),
        };
        if let Some(uptake) = taken(&client, &read, name, fingerprint) {
            return uptake;
        }
        let is_same = read.place.is_empty() || read.place == place;
        if begun.elapsed() > if is_same { LIMIT } else { ELSEWHERE } {
            return Uptake::Missing(match is_same {
                true => format!(
                    "the daemon at {} has not read it within {} s: its log and /ready say why",
                    client.base(),
                    LIMIT.as_secs()
                ),
                false => format!(
                    "the daemon at {} reads its secrets from {}, this was {place}: give both the same settings",
                    client.base(),
                    read.place
                ),
            });
        }
        sleep(PAUSE).await;
    }
}

fn taken(client: &ApiClient, read: &RemoteSecrets, name: &str, fingerprint: Option<&str>) -> Option<Uptake> {
    match (read.find(name), fingerprint) {
        (None, None) => Some(Uptake::Done(format!("the daemon at {} does not use it any more", client.base()))),
        (Some(secret), Some(_)) if secret.fingerprint.as_deref() == fingerprint => Some(match secret.valid {
            true => Uptake::Done(format!("the daemon at {} uses it", client.base())),
            false => {
                let why: Vec<_> = read.trouble.iter().filter(|why| why.starts_with(name)).map(String::as_str).collect();
                let why = why.join("; ");
                let other = match why.contains("ENC_PASSPHRASE") {
                    true => "; if the daemon was started with another ENC_PASSPHRASE than this command, restart it",
                    false => "",
                };
                Uptake::Missing(format!("the daemon at {} has read it, with trouble: {why}{other}", client.base()))
            }
        }),
        _ => None,
    }
}

fn unknown(client: &ApiClient, error: &ClientError) -> Uptake {
    let base = client.base();
    Uptake::Unknown(match error {
        ClientError::Refused { status: 401 | 403, .. } => format!(
            "the daemon at {base} was not asked whether it uses this: set IMAGE_FACTORY_TOKEN to a token of the role admin"
        ),
        ClientError::Refused { status: 404, .. } => {
            format!("the daemon at {base} is of an older version, which does not say whether it uses this")
        }
        _ => format!("no daemon answers at {base}: one that starts later reads this"),
    })
}
