//! The layers that every request passes through. CORS, the time limit, panics and request ids are our own and not tower-http's,
//! because of its four layers only the one for panics matches our wire: its CORS answers every `OPTIONS` itself, its timeout has no body
//! and no `Retry-After`, and its request id accepts any text of the sender.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use uuid::Uuid;

use super::error::ApiError;
use super::{auth, messages};

/// The time from a request's headers to the answer's headers. A body may stream for longer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name that totem gave the id in its answers.
const TOTEMS_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The headers that a page of another origin may read.
const EXPOSED: &str = "Link, ETag, Warning, Content-Range, Request-Id, X-Request-Id, X-Image-Factory-Duplicate";

/// Writes an error as one dialect does. The text is the request's id.
pub type Render = fn(&ApiError, &str) -> Response;

#[derive(Clone)]
struct RequestId(HeaderValue);

/// Marks an answer whose error has been rendered, so that an outer layer leaves it alone.
#[derive(Clone)]
struct Rendered;

/// Limits the time of the routes' handlers, catches their panics, and has their errors rendered by `render`. A dialect
/// that renders errors in another way than totem wraps its routes in this. A layer that adds a header stands around the
/// result, because an error loses the headers of a layer inside.
pub fn rendered_by<S: Clone + Send + Sync + 'static>(routes: Router<S>, render: Render) -> Router<S> {
    routes.layer(from_fn_with_state(render, answer))
}

async fn answer(State(render): State<Render>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let may_offer_basic = auth::may_offer_basic(request.headers());
    let answer = AssertUnwindSafe(tokio::time::timeout(RESPONSE_TIMEOUT, next.run(request))).catch_unwind().await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::new(&messages::TIMEOUT).into_response(),
        Err(panic) => ApiError::Internal(format!("the handler panicked: {}", text_of(&*panic))).into_response(),
    };
    let is_fault = response.status() == StatusCode::INTERNAL_SERVER_ERROR;
    let error = match response.extensions_mut().remove::<Arc<ApiError>>() {
        Some(error) => error,
        None if is_fault && response.extensions().get::<Rendered>().is_none() => {
            Arc::new(ApiError::Internal("unknown".into()))
        }
        None => return response,
    };
    let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    if let Some(cause) = error.cause() {
        // The path is logged without its query, because a query may carry a token.
        tracing::error!(request = id, %method, path = uri.path(), cause, "a request failed");
    }
    let mut rendered = render(&error, id);
    let is_challenge = rendered.headers().contains_key(header::WWW_AUTHENTICATE);
    error.add_headers(rendered.headers_mut());
    if may_offer_basic && !is_challenge && rendered.headers().contains_key(header::WWW_AUTHENTICATE) {
        let basic = HeaderValue::from_static("Basic realm=\"Image Factory\"");
        rendered.headers_mut().append(header::WWW_AUTHENTICATE, basic);
    }
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        rendered.headers_mut().insert(header::ALLOW, allow);
    }
    rendered.extensions_mut().insert(Rendered);
    rendered
}

/// Gives every request an id, and the answer the headers that all answers have: CORS for the configured origins among
/// them.
pub async fn wrap(State(origins): State<Arc<[String]>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    if let Some(uri) = without_runs(request.uri()) {
        *request.uri_mut() = uri;
    }
    let origin = allowed_origin(&origins, request.headers());
    let preflight = origin.is_some()
        && request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let status = response.status();
    let headers = response.headers_mut();
    if status != StatusCode::METHOD_NOT_ALLOWED {
        // axum adds the header to whatever answers in the place of a 405, and so to a webhook's answer.
        headers.remove(header::ALLOW);
    } else if let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) {
        // axum writes `GET,HEAD,POST`; the original wrote `GET, POST`.
        let allow: Vec<&str> = allow.split(',').filter(|method| *method != "HEAD").collect();
        if let Ok(allow) = HeaderValue::from_str(&allow.join(", ")) {
            headers.insert(header::ALLOW, allow);
        }
    }
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(TOTEMS_REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        if preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            let allowed = HeaderValue::from_static(
                "Authorization, Content-Type, If-None-Match, Last-Event-ID, Range, X-Request-Id",
            );
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    response
}

/// Returns the address with each run of `/` in its path as one, as restify 2 read it, the web framework of totem. `None` if
/// there is no run.
fn without_runs(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path += "?";
        path += query;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns the sender's id if it cannot spoil a log, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_harmless = |id: &&HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(|&b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    headers.get(&REQUEST_ID).filter(is_harmless).cloned().unwrap_or_else(|| {
        let mut buffer = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// Returns the request's `Origin` if its pages may read answers.
fn allowed_origin(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN).filter(|_| !origins.is_empty())?;
    origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
