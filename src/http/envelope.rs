use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use serde_json::json;
use uuid::Uuid;

use super::error::{Cause, Error};

/// From the request's headers to the answer's headers; a body may stream for as long as it likes.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request passes through: an id, the time limit, panics and other troubles of ours turned into a 500 that
/// names the id alone, and CORS headers for the configured origins.
pub async fn wrap(State(origins): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let origin = allowed_origin(&origins, request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let preflight = origin.is_some()
        && method == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let answer = AssertUnwindSafe(tokio::time::timeout(RESPONSE_TIMEOUT, next.run(request))).catch_unwind().await;
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Error::Timeout.into_response(),
            Err(panic) => Error::Internal(format!("the handler panicked: {}", text_of(&*panic))).into_response(),
        }
    };
    let cause = response.extensions_mut().remove::<Cause>();
    if cause.is_some() || response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        let (id, cause) = (id.to_str().unwrap_or_default(), cause.map_or_else(|| "unknown".into(), |cause| cause.0));
        // The path without its query: a query may carry a token.
        tracing::error!(request = id, %method, path = uri.path(), cause, "a request failed");
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            let message = format!("An internal error occurred; the log tells it under request id {id}");
            let body = Json(json!({ "code": "InternalError", "message": message }));
            response = (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
        }
    }
    let status = response.status();
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok())
    {
        // axum writes `GET,HEAD,POST`; the original wrote `GET, POST`.
        let allow: Vec<&str> = allow.split(',').filter(|method| *method != "HEAD").collect();
        if let Ok(allow) = HeaderValue::from_str(&allow.join(", ")) {
            headers.insert(header::ALLOW, allow);
        }
    }
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("Link, Content-Range, X-Request-Id, X-Image-Factory-Duplicate");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            let allowed = HeaderValue::from_static("Authorization, Content-Type, Range, X-Request-Id");
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    response
}

/// The sender's id if it is one that cannot spoil a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(|&b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    headers.get(&REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The request's `Origin`, if it is one of those that may read answers.
fn allowed_origin(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN).filter(|_| !origins.is_empty())?;
    origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
