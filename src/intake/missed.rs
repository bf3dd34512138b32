use super::Intake;
use super::request::{Refusal, Request, Requester};
use crate::model::{Job, JobContext, JobId, Origin};
use crate::store::KnownBranch;

impl Intake {
    /// Stores a job for the head of a branch, as its webhook would have. Returns `None` if one of the branch's newest jobs is for
    /// this commit, or was created after `asked`, when the heads were listed, and if the settings skip the branch or did
    /// skip the commit.
    pub async fn missed(&self, branch: &KnownBranch, head: String, asked: JobId) -> Result<Option<Job>, Refusal> {
        let git_ref = format!("refs/heads/{}", branch.context.branch);
        if self.policy().selection().skips(&git_ref, None).is_some() {
            return Ok(None);
        }
        let git_ref = Some(git_ref);
        let context = JobContext {
            docker_repo_base: self.policy().destinations().base.clone(),
            tag: head.clone(),
            commit: head,
            ..branch.context.clone()
        };
        // The commit was the branch's head, like the commit of a push, so it is built even if the branch has moved on.
        let pushed = true;
        let request = Request { git_ref, pushed, ..Request::new(context, Origin::Missed, branch.dialect) };
        let (new, _) = self.admit(request, Requester::Sweep).await?;
        let job = self.queue.add_missed(new, asked).await?;
        if let Some(job) = &job {
            tracing::info!(job = %job.id, image = ?job.image, "accepted: no webhook reported this push");
        }
        Ok(job)
    }
}
