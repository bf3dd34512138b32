//! The HTTP API: a folder a dialect (`totem`), a file a forge (`hooks`), and our own endpoints beside them. `messages` has every
//! message, `error` the facts that a dialect renders, `envelope` what every answer passes through. Handlers parse and render;
//! they reach `intake`, the store, the logs and a handle of the queue, so none of them can build.

mod auth;
mod body;
mod credentials;
mod deliveries;
mod envelope;
mod error;
mod etag;
mod extract;
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
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod totem;
mod violation;
mod warning;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::intake::Intake;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::model::ApiToken;
use crate::queue::QueueHandle;
use crate::secrets::Secrets;
use crate::store::Store;
use auth::Guard;

pub use credentials::Credentials;
pub use health::NEWEST_JOB;
pub use messages::advice;
pub use serve::{FilesState, Listener, Places, ServerCertificate, Serving, serve};

/// The settings of the API.
pub struct HttpConfig {
    /// Secret of the webhooks. Without one they are refused, and the answer says what to set.
    pub hook_secret: Option<Zeroizing<String>>,
    pub tokens: Vec<ApiToken>,
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
    pub engines_up: EnginesUp,
    /// The folder whose disk the metrics show.
    pub data_dir: PathBuf,
}

/// Returns the host of a channel's destination, if a present setting names it.
pub type HostOf = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Returns each engine by name, and whether a job can have it.
pub type EnginesUp = Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

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
    guard: Guard,
    list_oldest: bool,
    host_of: HostOf,
    engines_up: EnginesUp,
    data_dir: PathBuf,
    bodies: body::Budget,
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
    let credentials = Credentials::new(config.hook_secret, &config.tokens);
    let api = Arc::new(ApiState {
        credentials: credentials.clone(),
        guard: Guard::new(config.open, &config.hosts, &config.cors_origins),
        list_oldest: config.list_oldest,
        host_of: config.host_of,
        engines_up: config.engines_up,
        data_dir: config.data_dir,
        bodies: body::Budget::default(),
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
    let hooks = hooks::routes().route_layer(counted);
    let routes = Router::new().merge(totem::routes()).merge(hooks).merge(own_routes()).with_state(api);
    (enveloped(routes, config.cors_origins), credentials)
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
        .route("/tokens", get(tokens::list).post(tokens::add))
        .route("/tokens/{name}/revoke", post(tokens::revoke))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
}

/// Adds what holds for every request, and the answers to requests that no route takes. Errors that no dialect has
/// rendered are rendered as totem's.
fn enveloped(routes: Router, cors_origins: Vec<String>) -> Router {
    let origins: Arc<[String]> = cors_origins.into();
    let routes = routes.fallback(error::unknown_path).method_not_allowed_fallback(error::wrong_method);
    let routes = routes.layer(from_fn(serve::keep_for_urgent));
    // The layers stand around the whole router, because axum sets `Allow` outside of a route's own layers. A 405
    // skips the layers of a dialect's routes unless these have a fallback of their own, because the fallback here answers.
    let router = envelope::rendered_by(Router::new().fallback_service(routes), totem::render);
    router.layer(from_fn_with_state(origins, envelope::wrap))
}
