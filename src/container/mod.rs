//! Process 1 of a container: starts the daemon as its own user with the group of the engine's socket, and an engine inside if
//! there is no socket. It reaps orphans, passes signals on, stops the engine last, and ends with the daemon's exit code.

mod cgroup;
mod engine;
mod reaper;
mod service;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use engine::InnerEngine;
pub use service::Service;

use crate::process::{ProcessError, Program, ProgramUser};

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
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(
        "{} is no engine's socket: add `-v /var/run/docker.sock:/var/run/docker.sock` or `--privileged`, or set \
         DOCKER_HOST to another engine's address", .0.display()
    )]
    NoSocket(PathBuf),
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
    #[error("signals cannot be caught: {0}")]
    Signals(#[from] io::Error),
}

/// Runs `daemon`, a program with its arguments, until it ends. It runs as the factory's user if this process is root's, and
/// as this process's user otherwise. Returns its exit code, or 128 and the signal that ended it.
///
/// # Errors
/// The engine's socket is missing and no engine can be started, the data folder cannot become the factory's, or the daemon cannot be started.
pub async fn run(surroundings: &Surroundings, daemon: &[String]) -> Result<u8, InitError> {
    // Signals are caught first, because the kernel drops those that process 1 does not catch.
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(reaper::run(signal(SignalKind::child())?));
    let (name, args) = daemon.split_first().map_or(("image-factory", &[][..]), |(name, args)| (name.as_str(), args));
    let mut program = Program::new(name).args(args).environment().service();
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
        Found::Nothing(socket) => return Err(InitError::NoSocket(socket)),
    };
    if is_root {
        program = program.env("HOME", &surroundings.data_dir).user(ProgramUser { id: FACTORY, groups });
    }
    let stop = CancellationToken::new();
    let engine = inner.map(|engine| {
        tokio::spawn({
            let stop = stop.clone();
            async move { engine.run(stop).await }
        })
    });
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
    stop.cancel();
    if let Some(engine) = engine {
        // The task fails only if it panicked, which the log has.
        let _ = engine.await;
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
