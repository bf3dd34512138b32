use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use serde::Deserialize;

use super::request;
use super::views::{self, JobView};
use crate::http::auth::Caller;
use crate::http::error::Error;
use crate::http::page::{self, Page};
use crate::http::{Api, body};
use crate::model::{JobId, Status};
use crate::store::JobFilter;

/// The `{id}` of a path. What is no id of ours names an unknown job.
pub struct JobPath(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::UnknownJob("(not UTF-8)".into()))?;
        JobId::from_str(&id).map(Self).map_err(|_| Error::UnknownJob(id))
    }
}

/// `POST /job`
pub async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    if !is_json(&headers) {
        return Err(Error::MediaType);
    }
    let body = api.bodies.read(body, body::JOB_LIMIT).await?;
    let request = request::read(&body, api.intake.policy().destinations())?;
    drop(body);
    let job = api.intake.create(request, caller.by()).await?;
    views::job(StatusCode::CREATED, &job)
}

/// `POST /job/{id}/rebuild`: a new job for what an ended job built, or was to build.
pub async fn rebuild(State(api): State<Arc<Api>>, caller: Caller, JobPath(id): JobPath) -> Result<Response, Error> {
    let job = api.intake.rebuild(id, caller.by()).await?;
    views::job(StatusCode::CREATED, &job)
}

/// A body without a type counts as JSON. A form or plain text does not: those a foreign web page may send unasked.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case(views::JOB_CREATE)
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<String>,
    cursor: Option<String>,
    repository: Option<String>,
    branch: Option<String>,
    status: Option<String>,
}

/// `GET /job?limit=&cursor=&repository=&branch=&status=`: newest first; the cursor is the id of the last job that the page
/// before showed.
pub async fn list(State(api): State<Arc<Api>>, _caller: Caller, uri: Uri) -> Result<Response, Error> {
    let Listing { limit, cursor, repository, branch, status } = page::query(&uri)?;
    let page = Page::read(limit, cursor, "job")?;
    if branch.is_some() && repository.is_none() {
        return Err(Error::Argument("branch is one of a repository: name that, too".into()));
    }
    let status = status.map(|status| status.parse());
    let status = status
        .transpose()
        .map_err(|_| Error::Argument("status is pending, running, success, failure or cancelled".into()))?;
    let filter = JobFilter { repository, branch, status };
    let mut jobs = api.store.jobs_like(&filter, page.ahead(), page.cursor).await?;
    let filters = [
        ("repository", filter.repository.as_deref()),
        ("branch", filter.branch.as_deref()),
        ("status", filter.status.map(Status::as_str)),
    ];
    let next = page.cut(&mut jobs, |job| job.id, "/job", &filters);
    let links: Vec<_> = [r#"</_schema/job-list>; rel="describedBy""#.to_owned()].into_iter().chain(next).collect();
    let views: Vec<JobView> = jobs.iter().map(JobView::from).collect();
    views::json(StatusCode::OK, views::JOB_LIST, &links.join(", "), &views)
}

/// `GET /job/{id}`
pub async fn show(State(api): State<Arc<Api>>, _caller: Caller, JobPath(id): JobPath) -> Result<Response, Error> {
    let job = api.store.job(id).await?.ok_or_else(|| Error::UnknownJob(id.to_string()))?;
    views::job(StatusCode::OK, &job)
}

/// `POST /job/{id}/cancel`: a pending job is cancelled when this answers, a running one soon after.
pub async fn cancel(State(api): State<Arc<Api>>, caller: Caller, JobPath(id): JobPath) -> Result<Response, Error> {
    let job = api.queue.cancel(id).await?;
    tracing::info!(job = %id, by = caller.name, "cancelled");
    views::job(StatusCode::OK, &job)
}
