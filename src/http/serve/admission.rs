//! The layer that decides whether a request may have an answer on its connection's place.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::places::ConnectionPlace;
use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::unrouted::{EVENT, has_token};

/// Time for a whole request and its answer at a kept place. Forges wait for 10 s, and may have to wait for a place first.
const KEPT_ANSWER: Duration = Duration::from_secs(5);

/// Refuses what a connection with a kept place may not ask for, ends what takes too long there, and counts what a proxy
/// passes on for those who sent it. It is a layer of the routes, so a webhook that a dialect takes where no route is passes
/// by its path.
pub async fn admit(request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Arc<ConnectionPlace>>().cloned() else {
        return next.run(request).await;
    };
    let full = || ApiError::new(&messages::PLACES).into_response();
    let is_urgent = is_urgent(&request);
    let sender = connection.is_proxy.then(|| connection.places.proxies().forwarded(request.headers())).flatten();
    let place = match sender.map(|sender| connection.places.take_forwarded(sender, is_urgent)).transpose() {
        Ok(place) => place.flatten(),
        Err(error) => return error.into_response(),
    };
    let response = match &connection.kept {
        None => next.run(request).await,
        Some(kept) if !kept.begin() || !is_urgent => return full(),
        Some(_) => tokio::time::timeout(KEPT_ANSWER, next.run(request)).await.unwrap_or_else(|_| full()),
    };
    let Some(place) = place else { return response };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let _ = connection.upgraded.set(place);
        return response;
    }
    // The place is held until the body has gone out.
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &place;
            frame
        }))
    })
}

/// True for webhooks and for questions about the daemon's health.
fn is_urgent(request: &Request) -> bool {
    let path = request.uri().path();
    let is_routed = request.extensions().get::<MatchedPath>().is_some();
    // `/` has a route for GET alone.
    let is_elsewhere = !is_routed || (path == "/" && request.method() == Method::POST);
    let has_door = request.headers().contains_key(EVENT) || has_token(request.uri());
    let is_webhook = path.starts_with("/hooks/") || (is_elsewhere && has_door);
    matches!(path, "/health" | "/ready" | "/metrics") || is_webhook
}
