use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Served, eventually, folder, succeed, unique};

/// A stateful imitation of GitHub's API for commit statuses. It knows one repository, `acme/hello`, one token, and one
/// App that is installed there.
pub struct GitHubApi {
    server: Served,
    kept: Arc<Kept>,
    dir: TempDir,
}

const APP_ID: u64 = 4242;
pub const INSTALLATION: u64 = 77;

/// A status that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStatus {
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub target_url: String,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Instant,
    pub method: Method,
    pub path: String,
    pub status: StatusCode,
}

/// A fault, which replaces the answer to one request.
#[derive(Debug, Clone)]
pub enum Trouble {
    Answer(u16),
    /// 403 with `retry-after`, in seconds.
    RetryAfter(u32),
    /// 403 with `x-ratelimit-remaining: 0` and a reset after so many seconds.
    UsedUp(u32),
    /// 307 to there.
    Redirect(String),
    Hang,
}

struct Kept {
    dir: PathBuf,
    token: String,
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    statuses: Vec<SetStatus>,
    /// Ids that are a tag's, and no commit's.
    tag_objects: Vec<String>,
    calls: Vec<Call>,
    troubles: VecDeque<Trouble>,
    /// The installation's tokens that are not revoked.
    tokens: Vec<String>,
    granted: usize,
    life: Option<Duration>,
    is_renamed: bool,
    /// Commits that have a tarball, and where it is.
    tarballs: Vec<(String, String)>,
    /// The requests that GitHub would have refused.
    faults: Vec<String>,
}

impl GitHubApi {
    pub fn start() -> Self {
        let dir = folder();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (pkcs8, pkcs1, public) = (at("pkcs8.pem"), at("pkcs1.pem"), at("public.pem"));
        for args in [
            ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", &pkcs8].as_slice(),
            &["rsa", "-traditional", "-in", &pkcs8, "-out", &pkcs1],
            &["pkey", "-in", &pkcs8, "-pubout", "-out", &public],
        ] {
            succeed(Command::new("openssl").args(args), b"");
        }
        let token = format!("ghp_{}", unique());
        let kept = Arc::new(Kept { dir: dir.path().into(), token, state: Mutex::default() });
        let router = axum::Router::new().fallback(serve).with_state(kept.clone());
        Self { server: Served::start(router), kept, dir }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn token(&self) -> &str {
        &self.kept.token
    }

    /// The App's key, in a file: `pkcs1` or `pkcs8`.
    pub fn key(&self, format: &str) -> PathBuf {
        self.dir.path().join(format!("{format}.pem"))
    }

    /// The next requests are answered so.
    pub fn trouble(&self, troubles: &[Trouble]) {
        self.kept.state().troubles.extend(troubles.iter().cloned());
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.kept.state().troubles.clear();
    }

    /// The statuses of a commit, the oldest first.
    pub fn statuses(&self, sha: &str) -> Vec<SetStatus> {
        self.kept.state().statuses.iter().filter(|status| status.sha == sha).cloned().collect()
    }

    /// The statuses of a commit when the last one has this state, 60 s at most.
    pub async fn wait(&self, sha: &str, state: &str) -> Vec<SetStatus> {
        eventually(Duration::from_secs(60), &format!("{sha} is told as {state}"), async || {
            let statuses = self.statuses(sha);
            (statuses.last()?.state == state).then_some(statuses)
        })
        .await
    }

    pub fn calls(&self) -> Vec<Call> {
        self.kept.state().calls.clone()
    }

    /// Returns the number of installation tokens that were given.
    pub fn granted(&self) -> usize {
        self.kept.state().granted
    }

    /// No installation token that was given is valid any more.
    pub fn revoke(&self) {
        self.kept.state().tokens.clear();
    }

    /// Installation tokens end after this, not after an hour.
    pub fn set_life(&self, life: Duration) {
        self.kept.state().life = Some(life);
    }

    /// `acme/hello` has another name now.
    pub fn rename(&self) {
        self.kept.state().is_renamed = true;
    }

    /// The tarball of this commit is at another server.
    pub fn tarball(&self, sha: &str, location: String) {
        self.kept.state().tarballs.push((sha.into(), location));
    }

    /// Registers the id of a tag object, for which GitHub takes no status.
    pub fn tag_object(&self, id: &str) {
        self.kept.state().tag_objects.push(id.into());
    }

    /// Removes all statuses.
    pub fn forget(&self) {
        self.kept.state().statuses.clear();
    }

    /// Returns the requests that GitHub would have refused.
    pub fn faults(&self) -> Vec<String> {
        self.kept.state().faults.clone()
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    /// Checks with openssl that the App's key signed it, and that GitHub would take its times.
    fn check_jwt(&self, jwt: &str) -> Result<(), String> {
        let (signed, signature) = jwt.rsplit_once('.').ok_or("no JWT")?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|e| e.to_string());
        let parts: Vec<&str> = signed.split('.').collect();
        let [head, claims] = parts[..] else { return Err("no JWT".into()) };
        let head: Value = serde_json::from_slice(&decode(head)?).map_err(|e| e.to_string())?;
        let claims: Value = serde_json::from_slice(&decode(claims)?).map_err(|e| e.to_string())?;
        let (message, sealed) = (self.dir.join("message"), self.dir.join("signature"));
        std::fs::write(&message, signed).unwrap();
        std::fs::write(&sealed, decode(signature)?).unwrap();
        let mut verify = Command::new("openssl");
        verify.args(["dgst", "-sha256", "-verify"]).arg(self.dir.join("public.pem"));
        let verified = verify.arg("-signature").arg(&sealed).arg(&message).output().unwrap();
        let now = epoch();
        let (iat, exp) = (claims["iat"].as_u64().unwrap_or(u64::MAX), claims["exp"].as_u64().unwrap_or(0));
        for (is_good, what) in [
            (verified.status.success(), "the signature is not the App's"),
            (head["alg"] == "RS256", "alg is not RS256"),
            (claims["iss"] == APP_ID, "iss is not the App"),
            (iat < now, "iat is not in the past"),
            (exp > now && exp <= now + 600, "exp is over, or more than 10 minutes away"),
        ] {
            if !is_good {
                return Err(format!("{what}: {claims}"));
            }
        }
        Ok(())
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = text("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
        let path = path.split('?').next().unwrap();
        let mut state = self.state();
        match state.troubles.pop_front() {
            Some(Trouble::Answer(status)) => return Answer::of(status, "A trouble"),
            Some(Trouble::RetryAfter(seconds)) => {
                return Answer::of(403, "You have exceeded a secondary rate limit").with("retry-after", seconds);
            }
            Some(Trouble::UsedUp(seconds)) => {
                let reset = epoch() + u64::from(seconds);
                let answer = Answer::of(403, "API rate limit exceeded").with("x-ratelimit-remaining", 0);
                return answer.with("x-ratelimit-reset", reset);
            }
            Some(Trouble::Redirect(to)) => return Answer::of(307, "").with("location", to),
            Some(Trouble::Hang) => return Answer { hangs: true, ..Answer::of(200, "") },
            None => {}
        }
        if text("user-agent").is_empty() {
            return Answer::of(403, "Request forbidden by administrative rules. Add a User-Agent");
        }
        for (name, value) in [("x-github-api-version", "2022-11-28"), ("accept", "application/vnd.github+json")] {
            if text(name) != value {
                state.faults.push(format!("{name}: {:?}", text(name)));
            }
        }
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), &parts[..]) {
            ("GET", ["repos", "acme", "hello", "installation"]) => match self.check_jwt(&token) {
                Ok(()) => Answer::json(200, json!({"id": INSTALLATION})),
                Err(fault) => state.refuse_jwt(fault),
            },
            ("POST", ["app", "installations", id, "access_tokens"]) => match self.check_jwt(&token) {
                Ok(()) if *id == INSTALLATION.to_string() => state.grant(),
                Ok(()) => Answer::of(404, "Not Found"),
                Err(fault) => state.refuse_jwt(fault),
            },
            _ if token != self.token && !state.tokens.contains(&token) => Answer::of(401, "Bad credentials"),
            (_, ["repos", "acme", "hello", rest @ ..]) if state.is_renamed => {
                Answer::of(307, "Moved").with("location", format!("/repositories/7/{}", rest.join("/")))
            }
            ("POST", ["repos", "acme", "hello", "statuses", sha] | ["repositories", "7", "statuses", sha]) => {
                state.set(sha, body)
            }
            ("GET", ["repos", "acme", "hello", "commits", sha, "status"]) => state.combined(sha),
            ("GET", ["repos", "acme", "hello", "tarball", sha]) => {
                match state.tarballs.iter().find(|(of, _)| of.starts_with(sha)) {
                    Some((_, location)) => Answer::of(302, "Found").with("location", location),
                    None => Answer::of(404, "Not Found"),
                }
            }
            _ => Answer::of(404, "Not Found"),
        }
    }
}

impl Inner {
    fn refuse_jwt(&mut self, fault: String) -> Answer {
        self.faults.push(fault);
        Answer::of(401, "A JSON web token could not be decoded")
    }

    fn grant(&mut self) -> Answer {
        let token = format!("ghs_{}", unique());
        self.granted += 1;
        self.tokens.push(token.clone());
        let expires = OffsetDateTime::now_utc() + self.life.unwrap_or(Duration::from_secs(3600));
        let expires = expires.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
        Answer::json(201, json!({"token": token, "expires_at": expires, "permissions": {"statuses": "write"}}))
    }

    fn set(&mut self, sha: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let status = SetStatus {
            sha: sha.into(),
            context: text("context"),
            state: text("state"),
            description: text("description"),
            target_url: text("target_url"),
        };
        if self.tag_objects.iter().any(|id| id == sha) {
            self.faults.push(format!("a status of the tag object {sha}"));
            return Answer::of(422, &format!("No commit found for SHA: {sha}"));
        }
        let is_good = ["pending", "success", "failure", "error"].contains(&status.state.as_str())
            && status.description.chars().count() <= 140
            && !status.context.is_empty()
            && status.target_url.starts_with("http")
            && sha.len() == 40
            && sha.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_good {
            self.faults.push(format!("{status:?}"));
            return Answer::of(422, "Validation Failed");
        }
        self.statuses.push(status);
        Answer::json(201, body)
    }

    /// The newest of each context.
    fn combined(&self, sha: &str) -> Answer {
        let mut shown: Vec<&SetStatus> = Vec::new();
        for status in self.statuses.iter().rev().filter(|status| status.sha == sha) {
            if shown.iter().all(|newer| newer.context != status.context) {
                shown.push(status);
            }
        }
        let shown = shown.iter().map(|status| {
            json!({"context": status.context, "state": status.state, "description": status.description,
                "target_url": status.target_url})
        });
        Answer::json(200, json!({"sha": sha, "statuses": shown.collect::<Vec<_>>()}))
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    hangs: bool,
}

impl Answer {
    fn json(status: u16, body: Value) -> Self {
        Self { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body, hangs: false }
    }

    fn of(status: u16, message: &str) -> Self {
        Self::json(status, json!({"message": message}))
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.insert(header::HeaderName::from_static(name), value.to_string().parse().unwrap());
        self
    }
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn serve(State(kept): State<Arc<Kept>>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().as_str();
    let answer = kept.answer(&parts.method, path, &parts.headers, &body);
    kept.state().calls.push(Call { at, method: parts.method, path: path.to_owned(), status: answer.status });
    if answer.hangs {
        std::future::pending::<()>().await;
    }
    (answer.status, answer.headers, Json(answer.body)).into_response()
}
