//! The HTTP API: a folder a dialect (`totem`, `conveyor`, `generator`, `compose_ci`), a file a forge (`hooks`), and our own endpoints beside them. `messages` has every
//! message, `error` the facts that a dialect renders, `envelope` what every answer passes through. Handlers parse and render;
//! they reach `intake`, the store, the logs and a handle of the queue, so none of them can build.

mod answers;
mod auth;
mod body;
mod compose_ci;
mod conveyor;
mod credentials;
mod deliveries;
mod engines;
mod envelope;
mod error;
mod etag;
mod extract;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generator;
mod health;
mod hooks;
mod ids;
mod log;
mod messages;
mod metrics;
mod notifications;
mod page;
mod range;
mod secrets;
mod serve;
#[cfg(any(test, fuzzing))]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod totem;
mod unrouted;
mod violation;
mod warning;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::intake::Intake;
use crate::logs::Logs;
use crate::memory::MemoryPool;
use crate::metrics::Metrics;
use crate::model::{ApiToken, BasicLogin, CommitId, Dialect, Dialects, RepoName};
use crate::queue::QueueHandle;
use crate::secrets::Secrets;
use crate::store::Store;
use answers::Answers;
use auth::Guard;

pub use credentials::{Credentials, with_token};
pub use engines::EngineHandle;
pub use files::{NoFile, OpenFile, OpenedFile};
pub use health::{NEWEST_JOB, without_repositories};
pub use messages::advice;
pub use serve::{FilesState, Listener, Places, ServerCertificate, Serving, TrustedProxies, serve};

/// The settings of the API.
pub struct HttpConfig {
    /// Secret of the webhooks. Without one they are refused, and the answer says what to set.
    pub hook_secret: Option<Zeroizing<String>>,
    /// Token of compose-ci's webhooks. Without one they are refused.
    pub ci_token: Option<Zeroizing<String>>,
    /// GITHUB_REPO: repository of a call of compose-ci's that names none.
    pub default_repo: Option<RepoName>,
    pub tokens: Vec<ApiToken>,
    /// The APIs that are served.
    pub dialects: Dialects,
    /// BASIC_AUTH
    pub basic_auth: Option<BasicLogin>,
    /// CONVEYOR_OPEN_LOGS
    pub open_logs: bool,
    /// The time between two heartbeats in a log that is followed by Conveyor's API.
    pub log_heartbeat: Duration,
    pub branch_head: BranchHead,
    /// True for `API_AUTH=none`: a request without a token is an admin's, unless a foreign web page sent it.
    pub open: bool,
    /// `https://host[:port]` of the web pages that may read answers.
    pub cors_origins: Vec<String>,
    /// Names, with or without a port, that the `Host` of a request without a token or with a password may have: the
    /// listening address, BASE_URL's host and HOSTS. `localhost` and IP addresses are always allowed.
    pub hosts: Vec<String>,
    /// True for `TOTEM_LIST=oldest`: a list without a limit and an order is whole, and begins with the oldest job.
    pub list_oldest: bool,
    pub host_of: HostOf,
    pub engines: EngineHandle,
    /// The folder whose disk the metrics show.
    pub data_dir: PathBuf,
    /// Memory for all bodies that are being read, together.
    pub body_memory: u64,
    /// Memory for all answers with jobs, and for readers of logs.
    pub answer_memory: MemoryPool,
}

/// Returns the host of a channel's destination, if a present setting names it.
pub type HostOf = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Returns the commit at the head of a branch, or `None` if there is no such branch. The answer comes within the time that a
/// request has.
pub type BranchHead =
    Arc<dyn Fn(RepoName, String) -> BoxFuture<'static, Result<Option<CommitId>, NoHead>> + Send + Sync>;

/// Why the head of a branch is not known, in one line.
pub enum NoHead {
    /// The host has no such repository, or does not let us read it.
    Repository(String),
    /// The host gives no answer.
    Host(String),
}

/// The parts of the daemon that the handlers share.
pub struct Parts {
    pub store: Store,
    pub logs: Logs,
    pub queue: QueueHandle,
    pub intake: Intake,
    pub secrets: watch::Receiver<Arc<Secrets>>,
    /// Why the daemon is degraded, one line a reason, without secrets.
    pub degraded: watch::Receiver<Vec<String>>,
    pub metrics: Metrics,
    pub places: Arc<Places>,
    /// Cancelled when the server stops.
    pub closing: CancellationToken,
}

/// The state of every handler.
struct ApiState {
    credentials: Credentials,
    default_repo: Option<RepoName>,
    list_oldest: bool,
    open_logs: bool,
    log_heartbeat: Duration,
    branch_head: BranchHead,
    host_of: HostOf,
    engines: EngineHandle,
    data_dir: PathBuf,
    bodies: body::Budget,
    answers: Answers,
    store: Store,
    logs: Logs,
    queue: QueueHandle,
    intake: Intake,
    secrets: watch::Receiver<Arc<Secrets>>,
    degraded: watch::Receiver<Vec<String>>,
    metrics: Metrics,
    places: Arc<Places>,
    closing: CancellationToken,
}

/// Makes the router of every route. Its credentials can be replaced.
pub fn router(config: HttpConfig, parts: Parts) -> (Router, Credentials) {
    let Parts { store, logs, queue, intake, secrets, degraded, metrics, places, closing } = parts;
    let guard = Guard::new(config.open, &config.hosts, &config.cors_origins);
    let credentials = Credentials::new(
        config.hook_secret,
        config.ci_token.as_ref(),
        &config.tokens,
        config.basic_auth.as_ref(),
        guard,
    );
    let api = Arc::new(ApiState {
        credentials: credentials.clone(),
        default_repo: config.default_repo,
        list_oldest: config.list_oldest,
        open_logs: config.open_logs,
        log_heartbeat: config.log_heartbeat,
        branch_head: config.branch_head,
        host_of: config.host_of,
        engines: config.engines,
        data_dir: config.data_dir,
        bodies: body::Budget::new(config.body_memory),
        answers: Answers::new(config.answer_memory),
        store,
        logs,
        queue,
        intake,
        secrets,
        degraded,
        metrics,
        places,
        closing,
    });
    let counted = from_fn_with_state(api.clone(), metrics::count_webhook);
    // The routes of jobs are also those of the command line, so they are served whatever DIALECTS says.
    let mut routes = own_routes().merge(totem::job_routes());
    if config.dialects.has(Dialect::Totem) {
        routes = routes.merge(totem::routes()).merge(hooks::routes().route_layer(counted.clone()));
    }
    if config.dialects.has(Dialect::Generator) {
        routes = routes.merge(generator::routes());
    }
    let mut doors = unrouted::Doors::default();
    if config.dialects.has(Dialect::Conveyor) {
        routes = routes.merge(conveyor::routes());
        doors.conveyor = Some(conveyor::webhooks().layer(counted.clone()).with_state(api.clone()));
    }
    if config.dialects.has(Dialect::ComposeCi) {
        doors.compose_ci = Some(compose_ci::webhooks().layer(counted).with_state(api.clone()));
    }
    (enveloped(routes.with_state(api), doors, config.cors_origins), credentials)
}

/// The endpoints that no program before this one had.
fn own_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/notifications", get(notifications::list))
        .route("/notifications/{id}/replay", post(notifications::replay))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/secrets", get(secrets::show))
        .route("/engines", get(engines::list))
        .route("/engines/{name}/cordon", post(engines::cordon))
        .route("/engines/{name}/uncordon", post(engines::uncordon))
        .route("/engines/{name}/drain", post(engines::drain))
        .route("/job/{id}/files/{*path}", get(files::read))
        .route("/tokens", get(tokens::list).post(tokens::add))
        .route("/tokens/{name}/revoke", post(tokens::revoke))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
}

/// Adds what holds for every request, and the answers to requests that no route takes. Errors that no dialect has
/// rendered are rendered as totem's.
fn enveloped(routes: Router, doors: unrouted::Doors, cors_origins: Vec<String>) -> Router {
    let origins: Arc<[String]> = cors_origins.into();
    let other_path = doors.clone();
    let routes = routes
        .fallback(|request| unrouted::answer(request, other_path, error::unknown_path))
        .method_not_allowed_fallback(|request| unrouted::answer(request, doors, error::wrong_method));
    let routes = routes.layer(from_fn(serve::admit));
    // The layers stand around the whole router, because axum sets `Allow` outside of a route's own layers. A 405
    // skips the layers of a dialect's routes unless these have a fallback of their own, because the fallback here answers.
    let router = envelope::rendered_by(Router::new().fallback_service(routes), totem::render);
    router.layer(from_fn_with_state(origins, envelope::wrap))
}
