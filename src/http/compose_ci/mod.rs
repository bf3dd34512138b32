//! The dialect of docteurklein/compose-ci: a webhook at any address, which a token in the query admits. Answers are text, and
//! a 401 has no body. The manual call of its README is a webhook, too.

mod push;
mod token;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::{ApiState, envelope};

pub use token::TokenDigest;

/// Takes a webhook at any path.
pub fn webhooks() -> Router<Arc<ApiState>> {
    envelope::rendered_by(Router::new().fallback(webhook::receive), render)
}

/// Renders an error as a line of text, and a 401 without a body, as compose-ci did.
fn render(error: &ApiError, request_id: &str) -> Response {
    match error.status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED.into_response(),
        status => line(status, &error.text(request_id)),
    }
}

fn line(status: StatusCode, text: &str) -> Response {
    let text_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(header::CONTENT_TYPE, text_type)], format!("{text}\n")).into_response()
}

/// Reads a body as a push, whose delivery is of no interest.
#[cfg(fuzzing)]
pub fn fuzz(body: &[u8]) {
    let Ok(push) = serde_json::from_slice::<push::CiPush>(body) else { return };
    let (forge, event) = (crate::model::Forge::GitHub, "push".to_owned());
    let delivery = crate::store::NewDelivery { route: "/", digest: String::new(), delivery_id: None, forge, event };
    let _ = (push.is_other_event(), push.is_deletion(), push.is_reported());
    let _ = push.read(None, delivery);
}
