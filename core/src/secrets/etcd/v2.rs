use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

use super::super::contents::Contents;
use super::super::name::{OWNER, SCOPED};
use super::super::{SecretName, SecretsError, messages};
use super::config::EtcdConfig;
use super::failure::{EtcdFailure, role};
use super::limits::{MAX_ANSWER, REQUEST, within};
use super::tls::EtcdTls;
use crate::outbound::{self, BodyError, Route, read_limited};

/// Interval at which everything is read again, because a wait on a member that hangs or lost its cluster is silent for
/// ever.
const RESYNC: Duration = Duration::from_secs(10);

/// A client of one member by etcd's API v2, which is JSON over HTTP and has a store of its own beside v3's.
/// Source: Documentation/v2/api.md and auth_api.md of etcd 3.3.
///
/// Traps: a name that begins with `_` is hidden from lists; a value that is not UTF-8 is damaged; a role for `/totem/*` may
/// read `/totem/` and not `/totem`; a name is a key or a directory.
pub struct V2Client {
    config: Arc<EtcdConfig>,
    pub(super) http: Client,
    /// `http://host:port/`
    root: Url,
    /// X-Etcd-Index of the last read, or of the last event.
    pub(super) index: u64,
    wait: Option<Wait>,
}

/// A long poll. Its head comes at once, and its body with the next event.
struct Wait {
    response: Response,
    body: Vec<u8>,
}

/// Body of an answer with a key, and of an event.
#[derive(Deserialize)]
struct V2Response {
    node: Node,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(default)]
    key: String,
    #[serde(default)]
    dir: bool,
    /// `None` for a deleted key and for a directory.
    value: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    modified_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct V2Refusal {
    error_code: u32,
    message: String,
    #[serde(default)]
    cause: String,
}

const KEY_NOT_FOUND: u32 = 100;
const NOT_A_FILE: u32 = 102;
const NOT_A_DIRECTORY: u32 = 104;
const INDEX_CLEARED: u32 = 401;

struct V2Answer {
    status: StatusCode,
    index: Option<u64>,
    body: Vec<u8>,
}

impl V2Client {
    pub fn new(config: Arc<EtcdConfig>, endpoint: &str, tls: &EtcdTls) -> Result<Self, EtcdFailure> {
        let builder = outbound::client(Route::Direct).connect_timeout(REQUEST);
        let http = match config.is_tls() {
            true => tls.client(builder),
            // A client without TLS gets no authorities, because reading the system's takes 10 ms.
            false => builder.tls_certs_only([]).build(),
        };
        let http = http.map_err(|e| EtcdFailure::of(&e, &config))?;
        let root = Url::parse(endpoint).map_err(|e| EtcdFailure::new(e.to_string()))?;
        Ok(Self { config, http, root, index: 0, wait: None })
    }

    /// Returns the major version of etcd, if etcd names one.
    pub async fn version(&self) -> Result<Option<u32>, EtcdFailure> {
        let got = self.ask(self.http.get(self.url("version"))).await?;
        if got.status != StatusCode::OK {
            return Ok(None);
        }
        // Answers of versions: {"etcdserver":"3.4.23",…}, {"releaseVersion":"2.0.5",…}, etcd 0.4.6
        let digits = got.body.iter().copied().skip_while(|b| !b.is_ascii_digit()).take_while(u8::is_ascii_digit);
        Ok(String::from_utf8(digits.collect()).ok().and_then(|digits| digits.parse().ok()))
    }

    /// Returns true if the member serves the v2 API. Since 3.4 it does so only with `--enable-v2`.
    pub async fn is_served(&self) -> Result<bool, EtcdFailure> {
        let got = self.ask(self.get("", "")).await?;
        Ok(got.status != StatusCode::NOT_FOUND || refusal(&got).is_some())
    }

    /// Returns all that is below the base.
    pub async fn read(&mut self) -> Result<Contents, EtcdFailure> {
        let got = self.ask(self.get("", "recursive=true&quorum=true")).await?;
        let mut contents = Contents::default();
        let mut nodes = match got.status {
            StatusCode::OK => vec![parse(&got.body)?.node],
            StatusCode::NOT_FOUND if refusal(&got).is_some_and(|r| r.error_code == KEY_NOT_FOUND) => Vec::new(),
            _ => return Err(self.refused(&got)),
        };
        self.index = got.index.ok_or_else(|| EtcdFailure::new("an answer without X-Etcd-Index"))?;
        while let Some(node) = nodes.pop() {
            nodes.extend(node.nodes);
            if let (Some(path), Some(value)) = (self.path(&node.key), node.value) {
                contents.add(path, text(value));
            }
        }
        Ok(contents)
    }

    /// Waits until a secret was set, deleted or expired since the last read, or [`RESYNC`] is over. The call can be dropped
    /// and made again.
    pub async fn changed(&mut self) -> Result<(), EtcdFailure> {
        let until = Instant::now() + RESYNC;
        loop {
            if self.wait.is_none() {
                let query = format!("recursive=true&wait=true&waitIndex={}", self.index + 1);
                let response = within(self.get("", &query).send()).await?;
                let response = response.map_err(|e| EtcdFailure::of(&e, &self.config))?;
                self.wait = Some(Wait { response, body: Vec::new() });
            }
            let Some(wait) = &mut self.wait else { continue };
            let Ok(chunk) = timeout_at(until, wait.response.chunk()).await else { return Ok(()) };
            match chunk.map_err(|e| EtcdFailure::of(&e, &self.config))? {
                Some(chunk) if wait.body.len() + chunk.len() > MAX_ANSWER => return Err(too_large()),
                Some(chunk) => wait.body.extend_from_slice(&chunk),
                None => {
                    let got =
                        V2Answer { status: wait.response.status(), index: None, body: std::mem::take(&mut wait.body) };
                    self.wait = None;
                    if self.is_reason_to_read(&got, until).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns true if the answer to a wait is a reason to read.
    async fn is_reason_to_read(&mut self, got: &V2Answer, until: Instant) -> Result<bool, EtcdFailure> {
        match got.status {
            // etcd 2 ends a wait with an empty body after some minutes. The next wait begins after a pause, because it
            // could end at once, too.
            StatusCode::OK if got.body.trim_ascii().is_empty() => sleep_until(until).await,
            StatusCode::OK => {
                let node = parse(&got.body)?.node;
                let ours = |path: &str| node.dir || SecretName::parse(path).is_some();
                // An event of the base, or of a directory above it, concerns all secrets.
                if self.path(&node.key).is_none_or(ours) {
                    return Ok(true);
                }
                self.index = node.modified_index.max(self.index + 1);
                return Ok(false);
            }
            // The index is more than 1,000 events old, and etcd keeps no more events.
            _ if refusal(got).is_some_and(|r| r.error_code == INDEX_CLEARED) => {}
            _ => return Err(self.refused(got)),
        }
        Ok(true)
    }

    /// Stores a secret, and returns its key.
    pub async fn put(&self, name: &SecretName, value: &[u8]) -> Result<String, EtcdFailure> {
        let text = std::str::from_utf8(value).map_err(|_| {
            EtcdFailure::todo("it is not text, and the v2 API keeps text only", "encrypt it with `gpg -c --armor`")
        })?;
        let mut path = name.to_string();
        if path.split('/').any(|part| part.starts_with('_')) {
            return Err(EtcdFailure::todo(
                format!("{path}: the v2 API hides what begins with _"),
                "use the owner's secret or the common one instead",
            ));
        }
        // An owner's secret goes into the owner's directory, which has room for those of repositories, unless a plain key is
        // stored in the place of that directory.
        if name.is_of_owner() {
            let got = self.ask(self.get(&path, "")).await?;
            if got.status != StatusCode::OK || parse(&got.body)?.node.dir {
                path = format!("{path}/{OWNER}");
            }
        }
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("value", text).finish();
        let request = self.login(self.http.put(self.key(&path)));
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let got = self.ask(request).await?;
        match got.status {
            StatusCode::OK | StatusCode::CREATED => Ok(format!("{}{path}", self.config.prefix())),
            _ => Err(self.refused(&got)),
        }
    }

    /// Deletes a secret, an owner's also from the owner's directory, and returns the keys that were there.
    pub async fn delete(&self, name: &SecretName) -> Result<Vec<String>, EtcdFailure> {
        let mut paths = vec![name.to_string()];
        if name.is_of_owner() {
            paths.push(format!("{name}/{OWNER}"));
        }
        let mut deleted = Vec::new();
        for path in paths {
            let got = self.ask(self.login(self.http.delete(self.key(&path)))).await?;
            match refusal(&got).map(|refusal| refusal.error_code) {
                None if got.status == StatusCode::OK => deleted.push(format!("{}{path}", self.config.prefix())),
                Some(KEY_NOT_FOUND | NOT_A_FILE | NOT_A_DIRECTORY) => {}
                _ => return Err(self.refused(&got)),
            }
        }
        Ok(deleted)
    }

    /// Returns a GET request for a path below the base; `""` is the base, with a slash.
    fn get(&self, path: &str, query: &str) -> RequestBuilder {
        let mut url = self.key(path);
        url.set_query(Some(query).filter(|q| !q.is_empty()));
        self.login(self.http.get(url))
    }

    fn key(&self, path: &str) -> Url {
        self.url(&format!("v2/keys{}{path}", self.config.prefix()))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path.split('/'));
        }
        url
    }

    fn login(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.config.login {
            Some((user, password)) => request.basic_auth(user, Some(password.as_str())),
            None => request,
        }
    }

    async fn ask(&self, request: RequestBuilder) -> Result<V2Answer, EtcdFailure> {
        let failed = |e: reqwest::Error| EtcdFailure::of(&e, &self.config);
        let mut response = request.send().await.map_err(failed)?;
        let index = response.headers().get("X-Etcd-Index").and_then(|index| index.to_str().ok()?.parse().ok());
        let body = read_limited(&mut response, MAX_ANSWER).await.map_err(|error| match error {
            BodyError::TooLong => too_large(),
            BodyError::Broken(error) => failed(error),
        })?;
        Ok(V2Answer { status: response.status(), index, body: body.to_vec() })
    }

    /// Returns the path below the base. An owner's `@owner` becomes the owner.
    fn path<'a>(&self, key: &'a str) -> Option<&'a str> {
        let path = key.strip_prefix(&self.config.prefix())?;
        let owner = path.strip_suffix(OWNER).and_then(|path| path.strip_suffix('/'));
        Some(owner.filter(|path| SCOPED.iter().any(|scoped| path.starts_with(scoped))).unwrap_or(path))
    }

    fn refused(&self, got: &V2Answer) -> EtcdFailure {
        let refusal = refusal(got);
        match (got.status, &refusal) {
            // etcd answers 401 for a wrong password and for a missing role, and does not say which.
            (StatusCode::UNAUTHORIZED, _) => {
                let failure = match &self.config.login {
                    None => EtcdFailure::anonymous("refused (HTTP 401)"),
                    Some((user, _)) => EtcdFailure::todo(
                        format!("{user} is refused (HTTP 401)"),
                        format!("check ETCD_USER and ETCD_PASSWORD, or {}", role(&self.config)),
                    ),
                };
                EtcdFailure { refused: true, ..failure }
            }
            (_, Some(r)) if r.error_code == NOT_A_DIRECTORY => EtcdFailure::todo(
                format!("{} is a key with the owner's secret, and a directory is needed there", r.cause),
                format!("store that as {}/{OWNER} instead", r.cause),
            ),
            (status, Some(r)) => EtcdFailure::new(format!("{} {} (HTTP {})", r.message, r.cause, status.as_u16())),
            (StatusCode::NOT_FOUND, None) => {
                EtcdFailure::todo("it has no v2 API", "start it with --enable-v2, or set ETCD_API=v3")
            }
            (status, None) => EtcdFailure::new(format!("HTTP {}", status.as_u16())),
        }
    }
}

fn text(value: String) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
    match value.contains(char::REPLACEMENT_CHARACTER) {
        false => Ok(value.into_bytes().into()),
        true => Err(SecretsError::of(&messages::DAMAGED_BY_ETCD, &[])),
    }
}

fn parse(body: &[u8]) -> Result<V2Response, EtcdFailure> {
    serde_json::from_slice(body).map_err(|e| EtcdFailure::new(format!("its answer is not that of etcd: {e}")))
}

#[cfg(fuzzing)]
pub(in crate::secrets) fn fuzz(answer: &[u8]) {
    let _ = parse(answer);
    let _ = serde_json::from_slice::<V2Refusal>(answer);
}

fn refusal(got: &V2Answer) -> Option<V2Refusal> {
    serde_json::from_slice(&got.body).ok()
}

fn too_large() -> EtcdFailure {
    EtcdFailure::new(format!("its answer has more than {} MiB", MAX_ANSWER >> 20))
}
