//! Finds builds by repository and commit, and the heads of branches.

use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::http::request::Parts;

use super::request::NewBuild;
use super::views::image_name;
use crate::http::auth::RepoCaller;
use crate::http::error::{ApiError, shortened};
use crate::http::{ApiState, NoHead, messages};
use crate::model::{CommitId, Job, RepoName, Status};
use crate::store::JobFilter;

/// Number of jobs of a commit that are read at once.
const AT_ONCE: u32 = 50;

/// The `{owner}/{repo}@{sha}` of a path.
pub struct CommitPath(String);

impl<S: Send + Sync> FromRequestParts<S> for CommitPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        Ok(Self(path.map_or_else(|_| "(not UTF-8)".into(), |Path((owner, repo))| format!("{owner}/{repo}"))))
    }
}

impl CommitPath {
    /// Returns the newest job, of any door, that builds or has built this commit into the repository's own image, or the newest
    /// that has pushed it. A job with an image of its own, such as that of a second Dockerfile, is none.
    ///
    /// # Errors
    /// There is no such job, or the token is not for the repository.
    pub async fn newest(&self, api: &ApiState, caller: &RepoCaller, is_pushed: bool) -> Result<Job, ApiError> {
        let unknown = || ApiError::unknown_job(&self.0);
        let (repository, sha) = self.0.rsplit_once('@').ok_or_else(unknown)?;
        let repo = RepoName::parse(repository).map_err(|_| unknown())?;
        let commit = CommitId::parse(sha).map_err(|_| unknown())?;
        let build = NewBuild { repo, branch: None, commit: None };
        let intake = api.intake.policy();
        let destinations = intake.destinations();
        let context = build.context(destinations.base.clone(), commit.as_str());
        let own = destinations.of(&context).map_err(|_| unknown())?;
        let filter = JobFilter {
            repository: Some(repository.into()),
            commit: Some(commit.to_string()),
            status: is_pushed.then_some(Status::Success),
            limits: caller.limits.clone(),
            ..JobFilter::default()
        };
        let is_wanted = |job: &Job| {
            let own = job.own_name.as_deref().unwrap_or(image_name(&own.image));
            image_name(&job.image) == own && (!is_pushed || job.digest.is_some())
        };
        let mut cursor = None;
        loop {
            let jobs = api.store.jobs_like(&filter, AT_ONCE, cursor).await?;
            let Some(last) = jobs.last().map(|job| job.id) else { return Err(unknown()) };
            if let Some(job) = jobs.into_iter().find(is_wanted) {
                return Ok(job);
            }
            cursor = Some(last);
        }
    }
}

/// Returns the commit of a build: the one that it names, or the head of its branch. The flag is true for a head.
///
/// # Errors
/// The branch does not exist, or its host gives no answer.
pub async fn commit(api: &ApiState, build: &NewBuild) -> Result<(CommitId, bool), ApiError> {
    let branch = match (&build.commit, &build.branch) {
        (Some(commit), _) => return Ok((commit.clone(), false)),
        (None, branch) => branch.clone().unwrap_or_default(),
    };
    match (api.branch_head)(build.repo.clone(), branch.clone()).await {
        Ok(Some(commit)) => Ok((commit, true)),
        Ok(None) => Err(ApiError::Message(&messages::NO_BRANCH, vec![build.repo.to_string(), shortened(&branch)])),
        Err(NoHead::Repository(why)) => Err(ApiError::with(&messages::BAD_BUILD, why)),
        Err(NoHead::Host(why)) => {
            let head = shortened(&format!("{branch} of {}", build.repo));
            Err(ApiError::Message(&messages::NO_HEAD, vec![head, why]))
        }
    }
}
