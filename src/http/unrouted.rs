//! The requests that no route takes, by their path or their method. api.md has the order: an exact route, then the doors that
//! take any address, then totem's 404 or 405.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::error::ApiError;

/// Header by whose presence Conveyor knew a webhook, at whatever path and by whatever method.
pub const EVENT: &str = "x-github-event";

/// Answers a request that no route takes. A further door that takes any address has its place here, in the order of api.md.
pub async fn answer(request: Request, webhooks: Option<Router>, otherwise: fn(&Request) -> ApiError) -> Response {
    match webhooks.filter(|_| request.headers().contains_key(EVENT)) {
        Some(webhooks) => match TowerToHyperService::new(webhooks).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => otherwise(&request).into_response(),
    }
}
