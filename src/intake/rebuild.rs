use serde_json::{Map, Value};

use super::request::{Refusal, Request, Requester};
use super::{Intake, is_full_id};
use crate::model::{CommitSpec, Job, JobContext, JobId, Origin};

impl Intake {
    /// Stores a new job for what an ended job built, or was to build. It keeps the former job's `dockerRepoBase` and image,
    /// if they are still allowed. The `options` of the build take the place of the former job's.
    pub async fn rebuild(&self, id: JobId, options: Map<String, Value>, by: Requester<'_>) -> Result<Job, Refusal> {
        let former = self.job(id).await?;
        if !former.status.is_terminal() {
            return Err(Refusal::Unfinished(former.status));
        }
        // The former job was allowed to build its commit, so the new job may, wherever the branch is by now. A commit that
        // only an admin may build stays an admin's, because it may be a fork's, which nobody here has reviewed.
        let pushed = former.pushed || (former.resolved_commit.is_some() && !former.any_commit);
        // If the former job named no branch and took the head of the default branch, the new job counts for that branch, although
        // its commit is an id.
        let is_id = matches!(CommitSpec::parse(&former.context.commit), Ok(CommitSpec::Full(_) | CommitSpec::Short(_)));
        let branch_left_out = former.context.branch_left_out && is_id;
        let commit = former.resolved_commit.map_or(former.context.commit, |id| id.to_string());
        let any_commit = former.any_commit && by.is_admin() && is_full_id(&commit);
        let mut context = JobContext { commit, branch_left_out, ..former.context };
        context.set_build_options(options);
        let request = Request {
            source: former.source,
            git_ref: former.git_ref,
            rebuild_of: Some(id),
            pushed,
            any_commit,
            ..Request::new(context, Origin::Rebuild, former.dialect)
        };
        let job = self.submit_new(request, by).await?;
        tracing::info!(job = %job.id, of = %id, image = ?job.image, by = by.name(), "accepted as a rebuild");
        Ok(job)
    }
}
