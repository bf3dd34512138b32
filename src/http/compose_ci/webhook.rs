//! The webhook of compose-ci: GitHub's push event as its `compose_ci/server.py` read it, and the call by hand of its README.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::line;
use super::push::CiPush;
use crate::http::error::ApiError;
use crate::http::hooks::webhook::WebhookKind;
use crate::http::hooks::{DELETED, DUPLICATE, NO_PUSH, SKIPPED, delivery_id};
use crate::http::{ApiState, body, messages};
use crate::intake::Pushed;
use crate::store::{Added, NewDelivery};

/// The route of deliveries, whatever the address was. It has no token.
const ROUTE: &str = "/?token";

/// Takes a webhook: the id of its job, or why there is none, as a line of text. The token is checked before the body is read.
pub async fn receive(
    State(api): State<Arc<ApiState>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let credentials = api.credentials.present();
    if !credentials.ci_token.as_ref().is_some_and(|token| token.admits(&uri)) {
        return Err(ApiError::new(&messages::CI_TOKEN));
    }
    let webhook = WebhookKind::read(&headers);
    let body = api.bodies.read(&headers, body, body::HOOK_LIMIT).await?;
    if !matches!(webhook.event, "" | "push") {
        return Ok(skipped(NO_PUSH));
    }
    let json = json(body.bytes());
    let push: CiPush =
        serde_json::from_slice(&json).map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    if push.is_other_event() {
        return Ok(skipped(NO_PUSH));
    }
    if push.is_deletion() {
        return Ok(skipped(DELETED));
    }
    let mut digest = Sha256::new_with_prefix(&*json);
    if !push.is_reported() {
        // A person who calls again wants another build.
        digest.update(Uuid::now_v7());
    }
    let delivery = NewDelivery {
        route: ROUTE,
        digest: hex::encode(digest.finalize()),
        delivery_id: delivery_id(&headers),
        forge: webhook.forge,
        event: "push".into(),
    };
    drop(json);
    drop(body);
    let added = match api.intake.push(push.read(api.default_repo.as_ref(), delivery)?).await? {
        Pushed::Job(added) => *added,
        Pushed::Skipped(reason) => return Ok(skipped(reason.text())),
    };
    let (job, is_duplicate) = match added {
        Added::New(job) => (job, false),
        Added::Duplicate(job) => (job, true),
    };
    let mut response = line(StatusCode::ACCEPTED, &job.id.to_string());
    if is_duplicate {
        response.headers_mut().insert(DUPLICATE, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Returns the JSON of a body: the body itself, or the field `payload` of a form. The body's type is not looked at, because
/// curl calls a body a form unless it is told otherwise.
fn json(body: &[u8]) -> Cow<'_, [u8]> {
    if body.starts_with(b"payload=")
        && let Some((_, payload)) = form_urlencoded::parse(body).next()
    {
        return payload.into_owned().into_bytes().into();
    }
    match String::from_utf8_lossy(body) {
        Cow::Borrowed(_) => body.into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
}

/// Answers a webhook that makes no job.
fn skipped(reason: &'static str) -> Response {
    let mut response = line(StatusCode::ACCEPTED, &format!("Nothing is built: {reason}"));
    response.headers_mut().insert(SKIPPED, HeaderValue::from_static(reason));
    response
}
