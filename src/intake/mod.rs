//! The one rule by which a request becomes a job: the policy allows it, and the queue stores it. Every kind of request has
//! its own function (`push`, `create`, `rebuild`, `replay`, `missed`), which makes a `Request` of it; `submit` then treats all
//! requests alike. Handlers only parse and render.

mod api;
mod missed;
mod own_name;
mod policy;
mod push;
mod rebuild;
mod replay;
mod request;
mod selection;

use std::sync::Arc;

use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::model::{CommitSpec, Job, JobId, JobSource, NewJob};
use crate::queue::QueueHandle;
use crate::store::{Added, NewDelivery, Store};
pub use api::JobRequest;
pub use policy::{AllowedRepos, Policy};
pub use push::{ForgePush, Pushed};
use request::Request;
pub use request::{Refusal, Requester};
pub use selection::Selection;

/// The commit that a request means when it names none.
pub const DEFAULT_COMMIT: &str = "HEAD";

/// The way into the queue.
#[derive(Clone)]
pub struct Intake {
    policy: watch::Sender<Arc<Policy>>,
    store: Store,
    queue: QueueHandle,
    metrics: Metrics,
}

impl Intake {
    pub fn new(policy: Policy, store: Store, queue: QueueHandle, metrics: Metrics) -> Self {
        Self { policy: watch::Sender::new(Arc::new(policy)), store, queue, metrics }
    }

    pub fn policy(&self) -> Arc<Policy> {
        self.policy.borrow().clone()
    }

    /// Takes another policy, for the requests that come from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.send_replace(Arc::new(policy));
    }

    /// Stores a job for the request if the policy allows it.
    async fn submit(&self, request: Request, by: Requester<'_>) -> Result<Added, Refusal> {
        let (new, delivery) = self.admit(request, by).await?;
        Ok(self.queue.add(new, delivery).await?)
    }

    /// Stores a job for a request that has no delivery, so that no earlier job can stand for it.
    async fn submit_new(&self, request: Request, by: Requester<'_>) -> Result<Job, Refusal> {
        let (Added::New(job) | Added::Duplicate(job)) = self.submit(request, by).await?;
        Ok(job)
    }

    /// Makes the job that the request asks for, if the policy allows it.
    async fn admit(&self, request: Request, by: Requester<'_>) -> Result<(NewJob, Option<NewDelivery>), Refusal> {
        let Request {
            context,
            source,
            origin,
            dialect,
            git_ref,
            before,
            pushed,
            forced,
            default_branch,
            tag_named,
            rebuild_of,
            any_commit,
            exclusive,
            delivery,
        } = request;
        let destination = self.policy().check(&context, &source, by).inspect_err(|refusal| {
            if refusal.is_about_secret() {
                self.metrics.secret_refused();
                let repository = format!("{}/{}", context.owner, context.repo);
                tracing::warn!(by = by.name(), repository, "a request is refused, which may be a guess: {refusal}");
            }
        })?;
        let own_name = if source == JobSource::Git { self.own_name(&context).await? } else { None };
        let destination = match &own_name {
            Some(name) => self.policy().destinations().of_named(&context, Some(name))?,
            None => destination,
        };
        let destination = match source {
            JobSource::Git => self.held(&context, own_name.as_deref(), destination).await?,
            JobSource::Dockerfile(_) => destination,
        };
        let new = NewJob {
            source,
            own_name,
            origin,
            dialect,
            git_ref,
            before,
            pushed,
            forced,
            default_branch,
            tag_named,
            rebuild_of,
            any_commit,
            exclusive,
            created_by: by.person().map(str::to_owned),
            by_admin: by.is_admin(),
            ..NewJob::bound_for(context, destination)
        };
        Ok((new, delivery))
    }

    async fn job(&self, id: JobId) -> Result<Job, Refusal> {
        self.store.job(id).await?.ok_or(Refusal::UnknownJob(id))
    }
}

/// True if the text is the full id of a commit.
fn is_full_id(commit: &str) -> bool {
    matches!(CommitSpec::parse(commit), Ok(CommitSpec::Full(_)))
}
