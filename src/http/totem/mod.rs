//! The dialect of totem, whose docker-image-factory this daemon replaces: its requests, its views of a job, its JSON Schemas, and
//! the form of its errors. A dialect uses `intake`, the store and the logs, and never another dialect.

mod array;
mod jobs;
mod list;
mod render;
mod request;
mod schemas;
pub mod views;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::{ApiState, log};
pub use render::render;
#[cfg(test)]
pub use render::violation;
#[cfg(fuzzing)]
pub use request::{read as read_job, read_rebuild};

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/", get(schemas::root)).route("/_schema/{name}", get(schemas::schema))
}

pub fn job_routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/job", get(list::list).post(jobs::create))
        .route("/job/{id}", get(jobs::show))
        .route("/job/{id}/log", get(log::read))
        .route("/job/{id}/cancel", post(jobs::cancel))
        .route("/job/{id}/rebuild", post(jobs::rebuild))
}
