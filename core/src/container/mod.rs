//! Process 1 of a container: starts the daemon as its own user with the group of the engine's socket, and an engine inside if
//! there is no socket, and the way in by ssh. It reaps orphans, passes signals on, stops the engine last, and ends with the
//! daemon's exit code.
//! A command that was given by hand takes its place, as the same user.

mod cgroup;
mod engine;
mod reaper;
mod service;

use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use engine::InnerEngine;
pub use service::Service;

use crate::process::{ProcessError, Program, ProgramUser, replace_self};

/// The user and the group of the daemon, as the Dockerfile makes them.
const FACTORY: u32 = 8080;

/// The settings about the daemon's surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub data_dir: PathBuf,
    /// The engine's address, in the form of DOCKER_HOST. `None` if the settings name several engines.
    pub engine: Option<String>,
    /// Further arguments of the dockerd inside of the container.
    pub dockerd_args: Vec<String>,
    /// `image-factory sshd`, if it is to run beside the daemon.
    pub sshd: Option<SshdCommand>,
}

/// The arguments and further variables of `image-factory sshd`.
#[derive(Debug, Clone)]
pub struct SshdCommand {
    pub args: Vec<OsString>,
    pub variables: Vec<(String, String)>,
}

/// Time that the sessions of ssh have to be ended.
const SSHD_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`image-factory init` prepares a container, and this is none: run `image-factory serve` here")]
    NoContainer,
    #[error(
        "{} is no engine's socket: add `-v /var/run/docker.sock:/var/run/docker.sock` or `--privileged`, or set \
         DOCKER_HOST to another engine's address", .0.display()
    )]
    NoSocket(PathBuf),
    #[error(
        "{} is no engine's socket: add `-v /var/run/docker.sock:/var/run/docker.sock`, or set DOCKER_HOST to another \
         engine's address. A container with `--user` starts no engine", .0.display()
    )]
    NoSocketForUser(PathBuf),
    #[error(
        "{} is no engine's socket, and this image has no engine: add `-v /var/run/docker.sock:/var/run/docker.sock`, or \
         take the image of the target with-engine", .0.display()
    )]
    NoEngine(PathBuf),
    #[error("another container uses {}: stop it, or give this one a volume of its own", .0.display())]
    InUse(PathBuf),
    #[error("{} cannot hold the engine's data: {source}; make it writable for root", path.display())]
    EngineData { path: PathBuf, source: io::Error },
    #[error("the owner of {} cannot be changed: {source}; make it writable for user {FACTORY}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error(
        "root may not become user {FACTORY} here: add `--cap-add=SETUID --cap-add=SETGID`, or `--user {FACTORY}:GROUP`"
    )]
    NoUser,
    #[error(transparent)]
    Process(ProcessError),
    #[error("{} cannot be run: {source}", program.display())]
    Command { program: PathBuf, source: io::Error },
    #[error("signals cannot be caught: {0}")]
    Signals(#[from] io::Error),
}

/// Fails on a machine that is no container, because the engine and its mounts would be the machine's own.
///
/// # Errors
/// This process is in no container.
pub fn check_container() -> Result<(), InitError> {
    let has_variable = |name: &str| std::env::var_os(name).is_some();
    is_container(std::process::id(), Path::new("/"), has_variable).then_some(()).ok_or(InitError::NoContainer)
}

/// True if this process is a container's: Docker and Podman make a file, Kubernetes and systemd-nspawn set a variable.
fn is_container(pid: u32, root: &Path, has_variable: impl Fn(&str) -> bool) -> bool {
    pid == 1
        || [".dockerenv", "run/.containerenv"].iter().any(|file| root.join(file).exists())
        || ["KUBERNETES_SERVICE_HOST", "container"].into_iter().any(has_variable)
}

/// Makes the program of this process. With `as_daemon` it has the user that the daemon would have, and the group of the
/// engine's socket. Returns only an error.
pub fn replace_by(surroundings: &Surroundings, program: &Path, args: &[OsString], as_daemon: bool) -> InitError {
    let drops = geteuid().is_root() && as_daemon;
    if drops && let Err(error) = own(&surroundings.data_dir) {
        return error;
    }
    let groups = match find_engine(surroundings.engine.as_deref()) {
        Found::Socket(group) => vec![group],
        Found::Elsewhere | Found::Nothing(_) => Vec::new(),
    };
    let home = || vec![("HOME".into(), surroundings.data_dir.display().to_string())];
    let user = drops.then_some(ProgramUser { id: FACTORY, groups });
    let variables = if drops { home() } else { Vec::new() };
    let source = replace_self(program.as_os_str(), args, &variables, user.as_ref());
    match source.kind() {
        io::ErrorKind::PermissionDenied => InitError::NoUser,
        _ => InitError::Command { program: program.into(), source },
    }
}

/// Runs the daemon, a program with its arguments, until it ends. It runs as the factory's user if this process is root's,
/// and as this process's user otherwise. Returns its exit code, or 128 and the signal that ended it.
///
/// # Errors
/// The engine's socket is missing and no engine can be started, the data folder cannot become the factory's, or the daemon cannot be started.
pub async fn run(surroundings: &Surroundings, daemon: &Path, args: &[OsString]) -> Result<u8, InitError> {
    // Signals are caught first, because the kernel drops those that process 1 does not catch.
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(reaper::run(signal(SignalKind::child())?));
    let mut program = Program::new(&daemon.display().to_string()).args(args).environment().service();
    let is_root = geteuid().is_root();
    if is_root {
        own(&surroundings.data_dir)?;
    }
    let (groups, inner) = match find_engine(surroundings.engine.as_deref()) {
        Found::Elsewhere => (Vec::new(), None),
        Found::Socket(group) => (vec![group], None),
        Found::Nothing(socket) if is_root => {
            let Surroundings { data_dir, dockerd_args, .. } = surroundings;
            (Vec::new(), Some(InnerEngine::prepare(&socket, data_dir, dockerd_args).await?))
        }
        Found::Nothing(socket) => return Err(InitError::NoSocketForUser(socket)),
    };
    if is_root {
        program = program.env("HOME", &surroundings.data_dir).user(ProgramUser { id: FACTORY, groups });
    }
    let (stop, stop_sshd) = (CancellationToken::new(), CancellationToken::new());
    let engine = inner.map(|engine| {
        tokio::spawn({
            let stop = stop.clone();
            async move { engine.run(stop).await }
        })
    });
    let sshd = surroundings.sshd.clone().filter(|_| is_root).map(|SshdCommand { args, variables }| {
        let (daemon, stop) = (daemon.display().to_string(), stop_sshd.clone());
        let program = move || {
            let program = Program::new(&daemon).args(&args).environment().service();
            variables.iter().fold(program, |program, (name, value)| program.env(name, value))
        };
        tokio::spawn(
            async move { Service { name: "`image-factory sshd`", program, grace: SSHD_GRACE }.run(stop).await },
        )
    });
    if surroundings.sshd.is_some() && !is_root {
        tracing::warn!("SSHD=auto needs a container that starts as root, so nobody gets in by ssh: leave out `--user`");
    }
    let mut running = program.start().map_err(|error| match error {
        // The binary can be executed, because it is this one.
        ProcessError::Forbidden { .. } => InitError::NoUser,
        error => InitError::Process(error),
    })?;
    let pid = running.id().and_then(Pid::from_raw);
    let forward = async {
        loop {
            let signal = tokio::select! {
                Some(()) = term.recv() => Signal::TERM,
                Some(()) = interrupt.recv() => Signal::INT,
                Some(()) = hangup.recv() => Signal::HUP,
            };
            // The call fails only if the daemon has just ended.
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    };
    let status = tokio::select! {
        status = running.wait() => status.map_err(InitError::Process)?,
        () = forward => unreachable!("signals come for ever"),
    };
    // The engine is stopped last, because the daemon's builds need it until they have ended.
    for (stop, task) in [(stop_sshd, sshd), (stop, engine)] {
        stop.cancel();
        if let Some(task) = task {
            // The task fails only if it panicked, which the log has.
            let _ = task.await;
        }
    }
    let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1))
}

/// Where the engine is.
enum Found {
    /// At another address than a socket of this machine.
    Elsewhere,
    /// At a socket of this group.
    Socket(u32),
    /// No engine has the socket.
    Nothing(PathBuf),
}

/// Finds the engine. A socket that was left by an engine inside of this container, which was killed, is no engine's.
fn find_engine(address: Option<&str>) -> Found {
    let Some(path) = address.and_then(|address| address.strip_prefix("unix://")) else { return Found::Elsewhere };
    // The number of slots may stand behind the path.
    let path = Path::new(path.split(';').next().unwrap_or_default());
    match fs::metadata(path) {
        Ok(file) if file.file_type().is_socket() && !Path::new(engine::RUN).exists() => Found::Socket(file.gid()),
        _ => Found::Nothing(path.into()),
    }
}

/// Gives the data folder to the factory's user if it is root's, as the folder of a new bind mount is. What is in it stays.
fn own(dir: &Path) -> Result<(), InitError> {
    let failed = |source| InitError::DataDir { path: dir.into(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    if fs::metadata(dir).map_err(failed)?.uid() == 0 {
        std::os::unix::fs::chown(dir, Some(FACTORY), Some(FACTORY)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_no_container() {
        let dir = tempfile::tempdir().unwrap();
        let check = |pid, variable| is_container(pid, dir.path(), |name| Some(name) == variable);
        assert!(!check(4711, None));
        assert!(check(1, None) && check(4711, Some("container")));
        fs::write(dir.path().join(".dockerenv"), "").unwrap();
        assert!(check(4711, None));
    }
}
