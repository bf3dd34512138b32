//! One run of a job: clone, checkout, build, test, push. The pipeline knows neither the store nor HTTP.

mod activity;
mod bases;
mod build;
mod cache;
mod checkout;
mod clone;
mod dockerfile;
mod epoch;
mod failure;
mod folder;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod heads;
mod inline;
mod isolation;
mod makina;
mod memory;
mod other_ids;
mod pauses;
mod plan;
mod protected;
mod push;
mod retry;
mod stage;
mod tags;
mod tarball;
mod test;
mod users;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{PatternBounds, Pool};
use crate::git::Git;
pub use crate::git::MemoryBudget;
use crate::logs::{LogWriter, Masks};
use crate::metrics::Metrics;
use crate::model::{
    AllowedHosts, BuildNetwork, ContextPath, Dialect, DockerfilePath, FailureClass, Job, JobProgress, JobSource,
    LogSink, Outcome, Pull, Sharing, StageName, Status, TagTemplate, escape_bidi,
};
use crate::registry::Registries;
use crate::secrets::Secrets;
use activity::ActivityLog;
pub use clone::source;
use failure::{JobEnd, KeptTag};
pub use gate::SecretGate;
pub use isolation::Isolation;
pub use pauses::Pauses;
use stage::StageRunner;
pub use tags::{LedgerError, LedgerFuture, TagLedger, Tags};
use test::TestTask;
pub use test::{ComposeConfig, TestConfig};
pub use users::ImageUsers;

/// The parts of the daemon that a run uses.
pub struct Tools {
    pub git: Git,
    pub engines: Arc<Pool>,
    pub registries: Arc<Registries>,
    pub secrets: watch::Receiver<Arc<Secrets>>,
    pub tags: Tags,
    pub users: Box<dyn ImageUsers>,
    pub config: PipelineConfig,
    pub isolation: Isolation,
    pub memory: MemoryBudget,
    pub pauses: Pauses,
    pub metrics: Metrics,
}

pub struct PipelineConfig {
    /// GIT_URL: template with `{owner}` and `{repo}`. `None` is GitHub, by ssh if there is a deploy key, else by https.
    pub git_url: Option<String>,
    /// SOURCE=tarball: whether the files of jobs of compose-ci's API come from tarballs.
    pub tarballs: bool,
    /// IMAGE_TAGS: tags that images get besides their jobs' own, those of Conveyor's API aside.
    pub image_tags: Vec<TagTemplate>,
    pub conveyor: ConveyorConfig,
    pub test: TestConfig,
    /// SKIP_WORDS: whether the message of a commit that no webhook reported can say that it is not built.
    pub skip_words: AtomicBool,
    /// DOCKERFILE: path, in the context, of the Dockerfile of a job that names none.
    pub dockerfile: DockerfilePath,
    /// CONTEXT: build context of a job that names none.
    pub context: ContextPath,
    /// DOCKER_REPO_BASE: place of this factory's own images, which are looked up anew.
    pub repo_base: String,
    /// CACHE_SCOPE, PROTECTED and the proxies of builds.
    pub sharing: Sharing,
    /// PATTERN_MEMORY, PATTERNS_MEMORY and PATTERNS_TIME.
    pub pattern_bounds: PatternBounds,
    /// BUILD_NETWORK: network of builds and of HOOK's containers; `None` is the engine's own.
    pub network: Option<BuildNetwork>,
    /// ADD_HOSTS_ALLOWED: private hosts from which `ADD` may fetch.
    pub add_hosts: AllowedHosts,
    /// PULL: base images that a job looks up if it does not say.
    pub pull: Pull,
    /// KEEP_GIT_DIR: whether the context has `.git` if the job does not say.
    pub keep_git_dir: bool,
    pub clone_timeout: Duration,
    pub checkout_timeout: Duration,
    pub build_timeout: Duration,
    /// PUSH_TIMEOUT: longest time of one try.
    pub push_timeout: Duration,
    pub push_retries: u32,
    pub push_retry_wait: Duration,
    /// STALL_TIMEOUT: longest time in which a stage may say and do nothing.
    pub stall_timeout: Duration,
    /// JOB_TIMEOUT: longest time of a whole run.
    pub job_timeout: Duration,
    /// Secrets of the daemon itself, which no build may be given.
    pub refused: Masks,
}

/// The settings of jobs of Conveyor's API.
pub struct ConveyorConfig {
    /// Tags that images get besides the commit's id, by LATEST.
    pub tags: Vec<TagTemplate>,
    /// DRY: whether nothing is pushed.
    pub dry_run: bool,
    /// INLINE_CACHE: whether BuildKit writes into an image from which steps its layers are.
    pub inline_cache: bool,
}

impl PipelineConfig {
    /// Returns the tags that images of jobs of this API get besides the jobs' own, and what the log calls these tags.
    fn tags_of(&self, dialect: Dialect) -> (&'static str, &[TagTemplate]) {
        match dialect {
            Dialect::Conveyor => ("Conveyor's tags", &self.conveyor.tags),
            _ => ("IMAGE_TAGS", &self.image_tags),
        }
    }
}

/// One attempt at one job.
pub struct Run {
    pub job: Job,
    pub log: Arc<LogWriter>,
    /// Receiver of the run's progress, which is stored as it comes.
    pub progress: mpsc::UnboundedSender<JobProgress>,
    pub cancel: CancellationToken,
    /// Asks to stop this attempt and to run the job again, because the engines that could run it are cordoned.
    pub put_back: CancellationToken,
    pub slot: BuildSlot,
}

/// One of the CONCURRENCY build slots. A push that waits for the registry gives it back early.
pub struct BuildSlot(pub Option<OwnedSemaphorePermit>);

/// Runs the job to its end. The caller writes the last line about a failure to the log, because the caller knows whether
/// the job is tried again. `run.cancel` stops the current stage, and the outcome is then `cancelled`.
pub async fn run(tools: &Tools, run: Run) -> Outcome {
    let secrets = tools.secrets.borrow().clone();
    mask(&run, &secrets);
    let waited = run.job.start.filter(|_| run.job.attempt == 1).map(|start| start.since(run.job.created));
    tools.metrics.attempt(waited);
    let log = Arc::new(ActivityLog::new(run.log.clone(), tools.config.stall_timeout));
    let mut runner = StageRunner::new(tools, run.job, log, run.progress, run.cancel);
    let result = stages(tools, secrets, &mut runner, &run.put_back, run.slot).await;
    let (status, cause, class) = match &result {
        Ok(_) => (Status::Success, None, None),
        Err(JobEnd::Failed(cause, class)) => (Status::Failure, Some(cause.clone()), Some(*class)),
        Err(JobEnd::Skipped(reason)) => {
            (Status::Cancelled, Some(format!("skipped: {}", reason.text())), Some(FailureClass::Cancelled))
        }
        Err(JobEnd::Cancelled) => (Status::Cancelled, Some("cancelled".to_owned()), Some(FailureClass::Cancelled)),
        Err(JobEnd::Superseded(KeptTag { commit, protected_ref })) => {
            let image = &runner.job.image;
            let why = match protected_ref {
                None => "; a rebuild of this job moves it".to_owned(),
                Some(name) => format!(" as a tag of {name}, which is protected; a rebuild by an admin moves it"),
            };
            let cause = format!("superseded by {commit}: {image} stays at that commit{why}");
            (Status::Cancelled, Some(cause), Some(FailureClass::Cancelled))
        }
    };
    let superseded_by = match &result {
        Err(JobEnd::Superseded(kept)) => Some(kept.commit.clone()),
        _ => None,
    };
    let image = &runner.job.image;
    match &result {
        Ok(Published::Image(_)) => run.log.write(format!("\nPushed {image}\n").as_bytes()),
        Ok(Published::DryRun) => run.log.write(format!("\nDry run: {image} is built, and not pushed\n").as_bytes()),
        Ok(Published::NoImage) | Err(_) => {}
    }
    run.log.flush();
    Outcome {
        status,
        stages: runner.stages,
        resolved_commit: runner.resolved_commit,
        digest: match result {
            Ok(Published::Image(digest)) => Some(digest),
            _ => None,
        },
        cause: cause.map(|cause| escape_bidi(&cause).into_owned()),
        class,
        superseded_by,
        tags: runner.tags.get(),
    }
}

/// Masks the secrets of the job in its log, which masks the Git token by itself.
fn mask(run: &Run, secrets: &Secrets) {
    let repo = run.job.repo();
    let mut masks = secrets.masks(repo.as_ref());
    let keys: Vec<_> = repo.iter().flat_map(|repo| secrets.deploy_keys(repo).cloned()).collect();
    masks.extend(keys.iter().filter_map(|key| key.openssh()));
    run.log.mask(&masks);
    run.log.mask_binary(&keys.iter().flat_map(|key| key.private_numbers()).collect::<Vec<_>>());
}

/// The end of the image of a job that succeeded.
enum Published {
    /// The registry has it, with this digest.
    Image(String),
    DryRun,
    /// The commit has no Dockerfile for it, and was only tested.
    NoImage,
}

/// Runs the stages.
async fn stages(
    tools: &Tools,
    secrets: Arc<Secrets>,
    runner: &mut StageRunner,
    put_back: &CancellationToken,
    slot: BuildSlot,
) -> Result<Published, JobEnd> {
    let secrets = &*secrets;
    let (fetched, snapshot) = match runner.job.source.clone() {
        JobSource::Git if clone::is_tarball(tools.config.tarballs, &runner.job) => {
            let runner = &mut *runner;
            boxed(move || tarball::run(tools, secrets, runner)).await?
        }
        JobSource::Git => {
            let lent = &mut *runner;
            let (mut fetched, mirror) = boxed(move || clone::run(tools, secrets, lent)).await?;
            let (lent, of_fetched, of_mirror) = (&mut *runner, &mut fetched, &mirror);
            let snapshot = boxed(move || checkout::run(tools, secrets, of_fetched, of_mirror, lent)).await?;
            (fetched, snapshot)
        }
        JobSource::Dockerfile(text) => inline::run(tools, secrets, text, runner).await?,
    };
    let test = test::find(tools, &snapshot, runner).await?;
    let (lent, files, of_fetched) = (&mut *runner, snapshot.clone(), &fetched);
    let (built, engine) = match fetched.plan.has_dockerfile {
        true => {
            let built = boxed(move || build::run(tools, of_fetched, files, lent, put_back)).await?;
            (Some(built.0), built.1)
        }
        false => (None, build::leave_out(tools, lent, put_back).await?),
    };
    let mut of_services = Vec::new();
    if let Some(test) = test {
        let commit = snapshot.commit.into();
        let task = TestTask { tools, engine: &engine, fetched: &fetched, snapshot, commit, built: built.as_ref() };
        let (lent, test) = (&mut *runner, &test);
        of_services = boxed(move || test::run(test, task, lent)).await?;
    }
    let has_image = built.is_some();
    let images: Vec<_> = built.into_iter().chain(of_services).collect();
    if fetched.plan.dry_run {
        return push::leave_out(&images, runner).await.map(|()| Published::DryRun);
    }
    if images.is_empty() {
        runner.skip(StageName::Push);
        return Ok(Published::NoImage);
    }
    if has_image {
        users::log_shared_image(tools, runner).await;
    }
    let (engine, fetched, images) = (&engine, &fetched, &images);
    let digest = boxed(move || push::run(tools, engine, fetched, images, runner, slot)).await?;
    Ok(digest.map_or(Published::NoImage, Published::Image))
}

/// Returns a stage on the heap. The stages would otherwise make a run so large that a debug build's stack of 2 MiB is too
/// small to move it.
fn boxed<'a, T, F: Future<Output = T> + Send + 'a>(stage: impl FnOnce() -> F) -> BoxFuture<'a, T> {
    Box::pin(stage())
}
