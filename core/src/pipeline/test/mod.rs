//! The test stage, between build and push: a command that has to succeed before the image is pushed.
//!
//! [`find`] decides before the build how a job is tested, so that a job that cannot be tested is not built in vain. A job
//! of compose-ci's API has this stage, and no other job.

mod compose;
mod hook;

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Tools;
use super::build::ImageToPush;
use super::clone::Fetched;
use super::failure::{JobEnd, StageFailure};
use super::stage::StageRunner;
use crate::engine::{ContainerLimits, EngineLease};
use crate::git::Snapshot;
use crate::model::{CommitId, FailureClass, PinnedImage, StageName};
pub use compose::ComposeConfig;
#[cfg(fuzzing)]
pub use compose::fuzz as read_compose_config;

/// The settings of tests.
pub struct TestConfig {
    /// HOOK: program and arguments of the test; empty if it is not set.
    pub hook: Vec<String>,
    /// BUILD_IMAGE: image in which the test runs; `None` for the image that was just built.
    pub build_image: Option<PinnedImage>,
    /// Names and values of the variables that HOOK_ENV names.
    pub env: Vec<(String, Zeroizing<String>)>,
    /// GARBAGE_COLLECT=0: whether containers are kept after their tests.
    pub keep: bool,
    /// TEST_TIMEOUT: longest time of a test.
    pub timeout: Duration,
    pub limits: ContainerLimits,
    pub compose: ComposeConfig,
}

/// Kind of a job's test.
pub(super) enum TestKind {
    /// By the command of HOOK.
    Hook,
    /// By the service `tests` of the commit's compose file.
    Compose,
}

/// Parts of a run that a test uses.
pub(super) struct TestTask<'a> {
    pub tools: &'a Tools,
    pub engine: &'a EngineLease,
    pub fetched: &'a Fetched,
    pub snapshot: Arc<Snapshot>,
    pub commit: CommitId,
    /// The job's own image; `None` if the commit has no Dockerfile, which the compose way alone allows.
    pub built: Option<&'a ImageToPush>,
}

/// Returns how the job is tested; `None` if it has no test stage.
///
/// # Errors
/// The settings say of no test. The job fails in this stage, before it is built.
pub(super) async fn find(
    tools: &Tools,
    snapshot: &Snapshot,
    runner: &mut StageRunner,
) -> Result<Option<TestKind>, JobEnd> {
    if !runner.job.dialect.has_tests() {
        return Ok(None);
    }
    let config = &tools.config.test;
    if !config.hook.is_empty() {
        return Ok(Some(TestKind::Hook));
    }
    let refused = match compose::is_usable(config, &runner.job, snapshot).await {
        Ok(true) => return Ok(Some(TestKind::Compose)),
        Err(failed) => failed,
        // Where compose is set up, the repository has to bring its file.
        Ok(false) if config.build_image.is_some() => {
            let files = compose::names(&config.compose);
            StageFailure::new(
                FailureClass::Source,
                format!(
                    "there is no compose file ({files}): add one with a service `tests`, or have the operator set HOOK"
                ),
            )
        }
        Ok(false) => StageFailure::new(
            FailureClass::Config,
            "no test command is set: the operator sets HOOK, such as HOOK=\"make test\"",
        ),
    };
    runner.stage(StageName::Test, "test", async { Err(refused) }).await
}

/// Runs the test of a job that was just built, and returns the images that are to be pushed beside the job's own. The
/// engine is leased meanwhile, so the images stay.
pub(super) async fn run(
    kind: &TestKind,
    task: TestTask<'_>,
    runner: &mut StageRunner,
) -> Result<Vec<ImageToPush>, JobEnd> {
    // A debug build's stack is too small to move them.
    match kind {
        TestKind::Hook => Box::pin(hook::run(task, runner)).await.map(|()| Vec::new()),
        TestKind::Compose => Box::pin(compose::run(task, runner)).await,
    }
}
