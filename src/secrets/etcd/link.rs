use std::future::Future;
use std::sync::Arc;

use tokio::time::timeout;

use super::super::SecretName;
use super::super::source::Contents;
use super::config::EtcdConfig;
use super::failure::{EtcdFailure, NO_TLS};
use super::tls::EtcdTls;
use super::{REQUEST, v2, v3};
use crate::model::EtcdApi;

/// A connection to one member by the API, or the two, that it has.
pub struct EtcdConnection {
    endpoint: String,
    by: ServedApis,
}

enum ServedApis {
    V3(Box<v3::V3Client>),
    V2(Box<v2::V2Client>),
    /// Two stores side by side, and what we look for can be put into either at any time.
    Both {
        v3: Box<v3::V3Client>,
        v2: Box<v2::V2Client>,
        has: Has,
    },
}

/// In which of two stores the last read found something of ours.
#[derive(Default)]
struct Has {
    v3: bool,
    v2: bool,
}

impl EtcdConnection {
    /// Finds out what the endpoint speaks, and reads by it.
    pub async fn open(
        config: &Arc<EtcdConfig>,
        endpoint: &str,
        tls: &EtcdTls,
    ) -> Result<(Self, Contents), EtcdFailure> {
        let open = async {
            let by = within(ServedApis::open(config, endpoint, tls)).await??;
            let mut link = Self { endpoint: endpoint.into(), by };
            let contents = link.read().await?;
            Ok::<_, EtcdFailure>((link, contents))
        };
        match open.await {
            Err(failure) if config.is_tls() && failure.todo.is_none() => {
                Err(explain(config, endpoint, tls).await.unwrap_or(failure))
            }
            opened => opened,
        }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All that is stored, with the name of the API.
    pub async fn read(&mut self) -> Result<Contents, EtcdFailure> {
        let (mut contents, api, note) = within(self.by.read()).await??;
        contents.via = Some(format!("{api} API of {}{note}", self.endpoint));
        Ok(contents)
    }

    /// Returns when something may have changed.
    pub async fn changed(&mut self) -> Result<(), EtcdFailure> {
        match &mut self.by {
            ServedApis::V3(v3) => v3.changed().await,
            ServedApis::V2(v2) => v2.changed().await,
            // What v2 has does not matter then.
            ServedApis::Both { v3, has: Has { v3: true, .. }, .. } => v3.changed().await,
            ServedApis::Both { v3, v2, .. } => tokio::select! {
                changed = v3.changed() => changed,
                changed = v2.changed() => changed,
            },
        }
    }

    /// After a read: puts it where that found the others; says where that is.
    pub async fn put(&mut self, name: &SecretName, value: &[u8]) -> Result<String, EtcdFailure> {
        match &mut self.by {
            ServedApis::V2(v2) | ServedApis::Both { v2, has: Has { v3: false, v2: true }, .. } => {
                Ok(format!("{} in etcd (v2 API)", within(v2.put(name, value)).await??))
            }
            ServedApis::V3(v3) | ServedApis::Both { v3, .. } => {
                Ok(format!("{} in etcd (v3 API)", within(v3.put(name, value)).await??))
            }
        }
    }
}

impl ServedApis {
    async fn open(config: &Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Result<Self, EtcdFailure> {
        let v2 = Box::new(v2::V2Client::new(config.clone(), endpoint, tls)?);
        if config.api == EtcdApi::V2 {
            return Ok(Self::V2(v2));
        }
        // None: there are endpoints for gRPC alone.
        let version = match v2.version().await {
            Err(failure) if config.is_tls() && failure.todo.is_some() => return Err(failure),
            version => version.unwrap_or_default(),
        };
        let v3 = async || Ok::<_, EtcdFailure>(Box::new(v3::V3Client::open(config.clone(), endpoint, tls).await?));
        match (config.api, version) {
            (EtcdApi::V3, Some(old @ ..3)) => {
                Err(EtcdFailure::todo(format!("etcd {old} has no v3 API"), "set ETCD_API=v2, or auto"))
            }
            (EtcdApi::Auto, Some(..3)) => Ok(Self::V2(v2)),
            (EtcdApi::Auto, Some(_)) if v2.is_served().await? => {
                Ok(Self::Both { v3: v3().await?, v2, has: Has::default() })
            }
            _ => Ok(Self::V3(v3().await?)),
        }
    }

    /// What is used does not depend on what was stored first or when we connected: v3's if it has any of ours, else
    /// v2's.
    async fn read(&mut self) -> Result<(Contents, &'static str, &'static str), EtcdFailure> {
        let (v3, v2, has) = match self {
            Self::V3(v3) => return Ok((v3.read().await?, "v3", "")),
            Self::V2(v2) => return Ok((v2.read().await?, "v2", "")),
            Self::Both { v3, v2, has } => (v3, v2, has),
        };
        let (new, old) = tokio::join!(v3.read(), v2.read());
        // Never the one for the other because that did not answer: what it has may be of last year.
        let new = new.map_err(|e| of_api(e, "v3", "v2"))?;
        *has = Has { v3: !new.has_no_secrets(), v2: old.as_ref().is_ok_and(|old| !old.has_no_secrets()) };
        match (has, old) {
            (Has { v3: false, v2: true }, Ok(old)) => Ok((old, "v2", "")),
            (Has { v3: false, .. }, Ok(old)) if new.is_empty() && !old.is_empty() => Ok((old, "v2", "")),
            (Has { v3: false, .. }, Err(e)) => Err(of_api(e, "v2", "v3")),
            (Has { v3: true, v2: true }, _) => Ok((new, "v3", ", and not what its v2 API has")),
            _ => Ok((new, "v3", "")),
        }
    }
}

/// Why a connection by TLS ended without a word. By TLS 1.3 a certificate is refused after the handshake, and HTTP often
/// loses what was said then; by TLS 1.2 it is part of the handshake.
async fn explain(config: &Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Option<EtcdFailure> {
    let older = v2::V2Client::new(config.clone(), endpoint, &tls.at_most_1_2()).ok()?;
    let EtcdFailure { why, todo } = within(older.version()).await.ok()?.err()?;
    Some(EtcdFailure { why, todo: todo.or(Some(NO_TLS.into())) })
}

/// Tells which API failed, and how to do without it.
fn of_api(failure: EtcdFailure, failed: &str, other: &str) -> EtcdFailure {
    let todo = failure.todo.map(|todo| format!("{todo}; or set ETCD_API={other} if the secrets are there"));
    EtcdFailure { why: format!("{failed} API: {}", failure.why), todo }
}

pub async fn within<T>(call: impl Future<Output = T>) -> Result<T, EtcdFailure> {
    timeout(REQUEST, call).await.map_err(|_| EtcdFailure::silence())
}
