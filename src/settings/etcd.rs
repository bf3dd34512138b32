use std::fmt;
use std::net::Ipv6Addr;

use reqwest::Url;

use super::value::{List, SettingValue};
use super::{SettingError, Settings};
use crate::model::EtcdApi;

/// Addresses of one etcd cluster, `http[s]://host[:port]`, all with the same scheme.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints(pub Vec<String>);

impl SettingValue for Endpoints {
    fn parse(text: &str) -> Result<Self, String> {
        let List(parts) = List::parse(text)?;
        let endpoints = parts.iter().map(|part| endpoint(part)).collect::<Result<Vec<_>, _>>()?;
        match endpoints.windows(2).all(|pair| is_https(&pair[0]) == is_https(&pair[1])) {
            true => Ok(Self(endpoints)),
            false => Err("they must be all https:// or all http://".into()),
        }
    }
}

/// Checks an address and removes a `/` at its end.
fn endpoint(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or("each must be http://HOST:PORT or https://HOST:PORT")?;
    // Addresses are shown in logs, so they must contain no password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must have no user in it: set ETCD_USER and ETCD_PASSWORD".into());
    }
    match (url.path(), url.query(), url.fragment()) {
        ("/", None, None) => Ok(url.as_str().trim_end_matches('/').into()),
        _ => Err("an address must end after its port".into()),
    }
}

fn is_https(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

/// Name or address of a host, without a scheme and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl SettingValue for HostName {
    fn parse(text: &str) -> Result<Self, String> {
        // In a URL an IPv6 address stands in brackets.
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
            return Ok(Self(format!("[{address}]")));
        }
        let is_url = Url::parse(&format!("http://{text}")).is_ok();
        match is_url && !text.contains([':', '/', '@', '?', '#', '\\']) {
            true => Ok(Self(text.into())),
            false => Err("it must be a host's name or address alone; ETCD_ENDPOINTS takes whole addresses".into()),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    /// Returns the addresses of etcd; none when the secrets come from a folder.
    pub fn etcd(&self) -> Vec<String> {
        let scheme = if self.etcd_tls().next().is_some() { "https" } else { "http" };
        match &self.etcd_host {
            Some(host) => vec![format!("{scheme}://{host}:{}", self.etcd_port)],
            None => self.etcd_endpoints.0.clone(),
        }
    }

    /// Returns the names of the TLS settings that are set.
    fn etcd_tls(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("ETCD_CACERT", self.etcd_cacert.is_some()),
            ("ETCD_CERT", self.etcd_cert.is_some()),
            ("ETCD_KEY", self.etcd_key.is_some()),
        ];
        all.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
    }

    pub(super) fn check_etcd(&self, errors: &mut Vec<SettingError>) {
        let mut wrong = |text: String| errors.push(SettingError(text));
        if self.etcd_host.is_some() && !self.etcd_endpoints.0.is_empty() {
            wrong("ETCD_HOST and ETCD_ENDPOINTS are both set: keep one of them".into());
        }
        for (one, other, alone) in [
            ("ETCD_CERT", "ETCD_KEY", self.etcd_cert.is_some() != self.etcd_key.is_some()),
            ("ETCD_USER", "ETCD_PASSWORD", self.etcd_user.is_some() != self.etcd_password.is_some()),
        ] {
            if alone {
                wrong(format!("{one} and {other} belong together: set both or none"));
            }
        }
        let more = [
            ("ETCD_USER", self.etcd_user.is_some()),
            ("ETCD_PASSWORD", self.etcd_password.is_some()),
            ("ETCD_API", self.etcd_api != EtcdApi::Auto),
        ];
        let more = more.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        if let Some(name) = self.etcd_tls().chain(more).next().filter(|_| self.etcd().is_empty()) {
            wrong(format!("{name} is set, but not where etcd is: set ETCD_HOST or ETCD_ENDPOINTS too"));
        }
        if let Some(name) = self.etcd_tls().next().filter(|_| self.etcd().iter().any(|e| !is_https(e))) {
            wrong(format!("{name} is for TLS, and ETCD_ENDPOINTS says http://: write https://, or leave {name} out"));
        }
    }
}
