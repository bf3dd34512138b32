use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::model::EtcdApi;

/// Addresses of an etcd cluster, and the API, login and certificates for it.
#[derive(Clone)]
pub struct EtcdConfig {
    /// Addresses `http[s]://host[:port]`, all of one scheme.
    pub endpoints: Vec<String>,
    /// ETCD_TOTEM_BASE: the secrets are below it.
    pub base: String,
    pub api: EtcdApi,
    /// ETCD_USER and ETCD_PASSWORD
    pub login: Option<(String, Zeroizing<String>)>,
    pub tls: TlsFiles,
}

/// PEM files. They are read again at each connection, because a renewed certificate must be used.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// ETCD_CACERT: the authorities, instead of the system's.
    pub cacert: Option<PathBuf>,
    /// ETCD_CERT and ETCD_KEY: the certificate that the daemon shows, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdConfig {
    /// Returns the base as `/totem/`. It ends with a slash, because `/totemX` would match without it.
    pub(super) fn prefix(&self) -> String {
        match self.base.trim_matches('/') {
            "" => "/".into(),
            base => format!("/{base}/"),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"))
    }
}
