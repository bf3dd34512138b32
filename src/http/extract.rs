//! The extractors: arguments that a handler takes from a request by their type.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::ApiState;
use super::auth::{ApiCaller, RepoCaller};
use super::error::ApiError;
use super::ids::{id, whole_id};
use crate::model::{RepoLimits, Role};
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
        let named = credentials.tokens.find_anywhere(&parts.headers, &api.store).await?;
        Self::admit(parts, named, &api.credentials.guard)
    }
}

/// The sender of a GET that needs the role build.
pub struct BuildCaller(pub RepoCaller);

impl FromRequestParts<Arc<ApiState>> for BuildCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        let credentials = api.credentials.present();
        let named = credentials.tokens.find_anywhere(&parts.headers, &api.store).await?;
        RepoCaller::admit_as(parts, named, &api.credentials.guard, Role::Build, false).map(Self)
    }
}

/// The sender of a request to Conveyor's API: a [`RepoCaller`], or who has the login of BASIC_AUTH.
pub struct ConveyorCaller(pub RepoCaller);

impl FromRequestParts<Arc<ApiState>> for ConveyorCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        let credentials = api.credentials.present();
        let named = match credentials.basic_auth.as_ref().and_then(|login| login.find(&parts.headers)) {
            None => credentials.tokens.find_anywhere(&parts.headers, &api.store).await?,
            login => login,
        };
        RepoCaller::admit(parts, named, &api.credentials.guard).map(Self)
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
/// The route refuses a caller with limits.
pub struct NotificationPath(pub String);

impl FromRequestParts<Arc<ApiState>> for NotificationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ApiState>) -> Result<Self, ApiError> {
        let text = id(parts).await;
        let id = whole_id(api, IdTable::Notifications, &text, &RepoLimits::default()).await?;
        Ok(Self(id.map_or(text, |id| id.to_string())))
    }
}
