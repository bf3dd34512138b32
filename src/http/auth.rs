use std::net::IpAddr;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::error::{ApiError, shortened};
use super::ids::{self, JobPath};
use super::{ApiState, messages};
use crate::intake::Requester;
use crate::model::{ApiToken, BasicLogin, Job, Millis, RepoLimits, Role};
use crate::store::{Store, TokenRecord};

/// The least time between two records of a token's use, because a record is a write.
const USE_RECORDED: Duration = Duration::from_secs(3600);

/// The sender of a request, whose token may be limited to some repositories. A handler with this argument admits only
/// callers with the role that the method needs (read for a safe method, build for one that changes anything), and has to
/// keep to the limits itself.
pub struct RepoCaller {
    /// Name of the token.
    pub name: String,
    pub role: Role,
    pub limits: RepoLimits,
}

/// The sender of a request, whose token is for all repositories. A handler with this argument refuses limited tokens.
pub struct ApiCaller(pub RepoCaller);

impl RepoCaller {
    /// Admits the caller whom the request's credentials name. Without one, the guard of an open API may let the request in as
    /// an admin's.
    pub fn admit(parts: &Parts, named: Option<Self>, guard: &Guard) -> Result<Self, ApiError> {
        let changes = !parts.method.is_safe();
        let role = if changes { Role::Build } else { Role::Read };
        Self::admit_as(parts, named, guard, role, changes)
    }

    /// Admits the caller of a request whose method does not say what it needs: this role and, for a `guarded` one, that no
    /// foreign web page made a browser send it.
    pub fn admit_as(
        parts: &Parts,
        named: Option<Self>,
        guard: &Guard,
        role: Role,
        guarded: bool,
    ) -> Result<Self, ApiError> {
        let caller = match named {
            Some(caller) => {
                // A browser adds the password that it remembers to what any page sends, as it does with a cookie.
                if guarded && is_basic(&parts.headers) {
                    guard.check(&parts.headers, guarded)?;
                }
                caller
            }
            None if guard.is_open => {
                guard.check(&parts.headers, guarded)?;
                if parts.method.is_safe() {
                    refuse_fetchers(&parts.headers)?;
                }
                Self { name: "anyone".into(), role: Role::Admin, limits: RepoLimits::default() }
            }
            None => return Err(ApiError::new(&messages::CREDENTIALS)),
        };
        if caller.role < role {
            return Err(ApiError::new(&messages::READ_ONLY));
        }
        Ok(caller)
    }

    /// Returns the job of a path.
    ///
    /// # Errors
    /// There is no such job, or the token is not for its repository. The two look alike, because the id of a job is no
    /// business of others.
    pub async fn job(&self, api: &ApiState, JobPath(text): &JobPath) -> Result<Job, ApiError> {
        let id = ids::job_id(api, text, &self.limits).await?;
        let job = match id {
            Some(id) => api.store.job(id).await?.filter(|job| self.may_see(api, &job.repository)),
            None => None,
        };
        job.ok_or_else(|| ApiError::unknown_job(text))
    }

    /// Returns true if the token is for the repository `owner/repo`.
    pub fn may_see(&self, api: &ApiState, repository: &str) -> bool {
        self.limits.allow(api.intake.policy().destinations().repo_case, repository)
    }

    pub fn requester(&self) -> Requester<'_> {
        Requester::Caller { name: &self.name, role: self.role, limits: &self.limits }
    }
}

impl ApiCaller {
    /// # Errors
    /// The token is limited to some repositories.
    pub fn unlimited(caller: RepoCaller) -> Result<Self, ApiError> {
        match caller.limits.are_none() {
            true => Ok(Self(caller)),
            false => Err(ApiError::with(&messages::LIMITED, caller.limits.entries().join(", "))),
        }
    }

    /// # Errors
    /// The token is of a lower role than admin.
    pub fn admin(&self) -> Result<(), ApiError> {
        match self.0.role {
            Role::Admin => Ok(()),
            Role::Read | Role::Build => Err(ApiError::new(&messages::ADMIN_ONLY)),
        }
    }
}

/// SHA-256 of the tokens, because comparing digests reveals neither the content nor the length of a token.
pub struct Tokens(Vec<([u8; 32], String, Role)>);

impl Tokens {
    pub fn new(tokens: &[ApiToken]) -> Self {
        let usable = tokens.iter().filter(|token| !token.token.is_empty());
        Self(usable.map(|t| (Sha256::digest(t.token.as_bytes()).into(), t.name.clone(), t.role)).collect())
    }

    /// Returns the name and role of each token.
    pub fn all(&self) -> impl Iterator<Item = (&str, Role)> {
        self.0.iter().map(|(_, name, role)| (&**name, *role))
    }

    /// Returns the caller of the request's token, which is looked for among those of the settings, then in the store.
    pub async fn find_anywhere(&self, headers: &HeaderMap, store: &Store) -> Result<Option<RepoCaller>, ApiError> {
        let Some(digest) = token_digest(headers) else { return Ok(None) };
        if let Some((name, role)) = self.find(&digest) {
            return Ok(Some(RepoCaller { name: name.into(), role, limits: RepoLimits::default() }));
        }
        let Some(token) = store.token(&digest).await? else { return Ok(None) };
        // Limits that cannot be read must not become none.
        let limits = RepoLimits::new(&token.repositories)
            .map_err(|e| ApiError::Internal(format!("the token {}: {e}", token.name)))?;
        record_use(store, &token);
        Ok(Some(RepoCaller { name: token.name, role: token.role, limits }))
    }

    /// Returns the name and role of the token with this digest. It compares with every token, in constant time.
    fn find(&self, digest: &[u8; 32]) -> Option<(&str, Role)> {
        let mut found = u64::MAX;
        for (index, (token, ..)) in (0u64..).zip(&self.0) {
            found.conditional_assign(&index, token.ct_eq(digest));
        }
        let (_, name, role) = self.0.get(usize::try_from(found).ok()?)?;
        Some((name, *role))
    }
}

/// SHA-256 of `user:password` of BASIC_AUTH, and the name that jobs keep of its callers.
pub struct BasicDigest([u8; 32], String);

impl BasicDigest {
    pub fn new(login: &BasicLogin) -> Self {
        let pair = Zeroizing::new(format!("{}:{}", login.user, login.password.as_str()));
        Self(Sha256::digest(pair.as_bytes()).into(), format!("{} (BASIC_AUTH)", login.user))
    }

    /// Returns the caller if the request has this login. It may read and build.
    pub fn find(&self, headers: &HeaderMap) -> Option<RepoCaller> {
        let sent: [u8; 32] = Sha256::digest(basic_pair(headers)?).into();
        let is_it = bool::from(sent.ct_eq(&self.0));
        is_it.then(|| RepoCaller { name: self.1.clone(), role: Role::Build, limits: RepoLimits::default() })
    }
}

/// Stores beside the request when the token was used, unless that was done within the last hour.
fn record_use(store: &Store, token: &TokenRecord) {
    let now = Millis::now();
    if token.used.is_none_or(|used| now.since(used) > USE_RECORDED) {
        let (store, name) = (store.clone(), token.name.clone());
        tokio::spawn(async move {
            if let Err(error) = store.touch_token(&name, now).await {
                tracing::debug!(%error, "the use of the token {name} is not recorded");
            }
        });
    }
}

/// Returns the SHA-256 of the token in `Authorization: Bearer TOKEN` or `Authorization: Basic base64(any:TOKEN)`.
fn token_digest(headers: &HeaderMap) -> Option<[u8; 32]> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Sha256::digest(rest.as_bytes()).into());
    }
    let pair = basic_pair(headers)?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(Sha256::digest(&pair[colon + 1..]).into())
}

/// Returns the user and the password of `Authorization: Basic …`, with the `:` between them.
fn basic_pair(headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = || STANDARD.decode(rest.trim()).or_else(|_| STANDARD_NO_PAD.decode(rest.trim())).ok();
    scheme.eq_ignore_ascii_case("basic").then(pair)?.map(Zeroizing::new)
}

fn is_basic(headers: &HeaderMap) -> bool {
    has_scheme(headers, b"basic ")
}

/// True for a token that no browser adds by itself.
pub fn has_bearer(headers: &HeaderMap) -> bool {
    has_scheme(headers, b"bearer ")
}

fn has_scheme(headers: &HeaderMap, wanted: &[u8]) -> bool {
    let scheme = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().get(..wanted.len()));
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(wanted))
}

/// Beginnings of the `User-Agent` of what fetches for a Dockerfile's `ADD`: both builders of Docker Engine 20.10 and 26.1,
/// BuildKit since 0.15, and Git, by which BuildKit fetches repositories.
const FETCHERS: [&str; 3] = ["Go-http-client/", "buildkit/", "git/"];

/// Refuses what an engine sends for an `ADD`, which is a GET or a HEAD: who may push a Dockerfile is no caller of the API.
fn refuse_fetchers(headers: &HeaderMap) -> Result<(), ApiError> {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match FETCHERS.iter().any(|fetcher| agent.starts_with(fetcher)) {
        true => Err(ApiError::with(&messages::FETCHER, shortened(agent))),
        false => Ok(()),
    }
}

/// Returns true if a 401 offers a password. It does not offer one to browsers, which would ask for it in a window of their
/// own, in the place of a page's sign-in: they accept HTML, or say that a page's script asks.
pub fn may_offer_basic(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !text(header::ACCEPT).to_ascii_lowercase().contains("text/html") && text(SEC_FETCH_DEST) != "empty"
}

/// The guard of requests that a browser could send by itself: those without a token, and those with a password. It refuses
/// what a foreign web page could make a browser send: a `Host` that is not ours (a name rebound to this address) always, a
/// foreign `Origin` or `Sec-Fetch-Site` for a method that changes anything. Clones share the hosts.
#[derive(Clone)]
pub struct Guard {
    /// True if a request needs no token.
    is_open: bool,
    hosts: watch::Sender<Vec<String>>,
    origins: Vec<String>,
}

impl Guard {
    pub fn new(is_open: bool, hosts: &[String], origins: &[String]) -> Self {
        let guard = Self { is_open, hosts: watch::Sender::default(), origins: origins.to_vec() };
        guard.set_hosts(hosts);
        guard
    }

    /// Takes other names of the daemon, for the requests that come from now on.
    pub fn set_hosts(&self, hosts: &[String]) {
        self.hosts.send_replace(hosts.iter().map(|host| without_port(host).to_ascii_lowercase()).collect());
    }

    /// Refuses a request that a foreign web page could make a browser send.
    pub fn check(&self, headers: &HeaderMap, changes: bool) -> Result<(), ApiError> {
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
        if origin.is_some_and(|origin| self.origins.iter().any(|known| known == origin)) {
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
            || self.hosts.borrow().contains(&host)
    }
}

const SEC_FETCH_DEST: header::HeaderName = header::HeaderName::from_static("sec-fetch-dest");
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
