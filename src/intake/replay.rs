use uuid::Uuid;

use super::Intake;
use super::request::{Refusal, Request, Requester};
use crate::model::{Job, JobContext, Origin};

impl Intake {
    /// Stores a new job for a delivery, as if it came now for the first time, also for a push that was skipped. The image
    /// goes where the present settings say.
    pub async fn replay(&self, id: Uuid, by: Requester<'_>) -> Result<Job, Refusal> {
        let delivery = self.store.delivery(id).await?.ok_or(Refusal::UnknownDelivery(id))?;
        let docker_repo_base = self.policy().destinations().base.clone();
        let request = Request {
            git_ref: delivery.git_ref,
            before: delivery.before,
            pushed: delivery.pushed,
            forced: delivery.forced,
            default_branch: delivery.default_branch,
            ..Request::new(JobContext { docker_repo_base, ..delivery.context }, Origin::Hook, delivery.dialect)
        };
        let job = self.submit_new(request, by).await?;
        tracing::info!(job = %job.id, delivery = %id, by = by.name(), "a delivery is replayed");
        Ok(job)
    }
}
