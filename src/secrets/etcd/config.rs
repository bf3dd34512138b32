use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::model::EtcdApi;

/// Where etcd is and how it is spoken to.
#[derive(Clone)]
pub struct EtcdConfig {
    /// `http[s]://host[:port]`, all of one scheme.
    pub endpoints: Vec<String>,
    /// ETCD_TOTEM_BASE: the secrets are below it.
    pub base: String,
    pub api: EtcdApi,
    /// ETCD_USER and ETCD_PASSWORD
    pub login: Option<(String, Zeroizing<String>)>,
    pub tls: TlsFiles,
}

/// PEM files; they are read again at each connection, so that a renewed certificate is used.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// ETCD_CACERT: the authorities, instead of the system's.
    pub cacert: Option<PathBuf>,
    /// ETCD_CERT and ETCD_KEY: what we show.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdConfig {
    /// `/totem/`: with the slash, else `/totemX` would match.
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
