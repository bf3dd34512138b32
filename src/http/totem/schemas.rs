//! The JSON Schemas (draft 4, with hyper-schema links) that `Link: …; rel="describedBy"` points to.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::views;
use crate::http::error::{ApiError, shortened};
use crate::http::messages;

/// `GET /`
pub async fn root() -> Result<Response, ApiError> {
    views::json(StatusCode::OK, "application/json", r#"</_schema/ROOT>; rel="describedBy""#, &json!({}))
}

/// `GET /_schema/{name}`
pub async fn schema(name: Result<Path<String>, PathRejection>) -> Result<Response, ApiError> {
    let name = name.map_or_else(|_| "(not UTF-8)".into(), |Path(name)| name);
    let schema = match name.as_str() {
        "ROOT" => include_str!("schemas/ROOT.json"),
        "job" => include_str!("schemas/job.json"),
        "job-list" => include_str!("schemas/job-list.json"),
        "job-create" => include_str!("schemas/job-create.json"),
        "github-hook" => include_str!("schemas/github-hook.json"),
        _ => return Err(ApiError::with(&messages::UNKNOWN_SCHEMA, shortened(&name))),
    };
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], schema).into_response())
}
