//! The HTTP API: totem's wire and ours. One file an endpoint family; `error` alone knows status codes; `envelope` is what
//! every answer passes through. No handler can build: they reach the store, the logs and a handle of the queue.

mod auth;
mod body;
mod deliveries;
mod envelope;
mod error;
mod health;
mod hooks;
mod log;
mod metrics;
mod notifications;
mod page;
mod range;
mod serve;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod totem;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::intake::Intake;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::model::{ApiToken, Role};
use crate::queue::QueueHandle;
use crate::secrets::Secrets;
use crate::store::Store;
use auth::{Guard, Tokens};
use hooks::github;
use totem::{jobs, schemas};

pub use health::reasons;
pub use serve::serve;

pub struct HttpConfig {
    /// Without it webhooks are refused with what to set.
    pub hook_secret: Option<Zeroizing<String>>,
    pub tokens: Vec<ApiToken>,
    /// `API_AUTH=none`: whoever has no token is an admin, unless a foreign web page sent him.
    pub open: bool,
    /// `https://host[:port]` of the web pages that may read answers, or `*`.
    pub cors_origins: Vec<String>,
    /// Names, with or without a port, that a `Host` header may have where nothing proves the sender: the listening
    /// address, BASE_URL's host. `localhost` and plain IP addresses always may.
    pub hosts: Vec<String>,
    pub host_of: HostOf,
    pub engines_up: EnginesUp,
    /// Whose disk is shown in the metrics.
    pub data_dir: PathBuf,
}

/// The host of a channel's destination, if that is configured now.
pub type HostOf = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Each engine by name, and whether a job can have it.
pub type EnginesUp = Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

/// What the handlers share.
struct Api {
    hook_secret: Option<Zeroizing<String>>,
    tokens: Tokens,
    guard: Option<Guard>,
    host_of: HostOf,
    bodies: body::Budget,
    store: Store,
    logs: Logs,
    queue: QueueHandle,
    intake: Intake,
    secrets: watch::Receiver<Arc<Secrets>>,
    troubles: watch::Receiver<Vec<String>>,
    engines_up: EnginesUp,
    data_dir: PathBuf,
    metrics: Metrics,
}

#[allow(clippy::too_many_arguments, reason = "a list of the parts that the handlers share")]
/// Makes every route.
pub fn router(
    config: HttpConfig,
    store: Store,
    logs: Logs,
    queue: QueueHandle,
    intake: Intake,
    secrets: watch::Receiver<Arc<Secrets>>,
    troubles: watch::Receiver<Vec<String>>,
    metrics: Metrics,
) -> Router {
    let api = Arc::new(Api {
        tokens: Tokens::new(&config.tokens),
        guard: config.open.then(|| Guard::new(&config.hosts, &config.cors_origins)),
        host_of: config.host_of,
        hook_secret: config.hook_secret,
        bodies: body::Budget::default(),
        store,
        logs,
        queue,
        intake,
        secrets,
        troubles,
        engines_up: config.engines_up,
        data_dir: config.data_dir,
        metrics,
    });
    let counted = from_fn_with_state(api.clone(), metrics::count_webhook);
    let routes = Router::new()
        .route("/", get(schemas::root))
        .route("/_schema/{name}", get(schemas::schema))
        .route("/job", get(jobs::list).post(jobs::create))
        .route("/job/{id}", get(jobs::show))
        .route("/job/{id}/log", get(log::read))
        .route("/job/{id}/cancel", post(jobs::cancel))
        .route("/job/{id}/rebuild", post(jobs::rebuild))
        .route("/notifications", get(notifications::list))
        .route("/notifications/{id}/replay", post(notifications::replay))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/hooks/github", post(github::hook).route_layer(counted))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .with_state(api);
    enveloped(routes, config.cors_origins)
}

/// What holds for every route, and for none.
fn enveloped(routes: Router, cors_origins: Vec<String>) -> Router {
    let origins: Arc<[String]> = cors_origins.into();
    let routes = routes.fallback(error::unknown_path).method_not_allowed_fallback(error::wrong_method);
    // Around the whole router: axum sets `Allow` outside of a route's own layers.
    Router::new().fallback_service(routes).layer(from_fn_with_state(origins, envelope::wrap))
}
