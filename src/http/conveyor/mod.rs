//! The dialect of Conveyor (remind101/conveyor): builds, artifacts, logs, and GitHub's webhooks at any address. Answers have the
//! bytes that were recorded from the program itself: one line of JSON as `text/plain`, with its keys in alphabetic order, and 200
//! for what was made.

mod builds;
mod lookup;
mod render;
mod request;
mod stream;
mod views;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::{ApiState, envelope};

pub fn routes() -> Router<Arc<ApiState>> {
    let routes = Router::new()
        .route("/builds", post(builds::create))
        .route("/builds/{id}", get(builds::show))
        .route("/builds/{owner}/{repo}", get(builds::show_by_sha))
        .route("/artifacts/{id}", get(builds::artifact))
        .route("/artifacts/{owner}/{repo}", get(builds::artifact_by_sha))
        .route("/logs/{id}", get(stream::read));
    envelope::rendered_by(routes, render::json)
}

/// Takes a webhook at any path and by any method.
pub fn webhooks() -> Router<Arc<ApiState>> {
    envelope::rendered_by(Router::new().fallback(webhook::receive), render::text)
}
