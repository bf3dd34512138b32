use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::contents::Contents;
use super::super::{SecretName, digest};
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
        found: FoundNames,
    },
}

/// The names that the last read found in each store.
#[derive(Default)]
struct FoundNames {
    v3: BTreeSet<SecretName>,
    v2: BTreeSet<SecretName>,
    /// True if the v2 API refused us, so that it is not watched either.
    v2_refuses: bool,
}

impl FoundNames {
    /// Returns true if a put goes to the v2 API: it has this secret alone, or all the others.
    fn lead_to_v2(&self, name: &SecretName) -> bool {
        let has_secrets = |names: &BTreeSet<SecretName>| names.iter().any(|name| *name != SecretName::SyslogHost);
        !self.v3.contains(name) && (self.v2.contains(name) || (has_secrets(&self.v2) && !has_secrets(&self.v3)))
    }

    /// Returns the names of the APIs that have any secret.
    fn apis(&self) -> &'static str {
        match (self.v3.is_empty(), self.v2.is_empty()) {
            (_, true) => "v3 API",
            (true, false) => "v2 API",
            (false, false) => "v3 and v2 APIs",
        }
    }
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
        let (mut contents, apis) = within(self.apis.read()).await??;
        contents.via = Some(format!("{apis} of {}", self.endpoint));
        Ok(contents)
    }

    /// Waits until the contents may have changed.
    pub async fn changed(&mut self) -> Result<(), EtcdFailure> {
        match &mut self.apis {
            ServedApis::V3(v3) => v3.changed().await,
            ServedApis::V2(v2) => v2.changed().await,
            ServedApis::Both { v3, found: FoundNames { v2_refuses: true, .. }, .. } => v3.changed().await,
            ServedApis::Both { v3, v2, .. } => tokio::select! {
                changed = v3.changed() => changed,
                changed = v2.changed() => changed,
            },
        }
    }

    /// Stores a secret where it is or the others are, so that it is the one in use, and returns the place.
    pub async fn put(&mut self, name: &SecretName, value: &[u8]) -> Result<String, EtcdFailure> {
        let v2 = match &self.apis {
            ServedApis::V2(v2) => Some(v2),
            ServedApis::Both { v2, found, .. } => found.lead_to_v2(name).then_some(v2),
            ServedApis::V3(_) => None,
        };
        match (v2, &self.apis) {
            (Some(v2), _) | (None, ServedApis::V2(v2)) => {
                Ok(format!("{} in etcd (v2 API)", within(v2.put(name, value)).await??))
            }
            (None, ServedApis::V3(v3) | ServedApis::Both { v3, .. }) => {
                Ok(format!("{} in etcd (v3 API)", within(v3.put(name, value)).await??))
            }
        }
    }

    /// Deletes a secret from every store, because one that stays would be used from then on. Returns the places.
    pub async fn delete(&mut self, name: &SecretName) -> Result<Vec<String>, EtcdFailure> {
        let (v3, v2) = match &self.apis {
            ServedApis::V3(v3) => (Some(v3), None),
            ServedApis::V2(v2) => (None, Some(v2)),
            ServedApis::Both { v3, found: FoundNames { v2_refuses: true, .. }, .. } => (Some(v3), None),
            ServedApis::Both { v3, v2, .. } => (Some(v3), Some(v2)),
        };
        let mut places = Vec::new();
        if let Some(v3) = v3 {
            places.extend(within(v3.delete(name)).await??.map(|key| format!("{key} in etcd (v3 API)")));
        }
        if let Some(v2) = v2 {
            places.extend(within(v2.delete(name)).await??.iter().map(|key| format!("{key} in etcd (v2 API)")));
        }
        Ok(places)
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
                Ok(Self::Both { v3: v3().await?, v2, found: FoundNames::default() })
            }
            _ => Ok(Self::V3(v3().await?)),
        }
    }

    /// Returns each secret from v3's store, else from v2's store, with the APIs that have any. The choice does not depend on
    /// the order in which secrets were stored, or on the time of the connection.
    async fn read(&mut self) -> Result<(Contents, &'static str), EtcdFailure> {
        let (v3, v2, found) = match self {
            Self::V3(v3) => return Ok((v3.read().await?, "v3 API")),
            Self::V2(v2) => return Ok((v2.read().await?, "v2 API")),
            Self::Both { v3, v2, found } => (v3, v2, found),
        };
        let (new, old) = tokio::join!(v3.read(), v2.read());
        // A store never replaces the other one because that one did not answer: its contents may be a year old.
        let new = new.map_err(|e| in_api(e, "v3", "v2"))?;
        let mut refusal = None;
        let old = match old {
            Ok(old) => old,
            // The v2 API of a cluster that went over to v3 often has users of its own, and nothing of ours.
            Err(e) if e.refused && !new.has_no_secrets() => {
                refusal = Some(format!(
                    "etcd's v2 API cannot be read ({}), and what it alone has is not used: set ETCD_API=v3 if that is nothing",
                    e.why
                ));
                Contents::default()
            }
            Err(e) => return Err(in_api(e, "v2", "v3")),
        };
        let names = |contents: &Contents| contents.values.keys().cloned().collect();
        *found = FoundNames { v3: names(&new), v2: names(&old), v2_refuses: refusal.is_some() };
        let mut contents = merged(new, old);
        contents.trouble.extend(refusal);
        Ok((contents, found.apis()))
    }
}

/// Adds the secrets that v2's store alone has to those of v3's store. One that both have with different values is
/// trouble, because whoever changed it by the v2 API changed nothing.
fn merged(mut new: Contents, old: Contents) -> Contents {
    new.trouble.extend(old.trouble);
    for (name, value) in old.values {
        match new.values.get(&name) {
            Some(used) if digest(used) == digest(&value) => {}
            Some(_) => new.trouble.push(format!(
                "{name}: etcd's v2 API has another value, and v3's is used: delete the wrong one (`etcdctl rm` or `etcdctl del`)"
            )),
            None => drop(new.values.insert(name, value)),
        }
    }
    new
}

/// Returns the reason why a connection by TLS ended without a message. TLS 1.3 refuses a certificate after the handshake,
/// and HTTP often loses that alert; TLS 1.2 refuses it in the handshake, so the version is asked for by TLS 1.2.
async fn reason_by_tls_1_2(config: &Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Option<EtcdFailure> {
    let older = v2::V2Client::new(config.clone(), endpoint, &tls.at_most_1_2()).ok()?;
    let failure = within(older.version()).await.ok()?.err()?;
    Some(EtcdFailure { todo: failure.todo.or(Some(NO_TLS.into())), ..failure })
}

/// Adds the API that failed, and the setting that does without it.
fn in_api(failure: EtcdFailure, failed: &str, other: &str) -> EtcdFailure {
    let todo = failure.todo.map(|todo| format!("{todo}; or set ETCD_API={other} if the secrets are there"));
    EtcdFailure { why: format!("{failed} API: {}", failure.why), todo, ..failure }
}
