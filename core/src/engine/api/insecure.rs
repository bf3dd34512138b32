//! Decides which registry's login an engine may have: none that it would send over the network in the clear, or to a token
//! server of another domain, and no token where it would go on without.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;
use ipnet::IpNet;
use serde::Deserialize;

use tokio::sync::OnceCell;

use super::connect::Host;
use super::engine::Engine;
use super::errors::EngineError;
use super::kind::ErrorKind;
use super::version::EngineKind;
use crate::engine::advice::{self, with_cure};
use crate::engine::push::credentials;
use crate::model::{Advice, ImageRef};
use crate::registry::Registries;
use crate::secrets::RegistryAuth;

/// The part of `GET /info` about `insecure-registries`. The engine's own rule is `isSecureIndex` of
/// `github.com/moby/moby/registry`. Podman's keys are the prefixes of its registries.conf: a host with or without a port
/// or a path, or `*.domain`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RegistryConfig {
    index_configs: Option<BTreeMap<String, IndexConfig>>,
    #[serde(rename = "InsecureRegistryCIDRs")]
    insecure: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexConfig {
    secure: bool,
}

impl RegistryConfig {
    /// Returns true if the engine accepts plain HTTP, or any certificate, from this registry beyond its own machine.
    fn exposes(&self, registry: &str, addresses: &[IpAddr], is_podman: bool) -> bool {
        if is_here(addresses) {
            return false;
        }
        let mut insecure = self.index_configs.iter().flatten().filter(|(_, index)| !index.secure);
        if is_podman && insecure.any(|(prefix, _)| covers(prefix, registry)) {
            return true;
        }
        if let Some(index) = self.index_configs.as_ref().and_then(|all| all.get(registry)) {
            return !index.secure;
        }
        let networks: Vec<IpNet> = self.insecure.iter().flatten().filter_map(|cidr| cidr.parse().ok()).collect();
        addresses.iter().any(|address| networks.iter().any(|network| network.contains(address)))
    }
}

/// Returns true if a prefix of Podman's registries.conf may cover an image of this registry.
fn covers(prefix: &str, registry: &str) -> bool {
    let host = prefix.split('/').next().unwrap_or_default();
    let without_port = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    match host.strip_prefix('*') {
        Some(domain) => without_port.ends_with(domain),
        None => host == registry || host == without_port,
    }
}

/// Decides about the logins for one engine, which is asked for its configuration at most once.
pub(in crate::engine) struct LoginGuard {
    host: Host,
    kind: EngineKind,
    config: OnceCell<RegistryConfig>,
    registries: Arc<Registries>,
}

impl LoginGuard {
    pub(in crate::engine) fn new(host: Host, kind: EngineKind, registries: Arc<Registries>) -> Self {
        Self { host, kind, config: OnceCell::new(), registries }
    }

    pub(in crate::engine) fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Returns the reason why this login for a registry does not go to the engine.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(in crate::engine) async fn refusal(
        &self,
        registry: &str,
        auth: &RegistryAuth,
    ) -> Result<Option<EngineError>, EngineError> {
        if self.kind.is_podman && (auth.identity_token.is_some() || auth.registry_token.is_some()) {
            return Ok(Some(held_back(&advice::TOKEN_FOR_PODMAN, &[&registry])));
        }
        if self.exposes(registry).await? {
            return Ok(Some(held_back(&advice::EXPOSED_LOGIN, &[])));
        }
        let foreign = self.registries.foreign_token_server(registry).await;
        Ok(foreign.map(|host| held_back(&advice::FOREIGN_LOGIN, &[&host])))
    }

    /// Returns true if the engine might send a login to this registry over the network without TLS.
    ///
    /// # Errors
    /// The engine does not answer.
    async fn exposes(&self, registry: &str) -> Result<bool, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct RegistryInfo {
            #[serde(default)]
            registry_config: Option<RegistryConfig>,
        }
        let addresses = addresses(registry).await;
        if is_here(&addresses) {
            return Ok(false); // saves the request, which costs 6 ms
        }
        let ask = async || {
            let info: RegistryInfo = self.host.json(Method::GET, &self.kind.path("/info")).await?;
            Ok::<_, EngineError>(info.registry_config.unwrap_or_default())
        };
        Ok(self.config.get_or_try_init(ask).await?.exposes(registry, &addresses, self.kind.is_podman))
    }
}

impl Engine {
    /// Returns what decides about the logins that the engine gets now.
    pub(in crate::engine) async fn login_guard(&self) -> Result<LoginGuard, EngineError> {
        Ok(LoginGuard::new(self.host.clone(), self.kind().await?, self.registries.clone()))
    }

    /// Makes the header of a request that leads the engine to the image's registry.
    ///
    /// # Errors
    /// The engine might send the login without TLS or to another domain, or it does not answer.
    pub(in crate::engine) async fn login_header(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
    ) -> Result<HeaderValue, EngineError> {
        if let Some(auth) = auth
            && let Some(refusal) = self.login_guard().await?.refusal(image.registry(), auth).await?
        {
            return Err(refusal);
        }
        credentials(image, auth)
    }
}

/// Makes the error for a registry's login that was not sent.
fn held_back(reason: &Advice, details: &[&dyn fmt::Display]) -> EngineError {
    EngineError::new(ErrorKind::Exposed, with_cure(reason, details))
}

/// Returns true if no network lies between the engine and these addresses.
fn is_here(addresses: &[IpAddr]) -> bool {
    !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback)
}

/// Resolves the registry's name on this machine; the engine may resolve it differently.
async fn addresses(registry: &str) -> Vec<IpAddr> {
    let Ok(authority) = registry.parse::<Authority>() else { return vec![] };
    let host = authority.host().trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, authority.port_u16().unwrap_or(443))).await;
    found.map_or_else(|_| vec![], |found| found.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_exposed_by_the_engines_own_rule() {
        let config: RegistryConfig = serde_json::from_str(
            r#"{"AllowNondistributableArtifactsCIDRs":null,"InsecureRegistryCIDRs":["127.0.0.0/8","10.1.0.0/16"],
                "IndexConfigs":{"docker.io":{"Name":"docker.io","Mirrors":[],"Secure":true,"Official":true},
                "plain.example:5000":{"Name":"plain.example:5000","Mirrors":[],"Secure":false,"Official":false}},
                "Mirrors":[]}"#,
        )
        .unwrap();
        for (registry, addresses, exposed) in [
            ("docker.io", &["10.1.0.1"][..], false),
            ("quay.io", &["34.1.1.1"], false),
            ("quay.io", &[], false),
            ("127.0.0.1:5000", &["127.0.0.1"], false),
            ("plain.example:5000", &["127.0.0.1", "::1"], false),
            ("plain.example:5000", &["34.1.1.1"], true),
            ("plain.example:5000", &[], true),
            ("plain.example", &["34.1.1.1"], false),
            ("10.1.2.3:5000", &["10.1.2.3"], true),
            ("inside.example", &["10.1.2.3", "34.1.1.1"], true),
            ("split.example", &["127.0.0.1", "34.1.1.1"], true),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(config.exposes(registry, &addresses, false), exposed, "{registry} {addresses:?}");
        }
        let none: RegistryConfig = serde_json::from_str(r#"{"IndexConfigs":null}"#).unwrap();
        assert!(!none.exposes("quay.io", &["34.1.1.1".parse().unwrap()], false));
    }

    #[test]
    fn podmans_prefixes_are_understood() {
        let config: RegistryConfig = serde_json::from_str(
            r#"{"IndexConfigs":{"*.wild.example":{"Secure":false},"host.example":{"Secure":false},
                "port.example:5000/team":{"Secure":false},"safe.example":{"Secure":true}},"InsecureRegistryCIDRs":[]}"#,
        )
        .unwrap();
        for (registry, exposed) in [
            ("a.wild.example", true),
            ("a.b.wild.example:5000", true),
            ("wild.example", false),
            ("host.example", true),
            ("host.example:5000", true),
            ("port.example:5000", true),
            ("port.example", false),
            ("safe.example", false),
            ("safe.example:5000", false),
        ] {
            assert_eq!(config.exposes(registry, &[], true), exposed, "{registry}");
        }
    }

    #[tokio::test]
    async fn a_registry_is_resolved_to_addresses() {
        assert_eq!(addresses("127.0.0.1:5000").await, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("[::1]").await, ["::1".parse::<IpAddr>().unwrap()]);
        assert!(addresses("localhost:5000").await.iter().all(IpAddr::is_loopback));
        assert!(addresses("registry.invalid").await.is_empty());
    }
}
