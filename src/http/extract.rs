//! What handlers take from a request by its type.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use uuid::Uuid;

use super::ApiState;
use super::auth::ApiCaller;
use super::error::Error;
use crate::model::JobId;

impl FromRequestParts<Arc<ApiState>> for ApiCaller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, Error> {
        Self::authenticate(parts, &api.tokens, api.guard.as_ref())
    }
}

/// The job of a path with `{id}`. A text that is not an id names an unknown job.
pub struct JobPath(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let id = id(parts, state).await;
        id.parse().map(Self).map_err(|_| Error::unknown_job(&id))
    }
}

/// The delivery of a path with `{id}`. A text that is not an id names an unknown delivery.
pub struct DeliveryPath(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let id = id(parts, state).await;
        id.parse().map(Self).map_err(|_| Error::unknown_delivery(&id))
    }
}

async fn id<S: Send + Sync>(parts: &mut Parts, state: &S) -> String {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map_or_else(|_| "(not UTF-8)".into(), |Path(id)| id)
}
