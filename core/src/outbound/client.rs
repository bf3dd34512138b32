use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect};

use super::address::{FilteringResolver, is_loopback};

/// `User-Agent` of every request.
const USER_AGENT: &str = concat!("image-factory/", env!("CARGO_PKG_VERSION"));

/// The path from this machine to the servers of a client.
#[derive(Clone, Copy)]
pub enum Route {
    /// Through the proxy that the environment names, if it names one.
    Environment,
    /// Without a proxy.
    Direct,
    /// Without a proxy, and only to addresses for which the rule is false. A proxy would look the name up anew, so the
    /// checked address would not be the one that is connected to.
    Filtered(fn(IpAddr) -> bool),
}

impl Route {
    /// Returns the direct route to a URL on loopback, because no proxy reaches this machine's loopback; otherwise the
    /// environment's.
    pub fn to(url: &Url) -> Self {
        if is_loopback(url) { Self::Direct } else { Self::Environment }
    }
}

/// Begins a client that names itself and follows no redirect. The caller adds timeouts and certificates.
pub fn client(route: Route) -> ClientBuilder {
    install_tls_provider();
    let client = Client::builder().user_agent(USER_AGENT).redirect(redirect::Policy::none());
    match route {
        Route::Environment => client,
        Route::Direct => client.no_proxy(),
        Route::Filtered(is_refused) => client.no_proxy().dns_resolver(Arc::new(FilteringResolver(is_refused))),
    }
}

/// Makes ring the TLS provider of this process. reqwest is built without a provider of its own, so that only ring is
/// compiled in. Further calls change nothing.
pub fn install_tls_provider() {
    // The error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Makes a client trust the authorities of a PEM file in the place of the system's. The file is written when the daemon
/// starts; if it is missing, no server is trusted.
///
/// # Errors
/// The file is not PEM.
pub fn trust_bundle(client: ClientBuilder, bundle: Option<&Path>) -> reqwest::Result<ClientBuilder> {
    match bundle {
        Some(bundle) => {
            let pem = std::fs::read(bundle).unwrap_or_default();
            Ok(client.tls_certs_only(Certificate::from_pem_bundle(&pem)?))
        }
        None => Ok(client),
    }
}
