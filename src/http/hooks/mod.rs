//! The webhooks of the forges. A file a forge, with two functions: `verify` proves the sender, `parse` makes a
//! [`ForgePush`](crate::intake::ForgePush) of the body. Nothing behind them knows which forge it was.

mod github;
mod signature;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::error::ApiError;
use super::totem::views;
use super::{ApiState, body, messages};
use crate::store::Added;

/// Marks the answer to a delivery that came before: the job is the one that it made then.
pub const DUPLICATE: HeaderName = HeaderName::from_static("x-image-factory-duplicate");

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/hooks/github", post(github))
}

/// `POST /hooks/github`
async fn github(State(api): State<Arc<ApiState>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let secret = api.hook_secret.as_ref().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or(ApiError::new(&messages::NO_HOOK_SECRET))?;
    let body = api.bodies.read(body, body::HOOK_LIMIT).await?;
    if !github::verify(&headers, body.bytes(), secret.as_bytes()) {
        return Err(ApiError::new(&messages::SIGNATURE));
    }
    let push = github::parse(&headers, body.bytes())?;
    drop(body);
    let Some(push) = push else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    match api.intake.push(push).await? {
        Added::New(job) => views::job(StatusCode::CREATED, &job),
        Added::Duplicate(job) => {
            let mut response = views::job(StatusCode::CREATED, &job)?;
            response.headers_mut().insert(DUPLICATE, HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}
