use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::error::ApiError;

/// Media type of every answer, because Conveyor set none and Go guessed it.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

#[derive(Serialize)]
struct ErrorView<'a> {
    id: &'a str,
    message: &'a str,
}

/// Returns one line of JSON.
pub fn line(status: StatusCode, view: &impl Serialize) -> Result<Response, ApiError> {
    let json = serde_json::to_string(view).map_err(|error| ApiError::Internal(format!("an answer: {error}")))?;
    Ok((status, [(header::CONTENT_TYPE, TEXT)], json + "\n").into_response())
}

/// Renders an error of the API as `{"id":…,"message":…}`. Conveyor's client takes whatever has the id `not_found` as not found,
/// and compares the whole error, so its message is always the same.
pub fn json(error: &ApiError, request_id: &str) -> Response {
    let (status, text) = (error.status(), error.text(request_id));
    let (id, message) = match status {
        StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_static("Basic realm=\"Restricted\"");
            let headers = [(header::CONTENT_TYPE, TEXT), (header::WWW_AUTHENTICATE, challenge)];
            return (status, headers, "Unauthorized\n").into_response();
        }
        StatusCode::NOT_FOUND => ("not_found", "resource was not found"),
        StatusCode::FORBIDDEN => ("forbidden", &*text),
        _ => ("internal_error", &*text),
    };
    line(status, &ErrorView { id, message }).unwrap_or_else(|_| status.into_response())
}

/// Renders an error of a webhook as a line of text.
pub fn text(error: &ApiError, request_id: &str) -> Response {
    (error.status(), [(header::CONTENT_TYPE, TEXT)], error.text(request_id) + "\n").into_response()
}
