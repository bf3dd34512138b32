use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiState;
use super::auth::ApiCaller;
use super::error::ApiError;
use crate::model::Millis;

#[derive(Serialize)]
struct SecretsView<'a> {
    place: &'a str,
    loaded: bool,
    secrets: Vec<SecretView>,
    trouble: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretView {
    name: String,
    fingerprint: Option<String>,
    valid: bool,
    load_time: Option<Millis>,
}

/// `GET /secrets`: what the daemon has read, by which `image-factory secrets put` knows that its value is used.
pub async fn show(State(api): State<Arc<ApiState>>, caller: ApiCaller) -> Result<Response, ApiError> {
    caller.admin()?;
    let read = api.secrets.borrow().clone();
    let secrets = read.stored().map(|secret| SecretView {
        name: secret.name,
        fingerprint: secret.fingerprint,
        valid: secret.is_well,
        load_time: secret.since,
    });
    let secrets = secrets.collect();
    let view = SecretsView { place: &read.place, loaded: read.loaded, secrets, trouble: &read.trouble };
    Ok(Json(view).into_response())
}
