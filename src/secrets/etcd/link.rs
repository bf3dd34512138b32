use std::sync::Arc;

use super::super::SecretName;
use super::super::contents::Contents;
use super::config::EtcdConfig;
use super::failure::{EtcdFailure, NO_TLS};
use super::limits::within;
use super::tls::EtcdTls;
use super::{v2, v3};
use crate::model::EtcdApi;

/// A connection to one member, by the one or two APIs that it serves.
pub struct EtcdConnection {
    endpoint: String,
    apis: ServedApis,
}

/// Clients for the APIs that a member serves.
enum ServedApis {
    V3(Box<v3::V3Client>),
    V2(Box<v2::V2Client>),
    /// The two APIs have a store each, and secrets can be put into either store at any time.
    Both {
        v3: Box<v3::V3Client>,
        v2: Box<v2::V2Client>,
        has: StoresWithSecrets,
    },
}

/// The stores in which the last read found secrets.
#[derive(Default)]
struct StoresWithSecrets {
    v3: bool,
    v2: bool,
}

impl EtcdConnection {
    /// Connects by the APIs that the endpoint serves, and reads the contents.
    pub async fn open(
        config: &Arc<EtcdConfig>,
        endpoint: &str,
        tls: &EtcdTls,
    ) -> Result<(Self, Contents), EtcdFailure> {
        let open = async {
            let apis = within(ServedApis::open(config, endpoint, tls)).await??;
            let mut link = Self { endpoint: endpoint.into(), apis };
            let contents = link.read().await?;
            Ok::<_, EtcdFailure>((link, contents))
        };
        match open.await {
            Err(failure) if config.is_tls() && failure.todo.is_none() => {
                Err(reason_by_tls_1_2(config, endpoint, tls).await.unwrap_or(failure))
            }
            opened => opened,
        }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns all that is stored, with the name of the API.
    pub async fn read(&mut self) -> Result<Contents, EtcdFailure> {
        let (mut contents, api, note) = within(self.apis.read()).await??;
        contents.via = Some(format!("{api} API of {}{note}", self.endpoint));
        Ok(contents)
    }

    /// Waits until the contents may have changed.
    pub async fn changed(&mut self) -> Result<(), EtcdFailure> {
        match &mut self.apis {
            ServedApis::V3(v3) => v3.changed().await,
            ServedApis::V2(v2) => v2.changed().await,
            // Changes in v2's store are ignored while v3's store has secrets, because those are the ones in use.
            ServedApis::Both { v3, has: StoresWithSecrets { v3: true, .. }, .. } => v3.changed().await,
            ServedApis::Both { v3, v2, .. } => tokio::select! {
                changed = v3.changed() => changed,
                changed = v2.changed() => changed,
            },
        }
    }

    /// Stores a secret where the last read found the others, and returns the place.
    pub async fn put(&mut self, name: &SecretName, value: &[u8]) -> Result<String, EtcdFailure> {
        match &mut self.apis {
            ServedApis::V2(v2) | ServedApis::Both { v2, has: StoresWithSecrets { v3: false, v2: true }, .. } => {
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
        // The version is `None` at an endpoint that serves gRPC alone.
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
                Ok(Self::Both { v3: v3().await?, v2, has: StoresWithSecrets::default() })
            }
            _ => Ok(Self::V3(v3().await?)),
        }
    }

    /// Returns the contents of v3's store if it has any secrets, else those of v2's store. The choice does not depend on
    /// the order in which secrets were stored, or on the time of the connection.
    async fn read(&mut self) -> Result<(Contents, &'static str, &'static str), EtcdFailure> {
        let (v3, v2, has) = match self {
            Self::V3(v3) => return Ok((v3.read().await?, "v3", "")),
            Self::V2(v2) => return Ok((v2.read().await?, "v2", "")),
            Self::Both { v3, v2, has } => (v3, v2, has),
        };
        let (new, old) = tokio::join!(v3.read(), v2.read());
        // A store never replaces the other one because that one did not answer: its contents may be a year old.
        let new = new.map_err(|e| in_api(e, "v3", "v2"))?;
        *has = StoresWithSecrets { v3: !new.has_no_secrets(), v2: old.as_ref().is_ok_and(|old| !old.has_no_secrets()) };
        match (has, old) {
            (StoresWithSecrets { v3: false, v2: true }, Ok(old)) => Ok((old, "v2", "")),
            (StoresWithSecrets { v3: false, .. }, Ok(old)) if new.is_empty() && !old.is_empty() => Ok((old, "v2", "")),
            (StoresWithSecrets { v3: false, .. }, Err(e)) => Err(in_api(e, "v2", "v3")),
            (StoresWithSecrets { v3: true, v2: true }, _) => Ok((new, "v3", ", and not what its v2 API has")),
            _ => Ok((new, "v3", "")),
        }
    }
}

/// Returns the reason why a connection by TLS ended without a message. TLS 1.3 refuses a certificate after the handshake,
/// and HTTP often loses that alert; TLS 1.2 refuses it in the handshake, so the version is asked for by TLS 1.2.
async fn reason_by_tls_1_2(config: &Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Option<EtcdFailure> {
    let older = v2::V2Client::new(config.clone(), endpoint, &tls.at_most_1_2()).ok()?;
    let EtcdFailure { why, todo } = within(older.version()).await.ok()?.err()?;
    Some(EtcdFailure { why, todo: todo.or(Some(NO_TLS.into())) })
}

/// Adds the API that failed, and the setting that does without it.
fn in_api(failure: EtcdFailure, failed: &str, other: &str) -> EtcdFailure {
    let todo = failure.todo.map(|todo| format!("{todo}; or set ETCD_API={other} if the secrets are there"));
    EtcdFailure { why: format!("{failed} API: {}", failure.why), todo }
}
