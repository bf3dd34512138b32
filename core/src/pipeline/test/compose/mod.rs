//! Compose: the command of the service `tests`, beside the other services of the repository's compose file.
//!
//! Docker Compose is the program of BUILD_IMAGE. It runs in one container with the engine's socket and the commit's files,
//! step by step: `config`, whose output is rewritten and given back to it, `build`, `up`, and `run` as the container's own
//! command. So `docker logs` of a kept container has the test's output, and `docker start` repeats it. The images are
//! pulled by the daemon, whose logins no container is given. The project is removed by its labels; see
//! `engine/containers/project.rs`.

mod images;
mod project;
mod yaml;

/// Reads what `docker-compose config` prints.
#[cfg(fuzzing)]
pub fn fuzz(config: &[u8]) {
    let _ = yaml::read(&String::from_utf8_lossy(config));
}

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::hook::{fetch_image, is_result, quoted, variables};
use super::{TestConfig, TestTask};
use crate::engine::{ContainerExit, ContainerSpec, KEPT_LABEL, RunContainer};
use crate::git::{PathEnd, Snapshot};
use crate::model::{Destinations, FailureClass, Job, LogSink, PinnedImage, RepoGlob, StageName};
use crate::pipeline::activity::ActivityLog;
use crate::pipeline::build::ImageToPush;
use crate::pipeline::failure::{JobEnd, StageFailure};
use crate::pipeline::stage::StageRunner;
use project::{Project, Rewriting, TESTS};

/// Files that compose looks for in the root of a repository.
const USUAL: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const SOCKET: &str = "/var/run/docker.sock";

const FOLDER: &str = ".image-factory/";
/// Script that becomes Docker Compose.
const COMPOSE: (&str, &str) = (".image-factory/compose", include_str!("compose.sh"));
/// Script of the container's own command: it waits until the steps before are done, and runs the service `tests`.
const RUN: (&str, &str) = (".image-factory/run", include_str!("run.sh"));
/// The rewritten project.
const PROJECT: &str = ".image-factory/project.json";
/// Empty file that says that the steps before are done.
const READY: &str = ".image-factory/ready";
/// Values of HOOK_ENV, as a shell reads them.
const ENV: &str = ".image-factory/env";

/// The settings of the compose way.
pub struct ComposeConfig {
    /// COMPOSE_FILE: paths in the repository; empty for those that compose looks for.
    pub files: Vec<String>,
    /// HOOK_SOCKET: the repositories whose compose files may use an engine.
    pub repos: Vec<RepoGlob>,
    /// The settings that say which images a repository may push.
    pub destinations: watch::Sender<Destinations>,
}

impl ComposeConfig {
    /// Returns the folder of the first file, below the folder of the commit's files.
    fn folder(&self, root: &str) -> String {
        let folder = self.files.first().and_then(|file| file.rsplit_once('/')).map(|(folder, _)| folder);
        folder.map_or_else(|| root.to_owned(), |folder| format!("{root}/{folder}"))
    }
}

/// Returns true if the commit has the files that compose would read.
///
/// # Errors
/// The settings do not let this repository use compose.
pub(super) async fn is_usable(config: &TestConfig, job: &Job, snapshot: &Snapshot) -> Result<bool, StageFailure> {
    let ComposeConfig { files, repos, destinations } = &config.compose;
    let mut found = false;
    let looked_for = if files.is_empty() { USUAL.to_vec() } else { files.iter().map(String::as_str).collect() };
    for file in looked_for {
        found |= matches!(snapshot.find(file.as_bytes()).await?, PathEnd::File { .. });
    }
    if !found {
        return Ok(false);
    }
    let refused = |message: String| Err(StageFailure::new(FailureClass::Config, message));
    let (owner, repo) = (&job.context.owner, &job.context.repo);
    let case = destinations.borrow().repo_case;
    if !repos.iter().any(|glob| glob.is_match(case, owner, repo)) {
        return refused(format!(
            "HOOK_SOCKET does not name {owner}/{repo}, and its compose file would be root on the engine: the operator adds \
             it, or sets HOOK"
        ));
    }
    if config.build_image.is_none() {
        return refused(
            "the compose file needs an image with Docker Compose: the operator sets BUILD_IMAGE, or sets HOOK".into(),
        );
    }
    Ok(true)
}

/// Returns the names of the files that were looked for.
pub(super) fn names(config: &ComposeConfig) -> String {
    if config.files.is_empty() { USUAL.join(", ") } else { config.files.join(", ") }
}

/// Runs the service `tests`, and returns the images of the other services that are to be pushed. Nothing of the project is
/// left, whatever the end is.
pub(super) async fn run(task: TestTask<'_>, runner: &mut StageRunner) -> Result<Vec<ImageToPush>, JobEnd> {
    let (config, log, job) = (&task.tools.config.test, runner.log.clone(), runner.job.clone());
    let containers = task.engine.containers();
    let image = config.build_image.as_ref().map(PinnedImage::to_string).unwrap_or_default();
    let work = Box::pin(async {
        if let Some(image) = &config.build_image {
            fetch_image(&task, image, &log).await?;
        }
        let root = containers.open_project().await?;
        let folder = config.compose.folder(&root);
        let mut env = variables(&job, &task);
        env.push(("DOCKER_HOST".into(), format!("unix://{SOCKET}")));
        // compose 1 gives an engine a minute for its answer to anything, which a test without output is, too.
        env.push(("COMPOSE_HTTP_TIMEOUT".into(), config.timeout.as_secs().to_string()));
        if !task.engine.has_buildkit().await? {
            // compose 2 takes every engine on Linux for one with BuildKit. buildx would pull one into a container.
            env.push(("DOCKER_BUILDKIT".into(), "0".into()));
        }
        let spec = ContainerSpec {
            name: job.id.to_string(),
            image: image.clone(),
            command: vec!["/bin/sh".into(), format!("/{}", RUN.0), folder.clone()],
            env,
            working_dir: root.clone(),
            labels: config.keep.then(|| (KEPT_LABEL.to_owned(), "1".to_owned())).into_iter().collect(),
            binds: vec![format!("{}:{root}", job.id), format!("{}:{SOCKET}", task.engine.socket())],
            limits: config.limits.clone(),
            ..Default::default()
        };
        let container = containers.create(&spec).await?;
        let variables = env_file(config, &log);
        let [compose, run] = [COMPOSE, RUN].map(|(path, script)| (path, 0o600, script.as_bytes()));
        let env = (ENV, 0o600, variables.as_bytes());
        let files = [(FOLDER, 0o700, &b""[..]), compose, run, env];
        container.upload_tree(task.snapshot.clone(), &root, &files, &*log).await?;
        let mut tests = Box::pin(container.run(&*log));
        let steps = Steps { task: &task, container: &container, root: &root, folder: &folder, job: &job, log: &log };
        let images = tokio::select! {
            images = Box::pin(steps.before_tests()) => images?,
            ended = &mut tests => return Err(not_waiting(ended?, &image)),
        };
        tests.await?.success(&format!("docker-compose run {TESTS}"))?;
        Ok(images)
    });
    let work = log.within(config.timeout, "TEST_TIMEOUT", work);
    let ended = runner.stage(StageName::Test, &format!("docker-compose run {TESTS} ({image})"), work).await;
    // The container's own command deletes what has HOOK_ENV's values.
    let may_have_values = !config.env.is_empty() && !containers.has_ended();
    if config.keep && may_have_values {
        log.write(b"The container is not kept, because it may have values of HOOK_ENV\n");
    }
    containers.finish(config.keep && !may_have_values && is_result(&ended)).await;
    ended
}

/// Returns the failure of a container that does not wait for the steps.
fn not_waiting(ended: ContainerExit, image: &str) -> StageFailure {
    let why = ended.success("/bin/sh").err().map(|error| format!(" ({})", error.message)).unwrap_or_default();
    let message = format!("BUILD_IMAGE={image} does not run{why}: it must have sh, sleep and Docker Compose");
    StageFailure::new(FailureClass::Config, message)
}

/// Returns the lines that set HOOK_ENV's values, which are masked from now on.
fn env_file(config: &TestConfig, log: &ActivityLog) -> Zeroizing<String> {
    log.mask(&config.env.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
    let lines = config.env.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
    Zeroizing::new(lines.collect())
}

/// The steps before the service `tests` runs.
struct Steps<'a> {
    task: &'a TestTask<'a>,
    container: &'a RunContainer<'a>,
    /// Folder of the commit's files, on the engine's machine as in the container.
    root: &'a str,
    /// Folder of the compose file, by which compose finds an `.env` file.
    folder: &'a str,
    job: &'a Job,
    log: &'a ActivityLog,
}

impl Steps<'_> {
    /// Builds and starts what the test needs, lets it begin, and returns the images that are to be pushed after it.
    async fn before_tests(&self) -> Result<Vec<ImageToPush>, StageFailure> {
        let Self { task, container, log, .. } = self;
        let Project { text, built, used, left_out } = Box::pin(self.project()).await?;
        left_out.iter().for_each(|line| log.write(format!("Not to be pushed: {line}\n").as_bytes()));
        container.upload_files(&[(PROJECT, 0o600, text.as_bytes())]).await?;
        Box::pin(images::pull(task, &used, &built, self.root, log)).await;
        if !built.is_empty() {
            task.engine.hold(&built.iter().map(|service| service.image.clone()).collect::<Vec<_>>());
            self.compose(&["build"], FailureClass::Dockerfile).await?;
        }
        let mut images = Vec::new();
        for service in built {
            images.extend(images::to_push(task, service).await?);
        }
        // Profiles that nobody asked for, and the test itself, are left out.
        let tests = format!("{TESTS}=0");
        self.compose(&["up", "--detach", "--no-build", "--scale", &tests], FailureClass::Test).await?;
        container.upload_files(&[(READY, 0o600, b"")]).await?;
        Ok(images)
    }

    /// Returns the project, rewritten.
    async fn project(&self) -> Result<Project, StageFailure> {
        let Self { task, container, job, log, .. } = self;
        let ComposeConfig { files, destinations, .. } = &task.tools.config.test.compose;
        let files: Vec<_> = files.iter().flat_map(|file| ["-f", file]).collect();
        let words = [&["/bin/sh", "/.image-factory/compose"], &*files, &["config"]].concat();
        log.write(b"$ docker-compose config\n");
        let (exit, text) = container.exec_taking(&words, *log).await?;
        let class = if exit.code == 127 { FailureClass::Config } else { FailureClass::Source };
        succeeded(exit, "docker-compose config", class).map_err(|failed| {
            // Users know their files by the paths in the repository.
            let message = failed.message.replace(&format!("{}/", self.root), "");
            StageFailure { message, ..failed }
        })?;
        let rewriting = Rewriting {
            job: job.id,
            may_push: &|image| destinations.borrow().may_push(&job.context, job.own_name.as_deref(), image),
            labels: &|image| task.engine.image_labels(image),
        };
        let rewritten = yaml::read(&String::from_utf8_lossy(&text)).and_then(|config| rewriting.apply(config));
        rewritten.map_err(|why| {
            StageFailure::new(FailureClass::Source, format!("the compose file cannot be used for a test: {why}"))
        })
    }

    async fn compose(&self, command: &[&str], class: FailureClass) -> Result<(), StageFailure> {
        let shown = format!("docker-compose {}", command.join(" "));
        self.log.write(format!("$ {shown}\n").as_bytes());
        let project = format!("/{PROJECT}");
        let options = ["/bin/sh", "/.image-factory/compose", "--project-directory", self.folder, "-f", &project];
        let exit = self.container.exec(&[&options, command].concat(), self.log).await?;
        succeeded(exit, &shown, class)
    }
}

/// Returns the failure of a step, whose class is this one unless it was killed.
fn succeeded(exit: ContainerExit, command: &str, class: FailureClass) -> Result<(), StageFailure> {
    exit.success(command).map_err(|error| {
        let failed = StageFailure::from(error);
        StageFailure { class: if failed.class == FailureClass::Test { class } else { failed.class }, ..failed }
    })
}
