//! The dialect of containerops/generator (Nov 2015 to March 2016): a GET that brings a Dockerfile and makes an image of it,
//! and the job's log as the pieces of JSON that a Docker Engine writes. Its README and its test page are the clients.

mod build;
mod dockerfile;
mod limits;
mod log;
mod pieces;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::error::ApiError;
use super::{ApiState, envelope};

pub fn routes() -> Router<Arc<ApiState>> {
    // HEAD has a handler of its own, because axum would answer it by that of GET, which makes a job.
    let routes = Router::new()
        .route("/b1/build", get(build::create).head(build::refuse_head))
        .route("/b1/build/", get(build::create).head(build::refuse_head))
        .route("/v1/build", get(build::create).head(build::refuse_head))
        .route("/v1/build/", get(build::create).head(build::refuse_head))
        .route("/b1/build/log/{protocol}/{id}", get(log::read));
    envelope::rendered_by(routes, render)
}

/// Renders an error as one line of text.
fn render(error: &ApiError, request_id: &str) -> Response {
    (error.status(), text(error.text(request_id) + "\n")).into_response()
}

/// Answers with plain text.
fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
