use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use crate::secrets::Secrets;

/// `GET /health`: the process is alive.
pub async fn health() -> Response {
    Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// `GET /ready`: 503 only when work cannot be stored. An engine or etcd that is away is a reason to look, not one to
/// take webhooks away from this daemon: what it stored is built when they are back.
pub async fn ready(State(api): State<Arc<Api>>) -> Response {
    if let Err(error) = api.store.ping().await {
        tracing::error!(%error, "not ready: work cannot be stored");
        let reasons = ["jobs cannot be stored: the log says why"];
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "reasons": reasons })))
            .into_response();
    }
    let reasons = reasons(&api.secrets.borrow(), &api.troubles.borrow());
    let status = if reasons.is_empty() { "ready" } else { "degraded" };
    Json(json!({ "status": status, "reasons": reasons })).into_response()
}

/// Why the daemon is not as it should be, if so; one line each, nothing secret.
pub fn reasons(secrets: &Secrets, troubles: &[String]) -> Vec<String> {
    let mut reasons = secrets.trouble.clone();
    if !secrets.loaded && reasons.is_empty() {
        reasons.push("the secrets are not loaded yet: jobs wait for them".into());
    }
    reasons.extend(troubles.iter().cloned());
    reasons
}
