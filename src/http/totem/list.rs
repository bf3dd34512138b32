//! `GET /job`: pages of jobs, or with the order of the original the whole list.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::array::JobList;
use super::views;
use crate::http::auth::RepoCaller;
use crate::http::error::ApiError;
use crate::http::page::{self, PageRequest};
use crate::http::{ApiState, etag, messages, warning};
use crate::model::{Millis, Status};
use crate::store::JobFilter;

const DESCRIBED_BY: &str = r#"</_schema/job-list>; rel="describedBy""#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobQuery {
    limit: Option<String>,
    cursor: Option<String>,
    order: Option<String>,
    repository: Option<String>,
    branch: Option<String>,
    status: Option<String>,
    commit: Option<String>,
    image: Option<String>,
    updated_since: Option<String>,
}

impl JobQuery {
    const NAMES: [&str; 9] =
        ["limit", "cursor", "order", "repository", "branch", "status", "commit", "image", "updatedSince"];
}

/// `GET /job?limit=&cursor=&order=&repository=&branch=&status=&commit=&image=&updatedSince=`. The cursor is the id of the
/// last job of the page before. A parameter that is not known is passed over, as totem did.
pub async fn list(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query: JobQuery = page::query(&uri)?;
    let oldest_first = match query.order.as_deref() {
        None => api.list_oldest && query.limit.is_none() && query.cursor.is_none(),
        Some("asc") => true,
        Some("desc") => false,
        Some(_) => return Err(ApiError::new(&messages::BAD_ORDER)),
    };
    let is_whole = oldest_first && query.limit.is_none() && query.cursor.is_none();
    let page = PageRequest::read(query.limit, query.cursor, "job")?;
    if query.branch.is_some() && query.repository.is_none() {
        return Err(ApiError::new(&messages::BRANCH_ALONE));
    }
    let status = query.status.map(|status| status.parse()).transpose();
    let updated_since: Option<Millis> =
        query.updated_since.map(|time| time.parse()).transpose().map_err(|_| ApiError::new(&messages::BAD_TIME))?;
    let filter = JobFilter {
        repository: query.repository,
        branch: query.branch,
        status: status.map_err(|_| ApiError::new(&messages::BAD_STATUS))?,
        commit: query.commit.map(|commit| first_digits(&commit)).transpose()?,
        image: query.image,
        updated_since,
        oldest_first,
        limits: caller.limits,
    };
    let claim = api.answers.claim(JobList::FIRST).await?;
    let limit = if is_whole { JobList::IDS } else { page.lookahead() };
    let mut ids = api.store.job_ids_like(&filter, limit, page.cursor).await?;
    let next = match is_whole {
        true => None,
        false => {
            let updated_since = filter.updated_since.map(|time| time.to_string());
            let filters = [
                ("order", oldest_first.then_some("asc")),
                ("repository", filter.repository.as_deref()),
                ("branch", filter.branch.as_deref()),
                ("status", filter.status.map(Status::as_str)),
                ("commit", filter.commit.as_deref()),
                ("image", filter.image.as_deref()),
                ("updatedSince", updated_since.as_deref()),
            ];
            page.cut(&mut ids, |id| *id, "/job", &filters)
        }
    };
    let links: Vec<_> = [DESCRIBED_BY.to_owned()].into_iter().chain(next).collect();
    let (body, is_complete) = JobList::new(api, filter, ids, is_whole).into_body(claim).await?;
    let mut response = views::of_type(StatusCode::OK, views::JOB_LIST, &links.join(", "), body)?;
    if is_complete {
        response = etag::unless_known(response, &headers).await;
    }
    let passed_over = |name: &String| format!("the query parameter {name} is not known and was passed over");
    warning::add(&mut response, page::unknown_parameters(&uri, &JobQuery::NAMES).iter().map(passed_over));
    Ok(response)
}

/// Returns the digits of a commit's id in the form that the store has.
fn first_digits(commit: &str) -> Result<String, ApiError> {
    let is_id = (4..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| commit.to_ascii_lowercase()).ok_or_else(|| ApiError::new(&messages::BAD_COMMIT))
}
