//! The extractors: arguments that a handler takes from a request by their type.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use uuid::Uuid;

use super::auth::{ApiCaller, RepoCaller};
use super::error::{ApiError, shortened};
use super::{ApiState, messages};
use crate::model::{JobId, RepoLimits};
use crate::store::IdTable;

impl FromRequestParts<Arc<ApiState>> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        Self::unlimited(RepoCaller::from_request_parts(parts, api).await?)
    }
}

impl FromRequestParts<Arc<ApiState>> for RepoCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        let credentials = api.credentials.present();
        Self::authenticate(parts, &credentials.tokens, &api.store, &api.guard).await
    }
}

/// The `{id}` of a path of a job: the job's id or its beginning. [`RepoCaller::job`] finds the job, because the caller's
/// limits decide which ones a beginning may mean.
pub struct JobPath(pub String);

impl FromRequestParts<Arc<ApiState>> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, ApiError> {
        Ok(Self(id(parts).await))
    }
}

/// The `{id}` of a path of a delivery: the delivery's id or its beginning.
pub struct DeliveryPath(pub String);

impl FromRequestParts<Arc<ApiState>> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, ApiError> {
        Ok(Self(id(parts).await))
    }
}

/// The notification of a path with `{id}`, which has the notification's id or its beginning. Another text is taken as it is.
/// Only a caller without limits may name one.
pub struct NotificationPath(pub String);

impl FromRequestParts<Arc<ApiState>> for NotificationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        let text = id(parts).await;
        let id = whole_id(api, IdTable::Notifications, &text, &RepoLimits::default()).await?;
        Ok(Self(id.map_or(text, |id| id.to_string())))
    }
}

/// Returns the job's id that the text is or begins, or `None` if no id begins so. A beginning must be unique among the jobs
/// of the repositories of `limits`.
pub async fn job_id(api: &ApiState, text: &str, limits: &RepoLimits) -> Result<Option<JobId>, ApiError> {
    let id = whole_id(api, IdTable::Jobs, text, limits).await?;
    Ok(id.and_then(|id| id.to_string().parse().ok()))
}

/// Returns the id that the text is or begins. A whole id is returned as it is, also one that no row has or that is outside of
/// `limits`.
pub async fn whole_id(
    api: &ApiState,
    table: IdTable,
    text: &str,
    limits: &RepoLimits,
) -> Result<Option<Uuid>, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(Some(id));
    }
    match &api.store.ids_like(table, text, limits).await?[..] {
        [] => Ok(None),
        [id] => Ok(id.parse().ok()),
        _ => Err(ApiError::with(&messages::AMBIGUOUS_ID, shortened(text))),
    }
}

async fn id(parts: &mut Parts) -> String {
    let path = Path::<String>::from_request_parts(parts, &()).await;
    path.map_or_else(|_| "(not UTF-8)".into(), |Path(id)| id)
}
