use uuid::Uuid;

use super::Intake;
use super::request::{Refusal, Request, Requester};
use crate::model::{Job, JobContext, Origin};

impl Intake {
    /// Stores a new job for a delivery, as if it came now for the first time. The image goes where the present settings
    /// say.
    pub async fn replay(&self, id: Uuid, by: Requester<'_>) -> Result<Job, Refusal> {
        let delivery = self.store.delivery(id).await?.ok_or(Refusal::UnknownDelivery(id))?;
        let made = self.job(delivery.job).await?;
        let docker_repo_base = self.policy().destinations().base.clone();
        let request = Request {
            git_ref: made.git_ref,
            before: made.before,
            pushed: made.pushed,
            forced: made.forced,
            ..Request::new(JobContext { docker_repo_base, ..made.context }, Origin::Hook, made.dialect)
        };
        let job = self.submit_new(request, by).await?;
        tracing::info!(job = %job.id, delivery = %id, by = by.name(), "a delivery is replayed");
        Ok(job)
    }
}
