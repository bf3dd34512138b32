use std::path::PathBuf;

use crate::model::AllowedHosts;

/// The folder in which Docker has the authorities of registries.
const CERTS_DIR: &str = "/etc/docker/certs.d";

/// The hosts and authorities that are trusted for registries, beyond their own hosts and the system's authorities.
pub struct RegistryTrust {
    /// Folder with the authorities of registries, `HOST:PORT/*.crt` below it.
    pub certs_dir: PathBuf,
    /// TOKEN_SERVERS_ALLOWED: hosts that may see the logins of registries of other domains.
    pub token_servers: AllowedHosts,
}

impl Default for RegistryTrust {
    fn default() -> Self {
        Self { certs_dir: CERTS_DIR.into(), token_servers: AllowedHosts::default() }
    }
}
