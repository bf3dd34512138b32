//! Runs one job: clone, checkout, build, push. Knows no store and no HTTP.

mod build;
mod checkout;
mod clone;
mod epoch;
mod plan;
mod push;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::git::Git;
use crate::logs::LogWriter;
use crate::model::{
    Context, DockerfilePath, FailureClass, Job, LogSink, Outcome, RepoName, Stages, Status, TagTemplate,
};
use crate::secrets::Secrets;
pub use clone::source;
use stage::{End, Stagehand};

/// What a job is run with.
pub struct Tools {
    pub git: Git,
    pub engine: Arc<Engine>,
    pub secrets: watch::Receiver<Arc<Secrets>>,
    pub config: PipelineConfig,
}

pub struct PipelineConfig {
    /// Template with `{owner}` and `{repo}`; none: GitHub's, by ssh with a deploy key, else by https.
    pub git_url: Option<String>,
    /// Tags that every image gets beside the job's own.
    pub image_tags: Vec<TagTemplate>,
    /// Unless a job names another one.
    pub dockerfile: DockerfilePath,
    pub clone_timeout: Duration,
    pub checkout_timeout: Duration,
    pub build_timeout: Duration,
    /// Of one try.
    pub push_timeout: Duration,
    pub push_retries: u32,
    pub push_retry_wait: Duration,
    /// The daemon's own secrets, which no log may show.
    pub masks: Vec<Zeroizing<String>>,
}

/// One attempt at one job.
pub struct Run {
    pub job: Job,
    pub log: Arc<LogWriter>,
    /// How far it is, stored as it comes.
    pub progress: mpsc::UnboundedSender<Progress>,
    pub cancel: CancellationToken,
    pub slot: Slot,
}

pub struct Progress {
    pub stages: Stages,
    pub resolved_commit: Option<String>,
}

/// One of the CONCURRENCY build slots; a push that waits gives it back early.
pub struct Slot(pub Option<OwnedSemaphorePermit>);

/// Runs the job to its end. When `run.cancel` fires, what runs is stopped and the outcome is `cancelled`.
pub async fn run(tools: &Tools, run: Run) -> Outcome {
    let secrets = tools.secrets.borrow().clone();
    mask(&run, &tools.config, &secrets);
    let log = run.log.clone();
    let mut hand = Stagehand::new(run.job, run.log, run.progress, run.cancel);
    let result = stages(tools, secrets, &mut hand, run.slot).await;
    let (status, cause, class) = match &result {
        Ok(_) => (Status::Success, None, None),
        Err(End::Failed(cause, class)) => (Status::Failure, Some(cause.clone()), Some(*class)),
        Err(End::Cancelled) => (Status::Cancelled, Some("cancelled".to_owned()), Some(FailureClass::Cancelled)),
    };
    match &cause {
        Some(cause) => log.write(format!("\nThe build ended: {cause}\n").as_bytes()),
        None => log.write(format!("\nPushed {}\n", hand.job.image).as_bytes()),
    }
    log.flush();
    Outcome { status, stages: hand.stages, resolved_commit: hand.resolved_commit, digest: result.ok(), cause, class }
}

/// Keeps the job's secrets, and the daemon's, out of its log.
fn mask(run: &Run, config: &PipelineConfig, secrets: &Secrets) {
    let mut masks = [config.masks.clone(), secrets.masks()].concat();
    let Context { owner, repo, .. } = &run.job.context;
    let keys = RepoName::new(owner, repo).map(|repo| secrets.deploy_keys(&repo).cloned().collect::<Vec<_>>());
    let keys = keys.unwrap_or_default();
    masks.extend(keys.iter().filter_map(|key| key.openssh()));
    run.log.mask(&masks);
    run.log.mask_binary(&keys.iter().flat_map(|key| key.private_numbers()).collect::<Vec<_>>());
}

async fn stages(tools: &Tools, secrets: Arc<Secrets>, hand: &mut Stagehand, slot: Slot) -> Result<String, End> {
    let fetched = clone::run(tools, &secrets, hand).await?;
    let snapshot = checkout::run(tools, &secrets, &fetched, hand).await?;
    let images = build::run(tools, &secrets, &fetched, snapshot, hand).await?;
    push::run(tools, &images, hand, slot).await
}
