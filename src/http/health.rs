use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::ApiState;
use super::auth::ApiCaller;
use super::error::ApiError;

/// Begin of a reason for a failed job, before its repository.
pub const NEWEST_JOB: &str = "the newest job of ";
/// Part of the name of a secret that is for one owner or repository.
const REPOSITORY_KEY: &str = "github-keys/";

/// `GET /health`: the process is alive.
pub async fn health() -> Response {
    Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// `GET /ready`: 503 only when jobs cannot be stored. An engine or etcd that is away makes the daemon degraded, but
/// webhooks should still come to it, because it builds what it stored when they are back.
/// The reasons name repositories for a caller with a token for all of them alone.
pub async fn ready(State(api): State<Arc<ApiState>>, caller: Result<ApiCaller, ApiError>) -> Response {
    if let Err(error) = api.store.ping().await {
        tracing::error!(%error, "not ready: work cannot be stored");
        let reasons = ["jobs cannot be stored: the log has the cause"];
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "reasons": reasons })))
            .into_response();
    }
    let reasons = api.degraded.borrow().clone();
    let reasons = if caller.is_err() { without_repositories(reasons) } else { reasons };
    let status = if reasons.is_empty() { "ready" } else { "degraded" };
    Json(json!({ "status": status, "reasons": reasons })).into_response()
}

/// Returns the reasons why the daemon is degraded as everybody may see them: none names a repository or an owner.
pub fn without_repositories(mut reasons: Vec<String>) -> Vec<String> {
    reasons.iter_mut().for_each(hide_repository);
    reasons.dedup();
    reasons
}

/// Replaces a reason that names a repository or an owner.
fn hide_repository(reason: &mut String) {
    let subject = if reason.contains(REPOSITORY_KEY) {
        "a deploy key of one repository"
    } else if reason.starts_with(NEWEST_JOB) {
        "the newest job of one repository"
    } else {
        return;
    };
    *reason = format!("{subject} needs an operator: ask again with a token for all repositories to see the cause");
}
