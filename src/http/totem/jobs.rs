use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use serde::Deserialize;

use super::request::{self, Asked};
use super::views::{self, JobView};
use crate::http::auth::Caller;
use crate::http::error::Error;
use crate::http::page::{self, Page};
use crate::http::{Api, Role, body};
use crate::logs::secret_finder;
use crate::model::{CommitSpec, JobContext, JobId, NewJob, Origin, Status};
use crate::store::{Added, JobFilter};

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
    let Asked { mut context, tag_named } = request::read(&body, &api.destinations)?;
    drop(body);
    // A signed push has named it, so it is no stranger's, wherever its branch is by now.
    let is_id = matches!(CommitSpec::parse(&context.commit), Ok(CommitSpec::Full(_)));
    context.pushed = is_id && api.store.was_pushed(&context).await?;
    may(&api, &caller, &context)?;
    let to = api.destinations.of(&context)?;
    let any_commit = may_build_any(&caller, &context);
    let new = NewJob { any_commit, tag_named, ..NewJob::bound_for(context, to) };
    let (Added::New(job) | Added::Duplicate(job)) = api.queue.add(new, None).await?;
    tracing::info!(job = %job.id, image = ?job.image, by = caller.name, "accepted");
    views::job(StatusCode::CREATED, &job)
}

/// `POST /job/{id}/rebuild`: what an ended job built, or was to build, once more, by what is allowed and configured now.
pub async fn rebuild(State(api): State<Arc<Api>>, caller: Caller, JobPath(id): JobPath) -> Result<Response, Error> {
    let former = api.store.job(id).await?.ok_or_else(|| Error::UnknownJob(id.to_string()))?;
    if !former.status.is_terminal() {
        return Err(Error::Unfinished(former.status));
    }
    // The former job was allowed to build its commit, so this one is, wherever its branch is by now. What an admin alone
    // may build stays an admin's: it may be a fork's, which nobody here has looked at.
    let pushed = former.context.pushed || (former.resolved_commit.is_some() && !former.any_commit);
    // A default branch whose head was built was meant as a branch, though an id takes the place of the head.
    let is_id = matches!(CommitSpec::parse(&former.context.commit), Ok(CommitSpec::Full(_) | CommitSpec::Short(_)));
    let branch_left_out = former.context.branch_left_out && is_id;
    let commit = former.resolved_commit.unwrap_or(former.context.commit);
    let context = JobContext { commit, pushed, branch_left_out, ..former.context };
    may(&api, &caller, &context)?;
    let to = api.destinations.of(&context)?;
    let new = NewJob {
        origin: Origin::Rebuild,
        dialect: former.dialect,
        git_ref: former.git_ref,
        rebuild_of: Some(id),
        any_commit: former.any_commit && may_build_any(&caller, &context),
        ..NewJob::bound_for(context, to)
    };
    let (Added::New(job) | Added::Duplicate(job)) = api.queue.add(new, None).await?;
    tracing::info!(job = %job.id, of = %id, image = ?job.image, by = caller.name, "accepted as a rebuild");
    views::job(StatusCode::CREATED, &job)
}

/// Whether this caller may have that built.
fn may(api: &Api, caller: &Caller, context: &JobContext) -> Result<(), Error> {
    api.allowed_repos.check(&context.owner, &context.repo)?;
    if context.docker_repo_base != api.destinations.base && caller.role < Role::Admin {
        return Err(Error::Forbidden("Another dockerRepoBase than the configured one needs the role admin".into()));
    }
    bakes_no_secret(api, context)
}

/// Tells whether a commit that no branch and no tag reaches is built for this caller. A forge gives out the commits of forks by
/// their ids, and anybody can make a fork.
fn may_build_any(caller: &Caller, context: &JobContext) -> bool {
    caller.role >= Role::Admin && matches!(CommitSpec::parse(&context.commit), Ok(CommitSpec::Full(_)))
}

/// A build argument stays readable in the image, and in the job.
fn bakes_no_secret(api: &Api, context: &JobContext) -> Result<(), Error> {
    let options = context.build_options().unwrap_or_default();
    let mut masks = api.secrets.borrow().masks();
    masks.extend(api.masks.iter().cloned());
    let has_secret = secret_finder(&masks);
    let bad: Vec<_> = options
        .build_args
        .iter()
        .filter(|(_, value)| has_secret(value))
        .map(|(name, _)| {
            let message = format!(
                "buildArgs/{name} has a secret of this daemon in it, and everyone who has the image could read it there"
            );
            request::invalid(message, format!("#/buildArgs/{name}"))
        })
        .collect();
    if bad.is_empty() { Ok(()) } else { Err(Error::Invalid(bad)) }
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
