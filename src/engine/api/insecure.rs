//! Refuses to hand a registry's login to an engine that would send it over the network in the clear.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hyper::Method;
use hyper::http::uri::Authority;
use ipnet::IpNet;
use serde::Deserialize;

use crate::model::ImageRef;

use super::engine::Engine;
use super::errors::EngineError;
use super::kind::ErrorKind;
use crate::engine::advice::{self, with_cure};

/// The part of `GET /info` about `insecure-registries`. The engine's own rule is `isSecureIndex` of
/// `github.com/moby/moby/registry`.
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
    fn exposes(&self, registry: &str, addresses: &[IpAddr]) -> bool {
        if is_here(addresses) {
            return false;
        }
        if let Some(index) = self.index_configs.as_ref().and_then(|all| all.get(registry)) {
            return !index.secure;
        }
        let networks: Vec<IpNet> = self.insecure.iter().flatten().filter_map(|cidr| cidr.parse().ok()).collect();
        addresses.iter().any(|address| networks.iter().any(|network| network.contains(address)))
    }
}

impl Engine {
    /// Checks that a password would be safe on its way to the image's registry.
    ///
    /// # Errors
    /// The engine might send the password without TLS, or it does not answer.
    pub(in crate::engine) async fn refuse_exposed(&self, image: &ImageRef) -> Result<(), EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct RegistryInfo {
            #[serde(default)]
            registry_config: Option<RegistryConfig>,
        }
        let registry = image.registry();
        let addresses = addresses(registry).await;
        if is_here(&addresses) {
            return Ok(()); // saves the request, which costs 6 ms
        }
        let info: RegistryInfo = self.json(Method::GET, "/info").await?;
        match info.registry_config.unwrap_or_default().exposes(registry, &addresses) {
            true => Err(EngineError::new(ErrorKind::Exposed, with_cure(&advice::EXPOSED_LOGIN, &[]))),
            false => Ok(()),
        }
    }
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
            assert_eq!(config.exposes(registry, &addresses), exposed, "{registry} {addresses:?}");
        }
        let none: RegistryConfig = serde_json::from_str(r#"{"IndexConfigs":null}"#).unwrap();
        assert!(!none.exposes("quay.io", &["34.1.1.1".parse().unwrap()]));
    }

    #[tokio::test]
    async fn a_registry_is_resolved_to_addresses() {
        assert_eq!(addresses("127.0.0.1:5000").await, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("[::1]").await, ["::1".parse::<IpAddr>().unwrap()]);
        assert!(addresses("localhost:5000").await.iter().all(IpAddr::is_loopback));
        assert!(addresses("registry.invalid").await.is_empty());
    }
}
