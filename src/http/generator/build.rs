use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};

use super::{request, text};
use crate::http::auth::{ApiCaller, RepoCaller, has_bearer};
use crate::http::error::ApiError;
use crate::http::{ApiState, messages};
use crate::model::Role;

/// `GET /b1/build?imagename=…&dockerfile=…`: makes a job, and answers with its id in 32 hexadecimal digits and nothing else.
pub async fn create(State(api): State<Arc<ApiState>>, request: Request) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    refuse_browsers(&parts.headers)?;
    // A GET that makes a job needs what a POST needs.
    let named = api.credentials.present().tokens.find_anywhere(&parts.headers, &api.store).await?;
    let caller = ApiCaller::unlimited(RepoCaller::admit_as(&parts, named, &api.credentials.guard, Role::Build, true)?)?;
    let query = parts.uri.query().unwrap_or_default();
    let request = request::read(query, api.intake.policy().destinations())?;
    let job = api.intake.create(request, caller.0.requester()).await?;
    Ok(text(job.id.digits()))
}

/// `HEAD /b1/build`: makes no job.
pub async fn refuse_head() -> Response {
    let mut response = ApiError::with(&messages::WRONG_METHOD, Method::HEAD.as_str()).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// Refuses what a browser sends, by whatever page, link, image or prefetch: a page may name any address, and a browser adds
/// the password that it knows. `Sec-Fetch-*` (<https://www.w3.org/TR/fetch-metadata/>) is on every request to https and to
/// localhost. Requests by plain HTTP to other hosts lack it, but not the `User-Agent` that begins with `Mozilla/` in every
/// browser, which no page can change for an image or a link. A page cannot add a bearer token to these either.
fn refuse_browsers(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_browsers = |name: &header::HeaderName| {
        let name = name.as_str();
        let is_pages = matches!(name, "origin" | "referer" | "upgrade-insecure-requests");
        name.starts_with("sec-") || is_pages || matches!(name, "purpose" | "x-purpose" | "x-moz")
    };
    // Mail programs and others that show pictures say what they want.
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let wants_a_picture = accept.contains("image/") || accept.contains("text/html");
    let is_mozilla = headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    match headers.keys().any(is_browsers) || ((is_mozilla || wants_a_picture) && !has_bearer(headers)) {
        true => Err(ApiError::new(&messages::BROWSER)),
        false => Ok(()),
    }
}
