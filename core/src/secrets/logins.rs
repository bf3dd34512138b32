use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::dockercfg::{Dockercfg, LoginKey};
use super::{RegistryAuth, Secrets};
use crate::model::{ImageRef, RepoName};

/// The registry logins of one repository among the secrets, without the deploy keys. Each call reads the current snapshot.
#[derive(Clone)]
pub struct RegistryLogins {
    secrets: watch::Receiver<Arc<Secrets>>,
    /// The repository; `None` for a job without one, which has the common logins.
    repo: Option<RepoName>,
}

/// The login for a builder that asks for one by a registry's host alone, and so gets one for all paths.
#[derive(Default)]
pub struct HostLogin {
    pub auth: Option<RegistryAuth>,
    /// Names of the entries that the base images of this host have, if they have several.
    pub several: Vec<String>,
}

impl RegistryLogins {
    pub fn new(secrets: watch::Receiver<Arc<Secrets>>, repo: Option<RepoName>) -> Self {
        Self { secrets, repo }
    }

    fn now(&self) -> Dockercfg {
        self.secrets.borrow().dockercfg(self.repo.as_ref())
    }

    /// Returns the login for a repository of a registry (`docker.io` also by its index.docker.io names): of several, that
    /// with the longest path.
    pub fn of_repository(&self, registry: &str, repository: &str) -> Option<RegistryAuth> {
        self.now().get(registry, repository).map(|(_, auth)| auth.clone())
    }

    /// Returns the login for these base images of a registry, to a builder that asks by the host alone. If they have
    /// several, or if none of them has one, it is the login for the whole registry, or else the only one for a path of it.
    pub fn of_host(&self, registry: &str, bases: &[ImageRef]) -> HostLogin {
        let dockercfg = self.now();
        let all: Vec<_> = dockercfg.of_registry(registry).collect();
        let is_here = |image: &&ImageRef| LoginKey::of_host(image.registry()) == LoginKey::of_host(registry);
        let here = bases.iter().filter(is_here);
        let of_bases: BTreeMap<_, _> = here.filter_map(|image| dockercfg.get(registry, &image.repository())).collect();
        let auth = match (of_bases.len(), &all[..]) {
            (1, _) => of_bases.first_key_value().map(|(_, auth)| *auth),
            (_, [(_, only)]) => Some(*only),
            _ => dockercfg.get(registry, "").map(|(_, auth)| auth),
        };
        let several = if of_bases.len() > 1 { of_bases.keys().map(ToString::to_string).collect() } else { vec![] };
        HostLogin { auth: auth.cloned(), several }
    }

    /// Returns the login of each registry that has one, by its host, as [`Self::of_host`] chooses it.
    pub fn by_host(&self, bases: &[ImageRef]) -> BTreeMap<String, HostLogin> {
        let hosts: BTreeSet<_> = self.now().iter().map(|(key, _)| key.host.clone()).collect();
        hosts.into_iter().map(|host| (host.clone(), self.of_host(&host, bases))).collect()
    }

    /// Returns the seed of a signing key if tokens of this registry are fetched here: if it has logins for paths, or a
    /// `registrytoken`, neither of which an engine can be given by host. The seed depends on the salt and on all logins of
    /// the registry, so that whoever has the same logins gets the same key.
    pub fn token_seed(&self, registry: &str, salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let dockercfg = self.now();
        let all: Vec<_> = dockercfg.of_registry(registry).collect();
        let needs_scope =
            |(key, auth): &(&LoginKey, &RegistryAuth)| !key.path.is_empty() || auth.registry_token.is_some();
        if !all.iter().any(needs_scope) {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(salt).ok()?;
        for (key, auth) in all {
            let tokens =
                [&auth.identity_token, &auth.registry_token].map(|token| token.as_ref().map_or("", |t| t.as_str()));
            for part in [&key.path, &auth.username, auth.password.as_str(), tokens[0], tokens[1]] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part.as_bytes());
            }
        }
        Some(Zeroizing::new(mac.finalize().into_bytes().into()))
    }
}

/// Takes the common logins of one snapshot, which does not change.
impl From<Arc<Secrets>> for RegistryLogins {
    fn from(secrets: Arc<Secrets>) -> Self {
        Self::new(watch::channel(secrets).1, None)
    }
}
