use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::error::{ApiError, shortened};
use crate::http::messages;
use crate::http::violation::{Defect, Violation};

/// Renders an error as restify 2 did, the web framework of totem: `{"code":…,"message":…}`. The message of an invalid body is
/// a list of what its validator, z-schema 2, says.
pub fn render(error: &ApiError, request_id: &str) -> Response {
    let message = match error {
        ApiError::Invalid(violations) => violations.iter().map(violation).collect(),
        _ => Value::from(error.text(request_id)),
    };
    (error.status(), Json(json!({ "code": error.code(), "message": message }))).into_response()
}

pub fn violation(violation: &Violation) -> Value {
    let (code, message, params) = match &violation.defect {
        Defect::Missing { property } => {
            ("OBJECT_REQUIRED", messages::MISSING.with([&**property]), json!({ "property": property }))
        }
        Defect::WrongType { found, expected } => (
            "INVALID_TYPE",
            messages::WRONG_TYPE.with([*found, &**expected]),
            json!({ "type": found, "expected": expected }),
        ),
        Defect::TooLong { length, maximum } => (
            "MAX_LENGTH",
            messages::TOO_LONG.with([&*length.to_string(), &*maximum.to_string()]),
            json!({ "length": length, "maximum": maximum }),
        ),
        Defect::WrongPattern { text, pattern } => {
            ("PATTERN", messages::WRONG_PATTERN.with([*pattern, &*shortened(text)]), json!({ "pattern": pattern }))
        }
        Defect::WrongFormat { text, format, why } => (
            "INVALID_FORMAT",
            messages::WRONG_FORMAT.with([*format, &*shortened(text), &**why]),
            json!({ "format": format }),
        ),
        Defect::Unusable(message) => ("INVALID_FORMAT", message.clone(), json!({})),
    };
    json!({ "code": code, "message": message, "path": violation.path, "params": params })
}
