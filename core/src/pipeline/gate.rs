use std::sync::Arc;

use tokio::sync::watch;

use super::clone::{is_tarball, source};
use crate::model::{Job, JobSource, RepoName};
use crate::secrets::Secrets;

/// Tells which jobs have to wait, because a secret of theirs is stored and cannot be used.
#[derive(Clone)]
pub struct SecretGate {
    secrets: watch::Receiver<Arc<Secrets>>,
    /// GIT_URL, which decides whether a job needs a deploy key.
    git_url: Option<String>,
    /// SOURCE=tarball
    tarballs: bool,
}

impl Default for SecretGate {
    /// Returns the gate of a place without secrets, which is open for every job.
    fn default() -> Self {
        Self::new(watch::channel(Arc::default()).1, None, false)
    }
}

impl SecretGate {
    pub fn new(secrets: watch::Receiver<Arc<Secrets>>, git_url: Option<String>, tarballs: bool) -> Self {
        Self { secrets, git_url, tarballs }
    }

    /// Returns why the deploy key or the registry logins of the job's repository cannot be used, if they are stored and
    /// cannot. Which registries a dockercfg is for is unknown until it is decrypted, so every job needs it.
    pub fn closed_for(&self, job: &Job) -> Option<String> {
        let secrets = self.secrets.borrow();
        let key = match job.source {
            JobSource::Git if is_tarball(self.tarballs, job) => None,
            JobSource::Git => {
                // A job with an invalid name runs, and says so.
                let repo = RepoName::new(&job.context.owner, &job.context.repo).ok()?;
                source(self.git_url.as_deref(), &secrets, &repo).err().map(|error| error.message)
            }
            JobSource::Dockerfile(_) => None,
        };
        key.or_else(|| secrets.unusable_logins(job.repo().as_ref()).map(|error| error.to_string()))
    }

    /// Waits until the secrets have changed since the last call.
    pub async fn changed(&mut self) {
        // The sender is gone when the daemon stops.
        if self.secrets.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
