//! Containers in which a job's test runs, by bollard over our own connection.
//!
//! A container is removed with its test, however the test ends. [`Containers::finish`] waits for that. If it is not
//! called, because its task was dropped, a task of its own does the same. What a killed daemon leaves is removed when
//! the engine is next found ([`sweep`]).

mod exec;
pub(in crate::engine) mod kept;
mod output;
mod owner;
mod project;
mod sweep;
mod transport;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::models::{ContainerCreateBody, ContainerState, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptions, ContainerArchiveInfoOptions, CreateContainerOptions, UploadToContainerOptions,
};
use bollard::{Docker, body_full, body_try_stream};
use futures_util::{StreamExt, TryStreamExt};
use hyper::StatusCode;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::advice;
use super::api::errors::{EngineError, KilledBy, SIGKILL_EXIT, one_line};
use super::api::kind::ErrorKind;
use super::context::PatternBounds;
use super::context::tar::{self, Owner, SmallFile};
use super::context::tree::Tree;
use super::pool::member::Member;
use super::upkeep::instance::{HOOK_ENV_LABEL, KEPT_LABEL};
use super::upkeep::oom::OomCounter;
use crate::git::Snapshot;
use crate::model::{Backoff, BuildNetwork, JobId, LogSink};
pub use kept::{CopiedPath, KeepLimits, KeptContainer, NoCopy};
use output::LastLine;
use transport::{BollardBody, docker, of_bollard};

/// Time in which [`Containers::finish`] has the engine remove a container. Removing one takes the engine 0.1 s, or up to
/// 10 s for one whose processes do not end.
const REMOVAL: Duration = Duration::from_secs(20);
/// Pauses between the tries of a removal that nobody waits for, and their number. The engine may be restarting.
const REMOVAL_PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
const REMOVAL_TRIES: u32 = 10;
/// Podman's last words about a container whose name another one has.
const NAME_IN_USE: &str = "that name is already in use";
/// Time after which a project that was ended in its midst is removed once more, because an engine makes a container even
/// if nobody waits for it any more.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// Limits of a container; `None` sets none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerLimits {
    /// Bytes of memory; there is no swap beside it.
    pub memory: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Number of processes and threads.
    pub processes: Option<u32>,
}

/// A container to be made.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Name, which begins with the job's id.
    pub name: String,
    /// Name or id of an image that the engine has.
    pub image: String,
    /// Program and its arguments. The image's ENTRYPOINT and CMD are set aside.
    pub command: Vec<String>,
    /// Variables beside those of the image.
    pub env: Vec<(String, String)>,
    /// Absolute path. The engine makes the folder if there is none.
    pub working_dir: String,
    /// Labels beside those by which the daemon knows its containers.
    pub labels: BTreeMap<String, String>,
    /// Paths or volumes of the engine's machine, as `source:target`.
    pub binds: Vec<String>,
    pub limits: ContainerLimits,
    /// Network; `None` is the engine's own.
    pub network: Option<BuildNetwork>,
}

/// The containers of one attempt at a job, on the engine of its lease.
pub struct Containers {
    member: Arc<Member>,
    job: JobId,
    docker: OnceCell<Docker>,
    made: Arc<MadeContainers>,
}

/// The containers that an attempt has made.
struct MadeContainers {
    /// Ids that are to be removed; `None` once the attempt has ended.
    ids: Mutex<Option<Vec<String>>>,
    /// Held while the engine makes a container.
    making: Arc<tokio::sync::Mutex<()>>,
    /// True if compose may have made something.
    has_project: AtomicBool,
    /// True if a container's own command was started.
    has_started: AtomicBool,
    /// True if a container's own command came to its end.
    has_ended: AtomicBool,
}

impl MadeContainers {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ids: Mutex::new(Some(Vec::new())),
            making: Arc::default(),
            has_project: AtomicBool::new(false),
            has_started: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        })
    }

    fn open_project(&self) {
        self.has_project.store(true, Relaxed);
    }

    /// Adds a container, and returns false if the attempt has ended.
    fn add(&self, id: &str) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.as_mut().map(|ids| ids.push(id.into())).is_some()
    }

    /// Ends the attempt, and returns its containers.
    fn end(&self) -> Vec<String> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// A container that was made and not started.
pub struct RunContainer<'a> {
    all: &'a Containers,
    docker: Docker,
    id: String,
    /// Image of the container, as the specification has it.
    image: String,
    owner: Owner,
}

/// The end of a command in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    pub code: i32,
    /// Last line of the output, without secrets, or the engine's reason if the command was not started.
    last_line: String,
    /// Sender of the SIGKILL that ended the command.
    killed: Option<KilledBy>,
    /// Image in which the command could not be started.
    not_in: Option<String>,
}

impl ContainerExit {
    /// # Errors
    /// The command failed. `command` is how the message calls it.
    pub fn success(self, command: &str) -> Result<(), EngineError> {
        let Self { code, last_line, killed, not_in } = self;
        let line = one_line(&last_line);
        let command = &shortened(command);
        let message = match (not_in, &*line) {
            (_, _) if code == 0 => return Ok(()),
            (Some(image), why) => advice::with_cure(&advice::NO_PROGRAM, &[&command, &image, &why]),
            (None, "") => advice::SILENT_COMMAND.fill(&[&command, &code]),
            (None, line) => advice::FAILED_COMMAND.fill(&[&command, &code, &line]),
        };
        let error = EngineError { exit_code: Some(code), ..EngineError::new(ErrorKind::Test, message) };
        Err(killed.map_or_else(|| error.clone(), |killer| error.clone().killed(killer)))
    }
}

/// Returns a command as messages have it, with 80 characters at most.
fn shortened(command: &str) -> String {
    let line = one_line(command);
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl Containers {
    pub(in crate::engine) fn new(member: Arc<Member>, job: JobId) -> Self {
        Self { member, job, docker: OnceCell::new(), made: MadeContainers::new() }
    }

    async fn docker(&self) -> Result<&Docker, EngineError> {
        let engine = &self.member.engine;
        self.docker.get_or_try_init(async || docker(&engine.host, engine.kind().await?.api)).await
    }

    /// Makes a container in the place of one that has its name. A container is made to its end even if this future is
    /// dropped, because an engine goes on with a request that nobody waits for.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<RunContainer<'_>, EngineError> {
        self.member.until_lost(self.try_create(spec)).await
    }

    async fn try_create(&self, spec: &ContainerSpec) -> Result<RunContainer<'_>, EngineError> {
        let docker = self.docker().await?.clone();
        // A label of the image would count where the container has none of that name.
        let mut labels: BTreeMap<_, _> =
            [KEPT_LABEL, HOOK_ENV_LABEL].map(|label| (label.to_owned(), String::new())).into();
        labels.extend(spec.labels.clone());
        labels.extend(self.member.engine.instance.iter().flat_map(|instance| instance.container_labels(self.job)));
        let body = config(spec, labels);
        let (name, member, made) = (spec.name.clone(), self.member.clone(), self.made.clone());
        let making = self.made.making.clone().lock_owned().await;
        let create = async move {
            let _making = making;
            let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
            let first = docker.create_container(Some(options.clone()), body.clone()).await.map_err(of_bollard);
            let id = match first {
                // The daemon's own part of such a request is sound, but for the limits that this engine has.
                Err(error) if error.status == Some(StatusCode::BAD_REQUEST) => {
                    let message = advice::TEST_LIMITS.fill(&[&error.message]);
                    return Err(EngineError::new(ErrorKind::Setup, message));
                }
                // An earlier attempt, or one whose container was kept, has the name. Podman says it with the status 500.
                Err(error) if error.status == Some(StatusCode::CONFLICT) || error.message.contains(NAME_IN_USE) => {
                    member.engine.remove(&format!("/containers/{name}?force=1&v=1")).await?;
                    docker.create_container(Some(options), body).await.map_err(of_bollard)?.id
                }
                first => first?.id,
            };
            if !made.add(&id) {
                remove_later(member, vec![id.clone()], None);
            }
            Ok::<_, EngineError>((docker, id))
        };
        let created = tokio::spawn(create).await;
        let (docker, id) =
            created.map_err(|e| EngineError::engine(format!("a container was not made to its end: {e}")))??;
        let found = docker.inspect_container(&id, None).await.map_err(of_bollard)?;
        let user = found.config.and_then(|config| config.user).unwrap_or_default();
        let owner = self.member.engine.owner(&id, &user).await?;
        Ok(RunContainer { all: self, docker, id, image: spec.image.clone(), owner })
    }

    /// Returns true if a container's own command came to its end.
    pub fn has_ended(&self) -> bool {
        self.made.has_ended.load(Relaxed)
    }

    /// Removes the containers, with their anonymous volumes, or with `keep` only ends what still runs in them. A container
    /// that was never started is not kept, because it may still have what the start deletes.
    pub async fn finish(self, keep: bool) {
        let keep = keep && self.made.has_started.load(Relaxed);
        let engine = &self.member.engine;
        let mut left = Vec::new();
        let all = async {
            // A container that is just being made is waited for.
            let _making = self.made.making.lock().await;
            left = self.made.end();
            while let Some(id) = left.last() {
                let ended = match keep {
                    true => engine.kill(id).await,
                    false => engine.remove(&format!("/containers/{id}?force=1&v=1")).await.map(drop),
                };
                if let Err(error) = ended {
                    tracing::warn!(job = %self.job, "a container of a test is not removed yet: {error}");
                    break;
                }
                left.pop();
            }
        };
        let _ = timeout(REMOVAL, all).await;
        if self.made.has_project.load(Relaxed) {
            let job = self.job.to_string();
            let removal = timeout(REMOVAL, engine.remove_project(&job, keep));
            let is_removed = matches!(removal.await, Ok(Ok(_))) && left.is_empty();
            self.made.has_project.store(!is_removed || !self.made.has_ended.load(Relaxed), Relaxed);
        }
        if keep {
            self.member.prune_kept().await;
        }
        self.remove_later(left, keep);
    }

    /// Removes containers, and a project of which something may be left, in a task of its own.
    fn remove_later(&self, ids: Vec<String>, keep: bool) {
        let project = self.made.has_project.swap(false, Relaxed).then(|| self.job.to_string());
        remove_later(self.member.clone(), ids, project.map(|job| (job, keep)));
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.remove_later(self.made.end(), false);
    }
}

/// Removes containers in a task of its own, then a project with its volume unless that is kept.
fn remove_later(member: Arc<Member>, ids: Vec<String>, project: Option<(String, bool)>) {
    if ids.is_empty() && project.is_none() {
        return;
    }
    tokio::spawn(async move {
        for id in ids {
            for tried in 0..REMOVAL_TRIES {
                if member.engine.remove(&format!("/containers/{id}?force=1&v=1")).await.is_ok() {
                    break;
                }
                sleep(REMOVAL_PAUSES.pause(tried)).await;
            }
        }
        let Some((job, keep)) = project else { return };
        for pause in [Duration::ZERO, STRAGGLERS] {
            sleep(pause).await;
            for tried in 0..REMOVAL_TRIES {
                match member.engine.remove_project(&job, keep).await {
                    Ok(_) => break,
                    Err(error) => tracing::warn!(job, "a project of compose is not removed yet: {error}"),
                }
                sleep(REMOVAL_PAUSES.pause(tried)).await;
            }
        }
    });
}

fn small_files<'a>(files: &[(&'a str, u32, &'a [u8])]) -> Vec<SmallFile<'a>> {
    files.iter().map(|&(path, mode, content)| SmallFile { path, mode, content }).collect()
}

/// Returns the body of `POST /containers/create`.
fn config(spec: &ContainerSpec, labels: BTreeMap<String, String>) -> ContainerCreateBody {
    let ContainerSpec { image, command, env, working_dir, binds, limits, network, .. } = spec;
    let mut words = command.iter().cloned();
    let memory = limits.memory.map(u64::cast_signed);
    ContainerCreateBody {
        image: Some(image.clone()),
        // An ENTRYPOINT of its own takes the place of the image's, and then the image's CMD does not count either.
        entrypoint: Some(words.next().into_iter().collect()),
        cmd: Some(words.collect()),
        env: Some(env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: Some(working_dir.clone()),
        labels: Some(labels.into_iter().collect()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(HostConfig {
            binds: Some(binds.clone()),
            memory,
            memory_swap: memory,
            network_mode: network.as_ref().map(ToString::to_string),
            nano_cpus: limits.nano_cpus.map(u64::cast_signed),
            pids_limit: limits.processes.map(i64::from),
            // Every engine has this driver, and `docker logs` reads it. A flood of output fills no disk.
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".into()),
                config: Some([("max-size".to_owned(), "100m".to_owned())].into()),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl RunContainer<'_> {
    /// Returns true if the container has something at this path.
    pub async fn has(&self, path: &str) -> Result<bool, EngineError> {
        let options = ContainerArchiveInfoOptions { path: path.into() };
        let found = async { self.docker.get_container_archive_info(&self.id, Some(options)).await.map_err(of_bollard) };
        match self.all.member.until_lost(found).await {
            Ok(_) => Ok(true),
            Err(error) if error.status == Some(StatusCode::NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts all files of a commit into the folder `at`, which is absolute and is made. The files are read from Git's
    /// objects while the engine takes them, and keep their modes, links and times. The image's user owns them.
    /// `files` are put below the root, as by [`RunContainer::upload_files`]: one upload is faster than two, because an
    /// engine starts a process for each.
    pub async fn upload_tree(
        &self,
        snapshot: Arc<Snapshot>,
        at: &str,
        files: &[(&str, u32, &[u8])],
        log: &dyn LogSink,
    ) -> Result<(), EngineError> {
        let tree = Arc::new(Tree::new(snapshot, &[], PatternBounds::default()));
        let folder = format!("{}/", at.trim_matches('/'));
        let frames = tar::whole_tree(tree.clone(), folder, self.owner, &small_files(files))?;
        let frames = frames.map_ok(|frame| frame.into_data().unwrap_or_default()).map_err(std::io::Error::other);
        let nobody_waits = CancellationToken::new();
        tokio::select! {
            sent = self.upload(body_try_stream(frames)) => sent.map_err(|error| tree.failure().unwrap_or(error)),
            never = tree.report_progress(log, &nobody_waits) => match never {},
        }
    }

    /// Puts small files and folders (paths that end with `/`) below the root, each with its mode. The image's user owns
    /// them.
    pub async fn upload_files(&self, files: &[(&str, u32, &[u8])]) -> Result<(), EngineError> {
        self.upload(body_full(tar::small_tar(&small_files(files), self.owner))).await
    }

    async fn upload(&self, tar: BollardBody) -> Result<(), EngineError> {
        let options = UploadToContainerOptions { path: "/".into(), ..Default::default() };
        let sent = async { self.docker.upload_to_container(&self.id, Some(options), tar).await.map_err(of_bollard) };
        self.all.member.until_lost(sent).await
    }

    /// Starts the command, writes its output to the log as it comes, standard output and standard error in their order,
    /// and waits for its end.
    pub async fn run(&self, log: &dyn LogSink) -> Result<ContainerExit, EngineError> {
        self.all.member.until_lost(self.run_attached(log)).await
    }

    async fn run_attached(&self, log: &dyn LogSink) -> Result<ContainerExit, EngineError> {
        let ooms = OomCounter::start().await;
        let options = AttachContainerOptions { stream: true, stdout: true, stderr: true, ..Default::default() };
        // Podman makes the process when it is attached to, and not at the start.
        let attached = match self.docker.attach_container(&self.id, Some(options)).await.map_err(of_bollard) {
            Ok(attached) => attached,
            Err(error) => return self.not_started(error, log).await,
        };
        let AttachContainerResults { mut output, input: _input } = attached;
        if let Err(error) = self.docker.start_container(&self.id, None).await.map_err(of_bollard) {
            return self.not_started(error, log).await;
        }
        self.all.made.has_started.store(true, Relaxed);
        let mut last = LastLine::default();
        while let Some(piece) = output.try_next().await.map_err(of_bollard)? {
            log.write(piece.as_ref());
            last.add(piece.as_ref());
        }
        let code = self.wait().await?;
        self.all.made.has_ended.store(true, Relaxed);
        let state = self.state().await?;
        let killed = match code {
            SIGKILL_EXIT if state.oom_killed == Some(true) => Some(KilledBy::Kernel),
            SIGKILL_EXIT => Some(ooms.killed_by(&self.all.member.engine).await),
            _ => None,
        };
        Ok(ContainerExit { code, last_line: log.masked(&last.text(code)), killed, not_in: None })
    }

    /// Returns the end of a command that the engine could not start.
    async fn not_started(&self, error: EngineError, log: &dyn LogSink) -> Result<ContainerExit, EngineError> {
        if error.status.is_none() {
            return Err(error);
        }
        let says = |words: &str| error.message.contains(words);
        // These are the codes of a shell, and of Docker, for a program that is not there or cannot be run. Podman has them
        // for its command line alone, and says it in words.
        let code = match self.state().await?.exit_code {
            Some(code @ (126 | 127)) => code as i32,
            _ if says("OCI runtime attempted to invoke a command that was not found") => 127,
            _ if says("OCI permission denied") => 126,
            // The machine's control groups cannot set a limit.
            _ if says("controller `") && says("is not available") => {
                return Err(EngineError::new(ErrorKind::Setup, advice::TEST_LIMITS.fill(&[&error.message])));
            }
            _ => return Err(error),
        };
        let why = error.message.split_once(" for attach: ").map_or(&*error.message, |(_, why)| why);
        let (last_line, not_in) = (log.masked(why), Some(self.image.clone()));
        Ok(ContainerExit { code, last_line, killed: None, not_in })
    }

    /// Returns the exit code of the command, once it has ended.
    async fn wait(&self) -> Result<i32, EngineError> {
        let mut ends = pin!(self.docker.wait_container(&self.id, None));
        match ends.next().await {
            // bollard makes an error of each code but 0. A text beside the code is the engine's own trouble.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { error, code })) if error.is_empty() => {
                Ok(code as i32)
            }
            Some(Ok(end)) => Ok(end.status_code as i32),
            Some(Err(error)) => Err(of_bollard(error)),
            None => Err(EngineError::engine("the Docker engine did not say how a container ended")),
        }
    }

    async fn state(&self) -> Result<ContainerState, EngineError> {
        let found = self.docker.inspect_container(&self.id, None).await.map_err(of_bollard)?;
        Ok(found.state.unwrap_or_default())
    }
}
