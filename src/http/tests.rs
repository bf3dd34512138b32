//! Tests of the API over a real connection, on the real store, logs and queue (which runs nothing).

mod auth;
mod compose_ci;
mod conveyor;
mod engines;
mod envelope;
mod files;
mod follow;
mod forges;
mod generator;
mod hook;
mod images;
mod jobs;
mod log;
mod notifications;
mod routing;
mod tokens;
mod totem;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::{HttpConfig, Parts, router, serve};
use crate::intake::{AllowedRepos, Intake, Policy, Selection};
use crate::logs::Logs;
use crate::metrics::{Heartbeat, Metrics};
use crate::model::{ApiToken, BasicLogin, Destinations, Dialects, Job, JobId, Millis, Outcome, Role, Stages, Status};
use crate::queue::{Queue, QueueConfig};
use crate::secrets::Secrets;
use crate::store::Store;

const SECRET: &str = "It's a Secret to Everybody";
const CI_TOKEN: &str = "the-token-of-an-address";
const LEASE: Duration = Duration::from_secs(60);

struct Server {
    base: String,
    http: reqwest::Client,
    store: Store,
    logs: Logs,
    /// The sender is kept, so that the channel stays open.
    _secrets: watch::Sender<Arc<Secrets>>,
    degraded: watch::Sender<Vec<String>>,
    _stop: DropGuard,
    _dir: TempDir,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns status, `code` and `message`.
    fn error(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |name: &str| body[name].as_str().map_or_else(|| body[name].to_string(), str::to_owned);
        (self.status, text("code"), text("message"))
    }
}

/// Starts a server with a hook secret and the tokens `read`, `build` and `admin`. `change` may change the configuration.
async fn server(change: impl FnOnce(&mut HttpConfig)) -> Server {
    server_with(change, |_| {}).await
}

/// The parts of the policy that a test can change.
struct Rules {
    allow_repos: Vec<String>,
    selection: Selection,
    destinations: Destinations,
}

/// A server with another configuration and another policy.
async fn server_with(change: impl FnOnce(&mut HttpConfig), change_policy: impl FnOnce(&mut Rules)) -> Server {
    let mut rules = Rules {
        allow_repos: vec![],
        selection: Selection::default(),
        destinations: super::testing::destinations("127.0.0.1:5555/totem"),
    };
    change_policy(&mut rules);
    let dir = TempDir::new().unwrap();
    let token = |name: &str, role| ApiToken { name: name.into(), role, token: Zeroizing::new(name.repeat(8)) };
    let mut config = HttpConfig {
        hook_secret: Some(Zeroizing::new(SECRET.into())),
        ci_token: Some(Zeroizing::new(CI_TOKEN.into())),
        default_repo: None,
        tokens: vec![token("read", Role::Read), token("build", Role::Build), token("admin", Role::Admin)],
        dialects: Dialects::parse("totem,conveyor,generator").unwrap(),
        basic_auth: Some(BasicLogin { user: "conveyor".into(), password: Zeroizing::new("pass:word".into()) }),
        open_logs: false,
        log_heartbeat: Duration::from_secs(25),
        branch_head: Arc::new(|_, _| {
            Box::pin(async { Err(crate::http::NoHead::Host("no Git server in this test".into())) })
        }),
        open: false,
        cors_origins: vec![],
        hosts: vec!["ci.acme.org:8080".into()],
        list_oldest: false,
        host_of: Arc::new(|channel, destination| (channel == "post-build").then(|| format!("{destination}.example"))),
        engines: engines::handle(Vec::new()),
        data_dir: dir.path().into(),
        body_memory: 128 << 20,
        answer_memory: Default::default(),
    };
    change(&mut config);
    let store = Store::open(dir.path()).await.unwrap();
    let logs = Logs::open(dir.path().join("logs")).unwrap();
    let queue = QueueConfig {
        concurrency: 0,
        node: "test".into(),
        boot: "boot".into(),
        lease: LEASE,
        drain: Duration::ZERO,
        rules: crate::queue::Rules::default(),
        waits: crate::queue::Waits::default(),
        heart: Heartbeat::default(),
    };
    let (_, queue) = Queue::new(store.clone(), logs.clone(), queue);
    let mut loaded = Secrets::default();
    loaded.loaded = true;
    let (secrets, secrets_seen) = watch::channel(Arc::new(loaded));
    let (degraded, degraded_seen) = watch::channel(vec![]);
    let metrics = Metrics::new().unwrap();
    let heart = metrics.http.clone();
    let refused = vec![Zeroizing::new(SECRET.into())];
    let allowed_repos = AllowedRepos::new(&rules.allow_repos, crate::model::RepoCase::Ignore).unwrap();
    let policy = Policy::new(allowed_repos, rules.selection, rules.destinations, refused, secrets_seen.clone());
    let intake = Intake::new(policy, store.clone(), queue.clone(), metrics.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = super::testing::plain(listener);
    let stop = CancellationToken::new();
    let parts = Parts {
        store: store.clone(),
        logs: logs.clone(),
        queue,
        intake,
        secrets: secrets_seen,
        degraded: degraded_seen,
        metrics,
        places: serving.places.clone(),
        closing: stop.clone(),
    };
    let (router, _) = router(config, parts);
    tokio::spawn(serve(serving, router, heart, stop.clone()));
    crate::outbound::install_tls_provider();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    Server { base, http, store, logs, _secrets: secrets, degraded, _stop: stop.drop_guard(), _dir: dir }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.bytes().await.unwrap().into() }
}

impl Server {
    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.base))
    }

    fn as_role(&self, role: &str, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(role.repeat(8))
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.as_role("read", "GET", path)).await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        let request = self.as_role("build", "POST", path).header("content-type", "application/json");
        send(request.body(body.to_owned())).await
    }

    /// Makes a job and returns its id.
    async fn job(&self) -> JobId {
        let answer = self.post("/job", r#"{"owner":"acme","repo":"hello"}"#).await;
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Claims the oldest pending job.
    async fn claim(&self) -> Job {
        self.store.claim("test", LEASE).await.unwrap().unwrap()
    }

    async fn finish(&self, job: &Job, status: Status, stages: Stages) {
        let (digest, cause) = match status {
            Status::Success => (Some("sha256:1234".to_owned()), None),
            _ => (None, Some("the branch x does not exist".to_owned())),
        };
        let resolved_commit = Some("a".repeat(40).parse().unwrap());
        let outcome = Outcome {
            status,
            stages,
            resolved_commit,
            digest,
            cause,
            class: None,
            superseded_by: None,
            tags: Vec::new(),
        };
        self.store.finish(job.id, job.attempt, &outcome).await.unwrap();
        self.logs.end(job.id);
    }
}

fn now() -> Option<i64> {
    Some(Millis::now().0)
}
