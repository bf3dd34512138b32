use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::Map;

use super::{request, views};
use crate::http::auth::RepoCaller;
use crate::http::error::ApiError;
use crate::http::ids::JobPath;
use crate::http::{ApiState, answers, body, etag, messages, warning};

/// `POST /job`
pub async fn create(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !is_json(&headers) {
        return Err(ApiError::new(&messages::MEDIA_TYPE));
    }
    let body = api.bodies.read(&headers, body, body::JOB_LIMIT).await?;
    let request = request::read(body.bytes(), api.intake.policy().destinations())?;
    drop(body);
    let job = api.intake.create(request, caller.requester()).await?;
    let mut response = views::waiting_job(&api, StatusCode::CREATED, &job).await?;
    let kept = |name: &String| format!("{name} is kept and not followed: the options of a build stand under build");
    warning::add(&mut response, job.context.misplaced().iter().map(kept));
    Ok(response)
}

/// `POST /job/{id}/rebuild`: a new job for what an ended job built, or was to build.
pub async fn rebuild(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: JobPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = caller.job(&api, &path).await?.id;
    let body = api.bodies.read(&headers, body, body::JOB_LIMIT).await?;
    let options = match body.bytes() {
        [] => Map::new(),
        _ if !is_json(&headers) => return Err(ApiError::new(&messages::MEDIA_TYPE)),
        bytes => request::read_rebuild(bytes)?,
    };
    drop(body);
    let claim = api.answers.claim(answers::ONE_JOB).await?;
    let job = api.intake.rebuild(id, options, caller.requester()).await?;
    Ok(answers::held(views::waiting_job(&api, StatusCode::CREATED, &job).await?, claim).await)
}

/// True for the two media types of a job, and for a body without a type. A form or plain text is refused, because a foreign
/// web page may send those without a preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case(views::JOB_CREATE)
}

/// `GET /job/{id}`
pub async fn show(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: JobPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let claim = api.answers.claim(answers::ONE_JOB).await?;
    let job = caller.job(&api, &path).await?;
    let response = etag::unless_known(views::waiting_job(&api, StatusCode::OK, &job).await?, &headers).await;
    Ok(answers::held(response, claim).await)
}

/// `POST /job/{id}/cancel`: a pending job is cancelled when this answers, a running job soon after.
pub async fn cancel(State(api): State<Arc<ApiState>>, caller: RepoCaller, path: JobPath) -> Result<Response, ApiError> {
    let id = caller.job(&api, &path).await?.id;
    let claim = api.answers.claim(answers::ONE_JOB).await?;
    let job = api.queue.cancel(id, &caller.name).await?;
    tracing::info!(job = %id, by = caller.name, "cancelled");
    Ok(answers::held(views::waiting_job(&api, StatusCode::OK, &job).await?, claim).await)
}
