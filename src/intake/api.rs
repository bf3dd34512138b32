use super::request::{Refusal, Request, Requester};
use super::{Intake, is_full_id};
use crate::model::{Dialect, Job, JobContext, JobSource, Origin};

/// A request for a job by the API of a dialect.
#[derive(Debug)]
pub struct JobRequest {
    pub context: JobContext,
    pub source: JobSource,
    /// True if the request names the image's tag.
    pub tag_named: bool,
    /// True if the commit was found to be the head of its branch.
    pub is_head: bool,
    pub dialect: Dialect,
}

impl Intake {
    /// Refuses what [`Intake::create`] would refuse of a request to build this repository, whatever its commit is.
    pub fn check(&self, context: &JobContext, by: Requester<'_>) -> Result<(), Refusal> {
        self.policy().check(context, &JobSource::Git, by).map(drop)
    }

    /// Stores the job that a caller of the API asks for.
    pub async fn create(&self, request: JobRequest, by: Requester<'_>) -> Result<Job, Refusal> {
        let JobRequest { context, source, tag_named, is_head, dialect } = request;
        let is_full_id = source == JobSource::Git && is_full_id(&context.commit);
        // A commit that a signed push has named, or that was its branch's head, is built even if its branch has moved on.
        let pushed = is_head || (is_full_id && self.store.was_pushed(&context).await?);
        // A forge serves the commits of forks by their ids, and anybody can make a fork. An admin alone may build a commit
        // that no branch and no tag reaches.
        let any_commit = is_full_id && by.is_admin();
        // Conveyor builds a commit once at a time.
        let exclusive = dialect == Dialect::Conveyor;
        let new = Request::new(context, Origin::Api, dialect);
        let request = Request { source, pushed, any_commit, tag_named, exclusive, ..new };
        let job = self.submit_new(request, by).await?;
        tracing::info!(job = %job.id, image = ?job.image, by = by.name(), "accepted");
        Ok(job)
    }
}
