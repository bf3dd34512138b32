use std::sync::Arc;

use tokio::sync::watch;

use super::{RegistryAuth, Secrets};

/// The registry logins among the secrets, without the deploy keys. Each call reads the current snapshot.
#[derive(Clone)]
pub struct RegistryLogins(watch::Receiver<Arc<Secrets>>);

impl RegistryLogins {
    pub fn new(secrets: watch::Receiver<Arc<Secrets>>) -> Self {
        Self(secrets)
    }

    /// Returns the login for exactly this registry host (`docker.io` also by its index.docker.io names).
    pub fn get(&self, registry: &str) -> Option<RegistryAuth> {
        self.0.borrow().registry_auth(registry)
    }

    /// Returns all logins, with their registry hosts.
    pub fn all(&self) -> Vec<(String, RegistryAuth)> {
        let secrets = self.0.borrow();
        let login = |host: &str| Some((host.to_owned(), secrets.registry_auth(host)?));
        secrets.registries().filter_map(login).collect()
    }
}

/// Takes the logins of one snapshot, which does not change.
impl From<Arc<Secrets>> for RegistryLogins {
    fn from(secrets: Arc<Secrets>) -> Self {
        Self(watch::channel(secrets).1)
    }
}
