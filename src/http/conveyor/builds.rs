use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::lookup::{self, CommitPath};
use super::render::line;
use super::request::NewBuild;
use super::stream;
use super::views::{ArtifactView, BuildView};
use crate::http::error::ApiError;
use crate::http::extract::ConveyorCaller;
use crate::http::ids::JobPath;
use crate::http::log::{self, LogReader};
use crate::http::{ApiState, body};
use crate::intake::{DEFAULT_COMMIT, JobRequest};
use crate::model::{Dialect, Job, JobSource};

/// `POST /builds`: the build, or with `?follow=1` its log until it ends.
pub async fn create(
    State(api): State<Arc<ApiState>>,
    ConveyorCaller(caller): ConveyorCaller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let follow = log::is_followed(&uri)?;
    if follow {
        // No build is made whose log could not be followed.
        api.places.follow()?;
    }
    let body = api.bodies.read(&headers, body, body::JOB_LIMIT).await?;
    let build = NewBuild::read(body.bytes())?;
    drop(body);
    let base = api.intake.policy().destinations().base.clone();
    // A repository that is not allowed is refused before its host is asked.
    api.intake.check(&build.context(base.clone(), DEFAULT_COMMIT), caller.requester())?;
    let (commit, is_head) = lookup::commit(&api, &build).await?;
    let context = build.context(base, commit.as_str());
    let (source, dialect) = (JobSource::Git, Dialect::Conveyor);
    let request = JobRequest { context, source, tag_named: false, is_head, dialect };
    let job = api.intake.create(request, caller.requester()).await?;
    match follow {
        true => stream::follow(&api, &job, LogReader::of_conveyor(&headers)).await,
        false => line(StatusCode::OK, &BuildView::from(&job)),
    }
}

/// `GET /builds/{id}`
pub async fn show(
    State(api): State<Arc<ApiState>>,
    ConveyorCaller(caller): ConveyorCaller,
    path: JobPath,
) -> Result<Response, ApiError> {
    line(StatusCode::OK, &BuildView::from(&caller.job(&api, &path).await?))
}

/// `GET /builds/{owner}/{repo}@{sha}`
pub async fn show_by_sha(
    State(api): State<Arc<ApiState>>,
    ConveyorCaller(caller): ConveyorCaller,
    path: CommitPath,
) -> Result<Response, ApiError> {
    line(StatusCode::OK, &BuildView::from(&path.newest(&api, &caller, false).await?))
}

/// `GET /artifacts/{id}`
pub async fn artifact(
    State(api): State<Arc<ApiState>>,
    ConveyorCaller(caller): ConveyorCaller,
    path: JobPath,
) -> Result<Response, ApiError> {
    artifact_of(&caller.job(&api, &path).await?)
}

/// `GET /artifacts/{owner}/{repo}@{sha}`
pub async fn artifact_by_sha(
    State(api): State<Arc<ApiState>>,
    ConveyorCaller(caller): ConveyorCaller,
    path: CommitPath,
) -> Result<Response, ApiError> {
    artifact_of(&path.newest(&api, &caller, true).await?)
}

fn artifact_of(job: &Job) -> Result<Response, ApiError> {
    let artifact = ArtifactView::of(job).ok_or_else(|| ApiError::unknown_job(&job.id.to_string()))?;
    line(StatusCode::OK, &artifact)
}
