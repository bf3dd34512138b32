use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::error::{ApiError, shortened};
use super::messages;
use crate::intake::Requester;
use crate::model::{ApiToken, Role};

/// The sender of a request. A handler with this argument admits only callers with the role that the method needs: read
/// for a safe method, build for one that changes anything.
pub struct ApiCaller {
    /// Name of the token.
    pub name: String,
    pub role: Role,
}

impl ApiCaller {
    /// Finds the request's token. Without one, a guard may let the request in as an admin's.
    pub fn authenticate(parts: &Parts, tokens: &Tokens, guard: Option<&Guard>) -> Result<Self, ApiError> {
        let changes = !parts.method.is_safe();
        let caller = match (tokens.find(&parts.headers), guard) {
            (Some((name, role)), _) => Self { name: name.into(), role },
            (None, Some(guard)) => {
                guard.check(&parts.headers, changes)?;
                Self { name: "anyone".into(), role: Role::Admin }
            }
            (None, None) => return Err(ApiError::new(&messages::CREDENTIALS)),
        };
        if changes && caller.role < Role::Build {
            return Err(ApiError::new(&messages::READ_ONLY));
        }
        Ok(caller)
    }

    pub fn requester(&self) -> Requester<'_> {
        Requester::Caller { name: &self.name, role: self.role }
    }
}

/// SHA-256 of the tokens, because comparing digests reveals neither the content nor the length of a token.
pub struct Tokens(Vec<([u8; 32], String, Role)>);

impl Tokens {
    pub fn new(tokens: &[ApiToken]) -> Self {
        let usable = tokens.iter().filter(|token| !token.token.is_empty());
        Self(usable.map(|t| (Sha256::digest(t.token.as_bytes()).into(), t.name.clone(), t.role)).collect())
    }

    /// Returns the name and role of the request's token. It compares with every token, in constant time.
    fn find(&self, headers: &HeaderMap) -> Option<(&str, Role)> {
        let digest = token_digest(headers)?;
        let mut found = u64::MAX;
        for (index, (token, ..)) in (0u64..).zip(&self.0) {
            found.conditional_assign(&index, token.ct_eq(&digest));
        }
        let (_, name, role) = self.0.get(usize::try_from(found).ok()?)?;
        Some((name, *role))
    }
}

/// Returns the SHA-256 of the token in `Authorization: Bearer TOKEN` or `Authorization: Basic base64(any:TOKEN)`.
fn token_digest(headers: &HeaderMap) -> Option<[u8; 32]> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Sha256::digest(rest.as_bytes()).into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).or_else(|_| STANDARD_NO_PAD.decode(rest)).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(Sha256::digest(&pair[colon + 1..]).into())
}

/// The guard of an API without tokens. It refuses what a foreign web page could make a browser send: a `Host` that is not
/// ours (a name rebound to this address) always, a foreign `Origin` or `Sec-Fetch-Site` for a method that changes anything.
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    pub fn new(hosts: &[String], origins: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| without_port(host).to_ascii_lowercase()).collect();
        Self { hosts, origins: origins.to_vec() }
    }

    fn check(&self, headers: &HeaderMap, changes: bool) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST);
        if let Some(host) = host
            && !self.is_ours(host)
        {
            return Err(ApiError::with(&messages::UNKNOWN_HOST, shortened(host)));
        }
        if !changes {
            return Ok(());
        }
        let origin = text(header::ORIGIN);
        if origin.is_some_and(|origin| self.origins.iter().any(|known| known == "*" || known == origin)) {
            return Ok(());
        }
        let is_own_page = |origin: &str| {
            origin
                .split_once("://")
                .is_some_and(|(_, authority)| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)))
        };
        let is_foreign_site = |site: &str| !matches!(site, "same-origin" | "none");
        if origin.is_some_and(|origin| !is_own_page(origin)) || text(SEC_FETCH_SITE).is_some_and(is_foreign_site) {
            return Err(ApiError::new(&messages::FOREIGN_PAGE));
        }
        Ok(())
    }

    /// True for a configured name, `localhost`, and any IP address, because an address cannot be rebound.
    fn is_ours(&self, host: &str) -> bool {
        let host = without_port(host).to_ascii_lowercase();
        host == "localhost"
            || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
            || self.hosts.contains(&host)
    }
}

const SEC_FETCH_SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

/// Cuts the port off `name:port` and `[v6]:port`. A bare IPv6 address is returned as it is.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_and_an_address_is_not() {
        for (host, name) in [
            ("localhost:8080", "localhost"),
            ("ci.acme.org", "ci.acme.org"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("127.0.0.1:80", "127.0.0.1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
