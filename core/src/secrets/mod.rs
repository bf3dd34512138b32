//! Deploy keys, registry credentials and authorized keys: where they are stored, how they are decrypted, and the live
//! snapshot of them that the daemon works with.

pub mod admin;
mod authorized;
mod contents;
mod dockercfg;
mod etcd;
mod folder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod holders;
mod key;
mod live;
mod logins;
mod messages;
mod name;
mod pgp;
mod source;
mod syslog_host;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::model::{ImageRef, Millis, RepoCase, RepoName};
pub use authorized::KeyHolder;
pub use dockercfg::{LoginKey, RegistryAuth};
pub use etcd::{EtcdConfig, TlsFiles};
pub use holders::{KeyHolders, StoredHolders};
pub use key::DeployKey;
pub use logins::{HostLogin, RegistryLogins};
pub use messages::advice;
pub use name::{Scope, SecretName};
use value::SecretValue;

/// The place where secrets are stored.
#[derive(Clone)]
pub enum Place {
    Etcd(EtcdConfig),
    Folder(PathBuf),
}

impl Place {
    /// Returns the addresses of etcd and the base, or the path of the folder.
    pub fn describe(&self) -> String {
        match self {
            Self::Etcd(etcd) => format!("etcd {} {}", etcd.endpoints.join(","), etcd.base),
            Self::Folder(root) => root.display().to_string(),
        }
    }
}

#[derive(Clone)]
pub struct SecretsConfig {
    pub place: Place,
    /// ENC_PASSPHRASE. An empty passphrase counts as not set.
    pub passphrase: Option<Zeroizing<String>>,
    /// File that the valid authorized keys are written to, for an sshd.
    pub authorized_keys_file: Option<PathBuf>,
    /// Rule for case in repository names, decided from REPO_CASE and the host of GIT_URL.
    pub repo_case: RepoCase,
}

impl SecretsConfig {
    /// Checks the files that the configuration names. It asks etcd nothing.
    pub fn check(&self) -> Result<(), SecretsError> {
        match &self.place {
            Place::Etcd(config) => config.check(),
            Place::Folder(_) => Ok(()),
        }
    }
}

/// One line about what is wrong with a secret or its place, and what to do. Nothing secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SecretsError(String);

impl SecretsError {
    fn new(message: &str) -> Self {
        Self(message.into())
    }
}

/// The secrets as they are now.
#[derive(Default)]
pub struct Secrets {
    /// True once the place was read after the start. No job is claimed before that.
    pub loaded: bool,
    /// [`Place::describe`] of the place; empty before the first read.
    pub place: String,
    /// One line for each secret that is wrong, or for the place, with what to do.
    pub trouble: Vec<String>,
    /// The rule by which a repository finds its deploy key.
    pub(crate) repo_case: RepoCase,
    held: BTreeMap<SecretName, live::StoredSecret>,
}

impl Secrets {
    /// Returns the most specific key that is stored: the repository's, else its owner's, else the common one.
    ///
    /// # Errors
    /// The most specific key cannot be used. No more general key takes its place, because that one may open repositories
    /// which the specific key was meant to shut out.
    pub fn deploy_key(&self, repo: &RepoName) -> Result<Option<Arc<DeployKey>>, SecretsError> {
        let Some(stored) = self.of_repo(Some(repo), SecretName::GithubKey).next() else { return Ok(None) };
        let (name, held) = match stored[..] {
            [(name, _), (other, _), ..] => {
                let why = name::why_ambiguous(other);
                return Err(SecretsError(format!("the deploy key {name} of {repo} cannot be used: {why}")));
            }
            [only] => only,
            [] => return Ok(None),
        };
        match (held.value(), held.unusable()) {
            (Some(SecretValue::Key(key)), _) => Ok(Some(key.clone())),
            (_, why) => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                Err(SecretsError(format!("the deploy key {name} of {repo} is stored and cannot be used{why}")))
            }
        }
    }

    /// Returns all keys that a repository could use, the most specific first, because no log may show any of them.
    pub fn deploy_keys(&self, repo: &RepoName) -> impl Iterator<Item = &Arc<DeployKey>> {
        self.of_repo(Some(repo), SecretName::GithubKey).flatten().filter_map(|(_, held)| match held.value()? {
            SecretValue::Key(key) => Some(key),
            _ => None,
        })
    }

    /// Returns the secrets of a kind that are stored for a repository, the most specific first; without a repository the
    /// common one. Where spellings of its name have secrets, these come together.
    fn of_repo(
        &self,
        repo: Option<&RepoName>,
        kind: fn(Scope) -> SecretName,
    ) -> impl Iterator<Item = Vec<(&SecretName, &live::StoredSecret)>> {
        let own =
            repo.map(|repo| [Scope::Repo(repo.owner().into(), repo.name().into()), Scope::Owner(repo.owner().into())]);
        let stored = move |wanted: Scope| {
            let wanted = wanted.key(self.repo_case);
            let of_kind = kind(Scope::Common).kind();
            let is_wanted = |name: &SecretName| {
                name.kind() == of_kind && name.scope().is_some_and(|scope| scope.key(self.repo_case) == wanted)
            };
            self.held.iter().filter(|(name, _)| is_wanted(name)).collect::<Vec<_>>()
        };
        own.into_iter().flatten().chain([Scope::Common]).map(stored).filter(|stored| !stored.is_empty())
    }

    /// Returns the key for engines that are reached by ssh, if one is stored.
    ///
    /// # Errors
    /// The stored key cannot be used.
    pub fn engine_key(&self) -> Result<Option<Arc<DeployKey>>, SecretsError> {
        let Some(held) = self.held.get(&SecretName::EngineKey) else { return Ok(None) };
        match (held.value(), held.unusable()) {
            (Some(SecretValue::EngineKey(key)), _) => Ok(Some(key.clone())),
            (_, Some(why)) => Err(why.clone()),
            (_, None) => Ok(None),
        }
    }

    /// Returns why registry logins that are stored for a repository cannot be used, if any cannot; without a repository it
    /// is about the common ones.
    pub fn unusable_logins(&self, repo: Option<&RepoName>) -> Option<SecretsError> {
        self.of_repo(repo, SecretName::Dockercfg).find_map(|stored| {
            let (name, why) = match stored[..] {
                [(name, _), (other, _), ..] => (name, name::why_ambiguous(other)),
                [(name, held)] => (name, held.unusable()?.to_string()),
                [] => return None,
            };
            Some(SecretsError(format!("the registry logins {name} are stored and cannot be used: {why}")))
        })
    }

    /// Returns the common credentials for a whole registry. `docker.io` is also found by its index.docker.io names.
    pub fn registry_auth(&self, registry: &str) -> Option<RegistryAuth> {
        Some(self.dockercfg(None).get(registry, "")?.1.clone())
    }

    /// Returns a repository's credentials for an image: of several, those with the longest path.
    pub fn image_auth(&self, repo: Option<&RepoName>, image: &ImageRef) -> Option<RegistryAuth> {
        Some(self.dockercfg(repo).get(image.registry(), &image.repository())?.1.clone())
    }

    /// Returns the texts that a repository's logs must mask: registry passwords, `user:password` in base64, tokens.
    pub fn masks(&self, repo: Option<&RepoName>) -> Vec<Zeroizing<String>> {
        self.dockercfg(repo).masks().collect()
    }

    /// Returns `syslog/host` as `host:port`.
    pub fn syslog_host(&self) -> Option<&str> {
        match self.held.get(&SecretName::SyslogHost)?.value()? {
            SecretValue::SyslogHost(host) => Some(host),
            _ => None,
        }
    }

    /// Returns, for each kind of secret that is stored, whether all secrets of the kind are well, and when the one that has
    /// been in use for the longest was read. The time is `None` if none of them can be used.
    pub fn kinds(&self) -> BTreeMap<&'static str, (bool, Option<Millis>)> {
        let ambiguous = name::ambiguous(self.held.keys(), self.repo_case);
        let mut kinds = BTreeMap::new();
        for (name, held) in &self.held {
            let (valid, since) = kinds.entry(name.kind()).or_insert((true, None));
            *valid &= held.is_well() && !ambiguous.contains_key(name);
            *since = [*since, held.since()].into_iter().flatten().min();
        }
        kinds
    }

    /// Returns each secret that is stored.
    pub fn stored(&self) -> impl Iterator<Item = SecretState> {
        self.held.iter().map(|(name, held)| SecretState {
            name: name.to_string(),
            fingerprint: held.fingerprint(),
            is_well: held.is_well(),
            since: held.since(),
        })
    }

    /// Returns the logins of a repository, or those of a job without one. Each registry's are from the most specific file
    /// that has any for it. A file that cannot be used also hides the more general ones, because they may open what it was
    /// meant to shut out.
    fn dockercfg(&self, repo: Option<&RepoName>) -> dockercfg::Dockercfg {
        let mut merged = dockercfg::Dockercfg::default();
        for stored in self.of_repo(repo, SecretName::Dockercfg) {
            match stored[..] {
                [(_, held)] if let Some(SecretValue::Dockercfg(cfg)) = held.value() => merged.add_registries(cfg),
                _ => break,
            }
        }
        merged
    }
}

/// Starts the loader. The receiver always has a snapshot; the first one has `loaded: false`.
///
/// The last good value stays in use when a new one does not decrypt. Authorized keys are the exception, because an old list
/// would admit people who were removed from it. All values stay in use while the place cannot be read. A deleted secret
/// is no longer used.
pub fn start(config: SecretsConfig, shutdown: CancellationToken) -> watch::Receiver<Arc<Secrets>> {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(shutdown.run_until_cancelled_owned(live::run(config, sender)));
    receiver
}

/// A secret as the daemon has it, without anything secret.
pub struct SecretState {
    /// Path below the base or in the folder.
    pub name: String,
    /// Fingerprint of the stored value.
    pub fingerprint: Option<String>,
    /// True if all of the stored value can be used.
    pub is_well: bool,
    /// Time when the value in use was read; `None` if no value can be used.
    pub since: Option<Millis>,
}

/// Returns the begin of a digest of [`digest`], by which people and programs compare stored values. A value that is
/// stored unencrypted has none, because its password could be guessed by it.
fn fingerprint(digest: &[u8; 32], is_bare: bool) -> Option<String> {
    (!is_bare).then(|| hex::encode(&digest[..8]))
}

/// Returns the digest by which stored values are compared without being kept.
fn digest(stored: &Result<Zeroizing<Vec<u8>>, SecretsError>) -> [u8; 32] {
    match stored {
        Ok(bytes) => Sha256::digest(bytes).into(),
        Err(e) => Sha256::digest(format!("not read: {e}")).into(),
    }
}

#[cfg(test)]
mod tests;
