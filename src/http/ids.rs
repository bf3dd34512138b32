//! Ids in paths, which may be given by their beginning.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use uuid::Uuid;

use super::error::{ApiError, shortened};
use super::{ApiState, messages};
use crate::model::{JobId, RepoLimits};
use crate::store::IdTable;

/// The `{id}` of a path of a job: the job's id or its beginning. [`RepoCaller::job`](super::auth::RepoCaller::job) finds the job, because the caller's
/// limits decide which ones a beginning may mean.
pub struct JobPath(pub String);

impl FromRequestParts<Arc<ApiState>> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, ApiError> {
        Ok(Self(id(parts).await))
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

/// Returns the `{id}` of a path.
pub async fn id(parts: &mut Parts) -> String {
    let path = Path::<String>::from_request_parts(parts, &()).await;
    path.map_or_else(|_| "(not UTF-8)".into(), |Path(id)| id)
}
