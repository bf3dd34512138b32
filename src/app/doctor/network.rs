//! Looks for what answers without a password where the steps of builds are, as a step would reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::Finding;
use super::engine::hosts;
use super::secrets::Live;
use crate::engine::Engine;
use crate::model::{ImageRef, ListenAddress};
use crate::outbound::{self, Route, is_loopback_host, read_limited};
use crate::settings::{ApiAuth, Settings};

pub const NAME: &str = "network";
/// Time for an answer. What listens on this machine or beside it answers in milliseconds.
const ANSWER: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// A kind of server that should not be open to steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServerKind {
    Engine,
    Etcd,
    Registry,
    Daemon,
}

/// Usual ports.
const USUAL: [(ServerKind, u16); 4] =
    [(ServerKind::Engine, 2375), (ServerKind::Etcd, 2379), (ServerKind::Etcd, 4001), (ServerKind::Registry, 5000)];

/// A server that may be open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OpenServer {
    kind: ServerKind,
    /// Name or address, an IPv6 one without brackets.
    host: String,
    port: u16,
}

/// Checks which servers on the engines' machines, and which of the settings', answer without a password.
pub async fn check(settings: Arc<Settings>, live: Live) -> Vec<Finding> {
    // The check of the engines reports what is wrong with them.
    let Ok((_dir, hosts)) = hosts(&settings, live).await else { return Vec::new() };
    let own = named(&settings);
    let ports: BTreeSet<_> = USUAL.into_iter().chain(own.iter().map(|own| (own.kind, own.port))).collect();
    let mut findings = Vec::new();
    let mut servers: BTreeSet<OpenServer> = own.into_iter().collect();
    for host in hosts {
        let (address, machine) = (host.to_string(), host.machine());
        let engine = Engine::new(host);
        if let Some(network) = settings.build_network.as_ref().filter(|network| network.is_named())
            && engine.network(network.as_str()).await.is_ok_and(|found| found.is_none())
        {
            let cure = "make it there by `docker network create`, or correct BUILD_NETWORK";
            findings.push(Finding::bad(NAME, format!("{address} has no network {network}: {cure}")));
        }
        let places = match machine {
            Some(name) => vec![name],
            None => {
                let gateways = engine.network("bridge").await.ok().flatten().unwrap_or_default();
                gateways.iter().map(ToString::to_string).chain(["127.0.0.1".to_owned()]).collect()
            }
        };
        for place in places {
            servers.extend(ports.iter().map(|(kind, port)| OpenServer::new(*kind, &place, *port)));
        }
    }
    let Ok(http) = outbound::client(Route::Direct).timeout(ANSWER).build() else { return findings };
    let asked = servers.into_iter().map(|server| {
        let http = &http;
        async move { server.is_open(http).await.then_some(server) }
    });
    let open: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    let (local, reached): (Vec<_>, Vec<_>) = open.into_iter().partition(|server| is_loopback_host(&server.host));
    let listed = |open: &[OpenServer]| open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if settings.build_network.as_ref().is_some_and(|network| !network.is_named()) {
        let all = [reached, local].concat();
        let open = if all.is_empty() { "nothing found".into() } else { listed(&all) };
        findings.push(Finding::ok(NAME, format!("steps reach nothing (BUILD_NETWORK=none); open beside them: {open}")));
        return findings;
    }
    findings.extend(reached.iter().map(|server| {
        Finding::warn(NAME, format!("steps of builds reach {server} without a password: {}", server.kind.cure()))
    }));
    if reached.is_empty() {
        findings
            .push(Finding::ok(NAME, "steps of builds reach no engine, etcd, registry or daemon without a password"));
    }
    if !local.is_empty() {
        let message = format!("on loopback, where neither steps nor a plain ADD reach: {}", listed(&local));
        findings.push(Finding::ok(NAME, message));
    }
    findings
}

/// Returns the servers that the settings name.
fn named(settings: &Settings) -> Vec<OpenServer> {
    let mut all = Vec::new();
    if let (ListenAddress::Tcp(address), ApiAuth::None) = (&settings.listen, settings.api_auth) {
        let host = if address.ip().is_unspecified() { "127.0.0.1".into() } else { address.ip().to_string() };
        all.push(OpenServer::new(ServerKind::Daemon, &host, address.port()));
    }
    let base = ImageRef::parse(&format!("{}/a:a", settings.docker_repo_base));
    let registry = base.ok().map(|image| format!("http://{}", image.registry()));
    let etcd = settings.etcd().into_iter().map(|url| (ServerKind::Etcd, url));
    for (kind, url) in etcd.chain(registry.map(|url| (ServerKind::Registry, url))) {
        let url = Url::parse(&url).ok();
        if let Some((host, port)) = url.as_ref().and_then(|url| Some((url.host_str()?, url.port()?))) {
            all.push(OpenServer::new(kind, host, port));
        }
    }
    all
}

impl ServerKind {
    fn cure(self) -> &'static str {
        match self {
            Self::Engine => "start dockerd without this address, or with --tlsverify",
            Self::Etcd => "turn on its authentication, or let it listen on 127.0.0.1 alone",
            Self::Registry => "give it a login, or let it listen on 127.0.0.1 alone",
            Self::Daemon => "set API_AUTH=token",
        }
    }
}

impl std::fmt::Display for OpenServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            ServerKind::Engine => "a Docker engine",
            ServerKind::Etcd => "etcd",
            ServerKind::Registry => "a registry",
            ServerKind::Daemon => "this daemon",
        };
        write!(f, "{what} at {}", self.authority())
    }
}

impl OpenServer {
    fn new(kind: ServerKind, host: &str, port: u16) -> Self {
        Self { kind, host: host.trim_matches(['[', ']']).into(), port }
    }

    fn authority(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// Returns true if the server is there and answers who has no password. It is asked for nothing that is secret.
    async fn is_open(&self, http: &Client) -> bool {
        let url = |path: &str| format!("http://{}{path}", self.authority());
        match self.kind {
            ServerKind::Engine => {
                #[derive(Deserialize)]
                struct EngineAnswer {
                    #[serde(rename = "ApiVersion")]
                    _version: String,
                }
                let Ok(mut answer) = http.get(url("/version")).send().await else { return false };
                let body = read_limited(&mut answer, LONGEST).await.unwrap_or_default();
                serde_json::from_slice::<EngineAnswer>(&body).is_ok()
            }
            ServerKind::Etcd => {
                // The key is a name that nothing has, in base64.
                let range = http.post(url("/v3/kv/range")).json(&json!({ "key": "aW1hZ2UtZmFjdG9yeS1kb2N0b3I=" }));
                let v2 = http.get(url("/v2/keys/image-factory-doctor"));
                let is_v2 = |answer: &reqwest::Response| answer.headers().contains_key("x-etcd-index");
                range.send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
                    || v2.send().await.is_ok_and(|answer| answer.status() != StatusCode::UNAUTHORIZED && is_v2(&answer))
            }
            ServerKind::Registry => {
                let known = "docker-distribution-api-version";
                let is_registry = |answer: &reqwest::Response| answer.headers().contains_key(known);
                let sent = http.get(url("/v2/")).send().await;
                sent.is_ok_and(|answer| answer.status() == StatusCode::OK && is_registry(&answer))
            }
            ServerKind::Daemon => {
                let sent = http.get(url("/job?limit=1")).send().await;
                sent.is_ok_and(|answer| answer.status() == StatusCode::OK)
            }
        }
    }
}
