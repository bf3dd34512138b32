use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ApiState;

/// `GET /health`: the process is alive.
pub async fn health() -> Response {
    Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// `GET /ready`: 503 only when jobs cannot be stored. An engine or etcd that is away makes the daemon degraded, but
/// webhooks should still come to it, because it builds what it stored when they are back.
pub async fn ready(State(api): State<Arc<ApiState>>) -> Response {
    if let Err(error) = api.store.ping().await {
        tracing::error!(%error, "not ready: work cannot be stored");
        let reasons = ["jobs cannot be stored: the log has the cause"];
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "reasons": reasons })))
            .into_response();
    }
    let reasons = api.degraded.borrow().clone();
    let status = if reasons.is_empty() { "ready" } else { "degraded" };
    Json(json!({ "status": status, "reasons": reasons })).into_response()
}
