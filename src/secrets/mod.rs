//! Deploy keys, registry credentials and authorized keys: where they are stored, how they are decrypted, and the live
//! snapshot of them that the daemon works with.

pub mod admin;
mod authorized;
mod dockercfg;
mod etcd;
mod folder;
mod key;
mod live;
mod logins;
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

use crate::model::{Millis, RepoCase, RepoName};
pub use dockercfg::RegistryAuth;
pub use etcd::{EtcdConfig, TlsFiles};
pub use key::DeployKey;
pub use logins::RegistryLogins;
pub use name::{Name, Scope};
use value::Value;

/// Where secrets are stored.
#[derive(Clone)]
pub enum Place {
    Etcd(EtcdConfig),
    Folder(PathBuf),
}

#[derive(Clone)]
pub struct SecretsConfig {
    pub place: Place,
    /// ENC_PASSPHRASE; an empty one is none.
    pub passphrase: Option<Zeroizing<String>>,
    /// The valid authorized keys are written here, for an sshd.
    pub authorized_keys_file: Option<PathBuf>,
    /// REPO_CASE, decided.
    pub repo_case: RepoCase,
}

impl SecretsConfig {
    /// Checks the files that it names, without asking etcd anything.
    pub fn check(&self) -> Result<(), SecretsError> {
        match &self.place {
            Place::Etcd(config) => config.check(),
            Place::Folder(_) => Ok(()),
        }
    }
}

/// What is wrong with a secret or its place, and what to do: one line, nothing secret in it.
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
    /// The place was read at least once since the start. While false no job is claimed.
    pub loaded: bool,
    /// One line each: what is wrong with which secret (or with the place) and what to do.
    pub trouble: Vec<String>,
    /// The rule by which a repository finds its deploy key.
    pub(crate) repo_case: RepoCase,
    held: BTreeMap<Name, live::Held>,
}

impl Secrets {
    /// The most specific key that is stored: the repository's, its owner's, then the common one. An error names one that
    /// is stored and cannot be used: a more general one may open what that one was not to open.
    pub fn deploy_key(&self, repo: &RepoName) -> Result<Option<Arc<DeployKey>>, SecretsError> {
        let Some(stored) = self.keys_of(repo).next() else { return Ok(None) };
        let (name, held) = match stored[..] {
            [(name, _), (other, _), ..] => {
                let why = name::why_ambiguous(other);
                return Err(SecretsError(format!("the deploy key {name} of {repo} cannot be used: {why}")));
            }
            [only] => only,
            [] => return Ok(None),
        };
        match (held.value(), held.unusable()) {
            (Some(Value::Key(key)), _) => Ok(Some(key.clone())),
            (_, why) => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                Err(SecretsError(format!("the deploy key {name} of {repo} is stored and cannot be used{why}")))
            }
        }
    }

    /// All keys that it could be, the most specific first: for what must not be shown.
    pub fn deploy_keys(&self, repo: &RepoName) -> impl Iterator<Item = &Arc<DeployKey>> {
        self.keys_of(repo).flatten().filter_map(|(_, held)| match held.value()? {
            Value::Key(key) => Some(key),
            _ => None,
        })
    }

    /// Returns the keys that are stored for a repository, the most specific first. Where spellings of its name have keys,
    /// these come together.
    fn keys_of(&self, repo: &RepoName) -> impl Iterator<Item = Vec<(&Name, &live::Held)>> {
        let scopes =
            [Scope::Repo(repo.owner().into(), repo.name().into()), Scope::Owner(repo.owner().into()), Scope::Common];
        let stored = move |wanted: Scope| {
            let wanted = wanted.key(self.repo_case);
            let is_wanted = |name: &Name| matches!(name, Name::GithubKey(scope) if scope.key(self.repo_case) == wanted);
            self.held.iter().filter(|(name, _)| is_wanted(name)).collect::<Vec<_>>()
        };
        scopes.into_iter().map(stored).filter(|stored| !stored.is_empty())
    }

    /// Credentials for exactly this registry host (`docker.io` also by its index.docker.io names).
    pub fn registry_auth(&self, registry: &str) -> Option<RegistryAuth> {
        self.dockercfg()?.get(registry).cloned()
    }

    /// The registry hosts that there are credentials for.
    pub fn registries(&self) -> impl Iterator<Item = &str> {
        self.dockercfg().into_iter().flat_map(|cfg| cfg.hosts())
    }

    /// What must be masked in logs: registry passwords, `user:password` in base64, tokens.
    pub fn masks(&self) -> Vec<Zeroizing<String>> {
        self.dockercfg().into_iter().flat_map(|cfg| cfg.masks()).collect()
    }

    /// `host:port` of `syslog/host`.
    pub fn syslog_host(&self) -> Option<&str> {
        match self.held.get(&Name::SyslogHost)?.value()? {
            Value::SyslogHost(host) => Some(host),
            _ => None,
        }
    }

    /// Of each kind of secret that is stored: whether all of that kind are well, and since when the one that has been in
    /// use for the longest is; none if none can be used.
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

    fn dockercfg(&self) -> Option<&dockercfg::Dockercfg> {
        match self.held.get(&Name::Dockercfg)?.value()? {
            Value::Dockercfg(cfg) => Some(cfg),
            _ => None,
        }
    }
}

/// Starts the loader; the receiver always has a snapshot (the first one `loaded: false`). Values that do not decrypt
/// keep the last good one in use, except authorized keys, where an old list would let in who is no longer in it; a place
/// that cannot be read keeps all; a deleted secret is gone.
pub fn start(config: SecretsConfig, shutdown: CancellationToken) -> watch::Receiver<Arc<Secrets>> {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(shutdown.run_until_cancelled_owned(live::run(config, sender)));
    receiver
}

/// Tells stored values apart without keeping them.
fn digest(stored: &Result<Zeroizing<Vec<u8>>, SecretsError>) -> [u8; 32] {
    match stored {
        Ok(bytes) => Sha256::digest(bytes).into(),
        Err(e) => Sha256::digest(format!("not read: {e}")).into(),
    }
}

#[cfg(test)]
mod tests;
