mod config;
mod failure;
mod limits;
mod link;
mod tls;
mod v2;
mod v3;

#[cfg(fuzzing)]
pub(super) use v2::fuzz as fuzz_v2;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::contents::Contents;
use super::{SecretName, SecretsError};
use crate::model::Backoff;
pub use config::{EtcdConfig, TlsFiles};
use failure::{EtcdFailure, IS_IT_THERE};
use link::EtcdConnection;
use tls::EtcdTls;

/// Time for which a member may be silent before the next one is asked, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// An etcd cluster, which is read by its API v3, v2 or both.
pub struct Etcd {
    config: Arc<EtcdConfig>,
    /// Connection to one member at a time, because etcd-client's own balancing has no failover: 35 % of the calls fail
    /// while one of two members is down.
    link: Option<EtcdConnection>,
    failures: u32,
    /// The API that the last read used.
    via: Option<String>,
}

impl Etcd {
    pub fn new(config: &EtcdConfig) -> Self {
        Self { config: Arc::new(config.clone()), link: None, failures: 0, via: None }
    }

    /// Lists all secrets, then watches from the next revision. A new list follows any error, cancellation or silence, because
    /// a watch is trusted only to report that something changed.
    pub async fn next(&mut self) -> Result<Contents, SecretsError> {
        if let Some(link) = &mut self.link {
            let read = match link.changed().await {
                Ok(()) => link.read().await,
                Err(failure) => Err(failure),
            };
            match read {
                Ok(contents) => {
                    self.failures = 0;
                    return Ok(self.log_api(contents));
                }
                Err(failure) => {
                    tracing::debug!("the watch on etcd ended: {}", failure.why);
                    self.link = None;
                    // Failures are counted until contents arrive, because a watch that ends at once must not make a
                    // busy loop.
                    self.failures += 1;
                }
            }
        }
        sleep(pause(self.failures)).await;
        match self.link("read").await {
            Ok((link, contents)) => {
                self.link = Some(link);
                Ok(self.log_api(contents))
            }
            Err(e) => {
                self.failures += 1;
                Err(e)
            }
        }
    }

    /// Stores a secret by the API that has it, or else the others. It reads first, because a member that hangs could carry out a put
    /// much later.
    pub async fn put(&self, name: &SecretName, value: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
        let (mut link, _) = self.link("written").await?;
        let put = link.put(name, &value).await;
        put.map_err(|failure| unreachable("written", &[(link.endpoint().to_owned(), failure)]))
    }

    /// Deletes a secret from every API's store, and returns the places where it was.
    pub async fn delete(&self, name: &SecretName) -> Result<Vec<String>, SecretsError> {
        let (mut link, _) = self.link("written").await?;
        let deleted = link.delete(name).await;
        deleted.map_err(|failure| unreachable("written", &[(link.endpoint().to_owned(), failure)]))
    }

    /// Returns a connection to the first member that answers.
    async fn link(&self, done: &str) -> Result<(EtcdConnection, Contents), SecretsError> {
        let files = self.config.tls.clone();
        let tls =
            spawn_blocking(move || EtcdTls::read(&files)).await.unwrap_or_else(|e| Err(SecretsError(e.to_string())));
        let tls = tls.map_err(|e| SecretsError(format!("etcd cannot be {done}: {e}")))?;
        let (mut waiting, mut attempts, mut failures) =
            (self.config.endpoints.iter(), FuturesUnordered::new(), Vec::new());
        loop {
            match waiting.next() {
                Some(endpoint) => attempts.push(async {
                    let link = EtcdConnection::open(&self.config, endpoint, &tls).await;
                    link.map_err(|failure| (endpoint.clone(), failure))
                }),
                None if attempts.is_empty() => return Err(unreachable(done, &failures)),
                None => {}
            }
            let patience = async {
                match waiting.len() {
                    0 => pending().await,
                    _ => sleep(PATIENCE).await,
                }
            };
            tokio::select! {
                Some(attempt) = attempts.next() => match attempt {
                    Ok(linked) => return Ok(linked),
                    Err(failure) => failures.push(failure),
                },
                () = patience => {}
            }
        }
    }

    /// Logs the API if it is another one than that of the last read.
    fn log_api(&mut self, contents: Contents) -> Contents {
        if self.via != contents.via {
            tracing::info!("secrets: read by the {}", contents.via.as_deref().unwrap_or_default());
            self.via.clone_from(&contents.via);
        }
        contents
    }
}

impl EtcdConfig {
    /// Reads the certificates and the key, and drops them again.
    ///
    /// # Errors
    /// The file that cannot be used, and its fault.
    pub fn check(&self) -> Result<(), SecretsError> {
        EtcdTls::read(&self.tls).map(drop)
    }
}

/// Returns the error over all members: the reason for each, and the first move that is known.
fn unreachable(done: &str, failures: &[(String, EtcdFailure)]) -> SecretsError {
    let reasons: Vec<_> = failures.iter().map(|(endpoint, failure)| format!("{endpoint}: {}", failure.why)).collect();
    let todo = failures.iter().find_map(|(_, failure)| failure.todo.as_deref());
    SecretsError(format!("etcd cannot be {done} ({}): {}", reasons.join("; "), todo.unwrap_or(IS_IT_THERE)))
}

/// The pauses between attempts to reach etcd.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// Returns no pause before the first failure.
fn pause(failures: u32) -> Duration {
    failures.checked_sub(1).map_or(Duration::ZERO, |earlier| BACKOFF.random_pause(earlier))
}

#[cfg(test)]
mod tests;
