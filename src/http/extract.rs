//! The extractors: arguments that a handler takes from a request by their type.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use uuid::Uuid;

use super::ApiState;
use super::auth::{ApiCaller, RepoCaller};
use super::error::ApiError;
use crate::model::JobId;

impl FromRequestParts<Arc<ApiState>> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        Self::unlimited(RepoCaller::from_request_parts(parts, api).await?)
    }
}

impl FromRequestParts<Arc<ApiState>> for RepoCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        Self::authenticate(parts, &api.tokens, &api.store, &api.guard).await
    }
}

/// The job of a path with `{id}`. A text that is not an id names an unknown job.
pub struct JobPath(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = id(parts, state).await;
        id.parse().map(Self).map_err(|_| ApiError::unknown_job(&id))
    }
}

/// The delivery of a path with `{id}`. A text that is not an id names an unknown delivery.
pub struct DeliveryPath(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = id(parts, state).await;
        id.parse().map(Self).map_err(|_| ApiError::unknown_delivery(&id))
    }
}

async fn id<S: Send + Sync>(parts: &mut Parts, state: &S) -> String {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map_or_else(|_| "(not UTF-8)".into(), |Path(id)| id)
}
