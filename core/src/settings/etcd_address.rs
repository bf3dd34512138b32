use std::fmt;
use std::net::Ipv6Addr;

use reqwest::Url;

use super::value::{List, SettingValue};

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

/// Returns true for an address that is reached by TLS.
pub(super) fn is_https(endpoint: &str) -> bool {
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
            false => Err("it must be a host's name or address alone, without a scheme, a port or a login".into()),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
