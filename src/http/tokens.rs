//! Tokens that are made and revoked while the daemon runs, and the list of all tokens.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::auth::ApiCaller;
use super::error::{ApiError, shortened};
use super::{ApiState, body, messages};
use crate::model::{Millis, RepoLimits, Role};
use crate::store::TokenRecord;

/// Begin of a token, by which people and scanners of secrets know it.
const PREFIX: &str = "ift_";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView<'a> {
    name: &'a str,
    role: &'static str,
    /// `owner/*` and `owner/repo`; empty: all.
    repositories: &'a [String],
    /// `settings` or `store`.
    source: &'static str,
    create_time: Option<Millis>,
    created_by: Option<&'a str>,
    last_use_time: Option<Millis>,
    /// The token itself, in the answer to its making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenView<'a> {
    fn configured(name: &'a str, role: Role) -> Self {
        let (role, source) = (role.as_str(), "settings");
        let (create_time, created_by, last_use_time, token) = (None, None, None, None);
        Self { name, role, repositories: &[], source, create_time, created_by, last_use_time, token }
    }

    fn stored(record: &'a TokenRecord) -> Self {
        Self {
            name: &record.name,
            role: record.role.as_str(),
            repositories: &record.repositories,
            source: "store",
            create_time: Some(record.created),
            created_by: Some(&record.created_by),
            last_use_time: record.used,
            token: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    name: String,
    role: String,
    #[serde(default)]
    repositories: Vec<String>,
}

/// `GET /tokens`: those of the settings first, then those of the store.
pub async fn list(State(api): State<Arc<ApiState>>, caller: ApiCaller) -> Result<Response, ApiError> {
    caller.admin()?;
    let stored = api.store.tokens().await?;
    let credentials = api.credentials.present();
    let configured = credentials.tokens.all().map(|(name, role)| TokenView::configured(name, role));
    let views: Vec<TokenView> = configured.chain(stored.iter().map(TokenView::stored)).collect();
    Ok(Json(views).into_response())
}

/// `POST /tokens`: makes a token, which this answer alone shows.
pub async fn add(
    State(api): State<Arc<ApiState>>,
    caller: ApiCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.admin()?;
    let body = api.bodies.read(&headers, body, body::JOB_LIMIT).await?;
    let request = serde_json::from_slice(body.bytes());
    let request: TokenRequest = request.map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    let record = record(request, &caller.0.name).map_err(|why| ApiError::with(&messages::BAD_TOKEN, why))?;
    let token = new_token()?;
    let digest = Sha256::digest(token.as_bytes()).into();
    let is_configured = api.credentials.present().tokens.all().any(|(name, _)| name == record.name);
    if is_configured || !api.store.add_token(&record, &digest).await? {
        return Err(ApiError::with(&messages::TOKEN_EXISTS, record.name));
    }
    let repositories = record.repositories.join(", ");
    tracing::info!(name = record.name, role = record.role.as_str(), repositories, by = caller.0.name, "made a token");
    let view = TokenView { token: Some(&token), ..TokenView::stored(&record) };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::CREATED, no_store, Json(view)).into_response())
}

/// `POST /tokens/{name}/revoke`: the next request with the token is refused, and what it follows ends.
pub async fn revoke(
    State(api): State<Arc<ApiState>>,
    caller: ApiCaller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.admin()?;
    // The stored one is revoked also when the settings have its name, because the settings may have been changed later.
    let Some(revoked) = api.store.revoke_token(&name).await? else {
        let is_configured = api.credentials.present().tokens.all().any(|(configured, _)| configured == name);
        let message = if is_configured { &messages::TOKEN_OF_SETTINGS } else { &messages::UNKNOWN_TOKEN };
        return Err(ApiError::with(message, shortened(&name)));
    };
    api.credentials.token_revoked();
    tracing::info!(name, by = caller.0.name, "revoked a token");
    Ok(Json(TokenView::stored(&revoked)).into_response())
}

/// Checks a request. The error ends a sentence.
fn record(request: TokenRequest, created_by: &str) -> Result<TokenRecord, String> {
    let TokenRequest { name, role, repositories } = request;
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(is_name_byte) {
        return Err("a name has 1 to 64 letters, digits, '.', '_' and '-'".into());
    }
    let role: Role = role.parse().map_err(|_| "the role is read, build or admin".to_owned())?;
    let limits = RepoLimits::new(&repositories)
        .map_err(|error| format!("a repository is OWNER/* or OWNER/REPO: {}", shortened(&error.to_string())))?;
    if role == Role::Admin && !limits.are_none() {
        return Err("an admin has all repositories: leave them out, or take the role build".into());
    }
    let repositories = limits.entries().to_vec();
    Ok(TokenRecord { name, role, repositories, created: Millis::now(), created_by: created_by.into(), used: None })
}

fn new_token() -> Result<Zeroizing<String>, ApiError> {
    let mut random = Zeroizing::new([0u8; 32]);
    rustix::rand::getrandom(&mut *random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| ApiError::Internal(format!("no random bytes: {error}")))?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", &*Zeroizing::new(hex::encode(random.as_slice())))))
}
