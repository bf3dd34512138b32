//! Starts programs; nothing else in the crate does. A program gets a cleared environment and a process group of its
//! own. It does not outlive us: the group is killed when its handle is dropped, and the kernel kills the program when we
//! die, even by SIGKILL. [`kill_leftovers`] kills the program's own children then.
//!
//! The kernel ties that parent-death signal to the *thread* that started the program. Tokio's workers live as long as
//! their runtime; a `spawn_blocking` thread ends after 10 s of idleness and would take the program with it. Programs
//! are therefore started only by async code.

mod cgroup;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{fs, io};

use rustix::process::{
    DumpableBehavior, Gid, Pid, PidfdFlags, Resource, Rlimit, Signal, Uid, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::model::LogSink;
pub use cgroup::{GroupLimits, NoGroup, ProgramGroup};

/// The folders in which programs are looked for. The daemon's own PATH is not passed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variable that names a program's owner in its environment, for [`kill_leftovers`].
const OWNER: &str = "IMAGE_FACTORY_OWNER";
/// Largest output of a program that is kept, in bytes.
const LARGEST_OUTPUT: usize = 64 << 20;
/// Number by which the kernel prefers a program to the daemon when it needs memory, as `oom_score_adj`.
const OOM_SCORE: &str = "500";
/// The end of a program's stderr that is kept for the error message, in bytes.
const STDERR_TAIL: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{program} is not installed: it is in none of {PATH}; install it")]
    NotInstalled { program: String },
    #[error("{program} may not be executed: {source}; correct its permissions, or install it anew")]
    Forbidden { program: String, source: io::Error },
    #[error("{program} cannot be run: {source}")]
    Io { program: String, source: io::Error },
    #[error("{program} printed more than {} MiB, which is not kept", LARGEST_OUTPUT >> 20)]
    TooMuch { program: String },
}

/// Limits of each process of a program; its children have the same limits.
#[derive(Debug, Clone, Copy)]
pub struct ProcessLimits {
    /// Bytes of its data (RLIMIT_DATA): what it allocates, and not the files that it maps.
    pub memory: u64,
    /// Time of the processors, of all its threads together (RLIMIT_CPU), in whole seconds.
    pub cpu_time: Duration,
    /// Group in which it has limits together with other programs.
    pub group: Option<&'static ProgramGroup>,
}

/// Another user to run a program as, which only root can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramUser {
    /// The id of the user and of its group.
    pub id: u32,
    /// The ids of its further groups.
    pub groups: Vec<u32>,
}

impl ProgramUser {
    fn gids(&self) -> impl Iterator<Item = Gid> {
        self.groups.iter().map(|&id| Gid::from_raw(id))
    }
}

/// A program to be started.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    limits: Option<ProcessLimits>,
    user: Option<ProgramUser>,
    is_service: bool,
}

/// The end of a program, and its output.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// All of stdout, or nothing if it went to a log.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of stderr, or a little more.
    pub stderr: String,
}

impl Program {
    /// Prepares a program, which is looked up in the system's usual folders. Its environment has PATH, HOME (a folder that
    /// does not exist), LANG, and the variables of [`Program::env`]; its stdin is empty.
    pub fn new(name: &str) -> Self {
        #[allow(clippy::disallowed_methods, reason = "this is the module that the others are sent to")]
        let mut command = Command::new(name);
        command.env_clear().env("PATH", PATH).env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Self { name: name.into(), command, limits: None, user: None, is_service: false }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Limits what each process of the program may take.
    pub fn limits(mut self, limits: ProcessLimits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Gives the program the variables of this process's environment.
    pub fn environment(mut self) -> Self {
        self.command.envs(std::env::vars_os());
        self
    }

    /// Gives the program this process's stdout and stderr. It is as dear to the kernel as this process when memory is short.
    pub fn service(mut self) -> Self {
        self.command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        self.is_service = true;
        self
    }

    /// Runs the program as another user, without any of root's capabilities.
    pub fn user(mut self, user: ProgramUser) -> Self {
        self.user = Some(user);
        self
    }

    /// Marks the program and its children as the owner's.
    pub fn owner(self, owner: &Path) -> Self {
        self.env(OWNER, owner)
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Starts the program with a piped stdin, and with stdout and stderr piped unless it is a service.
    pub fn start(mut self) -> Result<Running, ProcessError> {
        self.command.stdin(Stdio::piped());
        self.spawn()
    }

    /// Runs the program to its end. Its stdout and stderr go to `log` as they come.
    pub async fn run(self, log: &dyn LogSink) -> Result<Finished, ProcessError> {
        self.spawn()?.finish(Some(log)).await
    }

    /// Runs the program to its end and keeps its output, which may have 64 MiB.
    pub async fn output(self) -> Result<Finished, ProcessError> {
        self.spawn()?.finish(None).await
    }

    fn spawn(mut self) -> Result<Running, ProcessError> {
        let parent = rustix::process::getpid();
        let limits = self.limits;
        let user = self.user;
        let groups = user.iter().flat_map(ProgramUser::gids).collect::<Vec<_>>();
        let prepare = move || {
            if let Some(ProgramUser { id, .. }) = &user {
                change_user(*id, &groups)?;
            }
            // A change of the user would clear the signal.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if let Some(ProcessLimits { memory, cpu_time, group }) = limits {
                if let Some(group) = group {
                    group.join()?;
                }
                // A second more to the hard limit makes the signal SIGXCPU, by which the limit is told.
                limit(Resource::Data, memory, memory)?;
                limit(Resource::Cpu, cpu_time.as_secs(), cpu_time.as_secs().saturating_add(1))?;
            }
            // The parent may have died before the signal was set.
            match rustix::process::getppid() {
                Some(pid) if pid == parent => Ok(()),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        // SAFETY: between fork and exec the closure makes system calls only and allocates nothing.
        #[expect(unsafe_code, reason = "std starts no program with a parent-death signal")]
        unsafe {
            self.command.pre_exec(prepare)
        };
        let name = self.name;
        let child = self.command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ProcessError::NotInstalled { program: name.clone() },
            io::ErrorKind::PermissionDenied => ProcessError::Forbidden { program: name.clone(), source },
            _ => ProcessError::Io { program: name.clone(), source },
        })?;
        if let Some(pid) = child.id().filter(|_| !self.is_service) {
            // The child itself cannot write it before it has become the program, because the daemon is not dumpable. The
            // daemon can do without it: a machine without /proc has no such scores.
            let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE);
        }
        Running::new(child, name.clone()).map_err(|source| ProcessError::Io { program: name, source })
    }
}

/// A program that runs. Dropping this kills the program's group; the runtime reaps the program.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    group: Option<Pid>,
    ended: AsyncFd<OwnedFd>,
}

impl Running {
    fn new(child: Child, name: String) -> io::Result<Self> {
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        // SAFETY: an OwnedFd is open, and the same, as long as it lives.
        #[expect(unsafe_code, reason = "tokio wants the promise that the descriptor stays open")]
        let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        Ok(Self { name, child, group: Some(pid), ended })
    }

    /// Returns the id of the process and its group, until [`Running::wait`] has returned.
    pub fn id(&self) -> Option<i32> {
        self.group.map(Pid::as_raw_pid)
    }

    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the program's end, then kills the rest of its group.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let ended = async {
            // The program has ended but is not reaped yet, so its id, and its group's, cannot belong to another one.
            self.ended.readable().await?.retain_ready();
            self.kill_group();
            self.child.wait().await
        };
        ended.await.map_err(|source| ProcessError::Io { program: self.name.clone(), source })
    }

    /// Reads both streams to their end and waits.
    pub async fn finish(mut self, log: Option<&dyn LogSink>) -> Result<Finished, ProcessError> {
        self.stdin();
        let (out, err, program) = (self.stdout(), self.stderr(), self.name.clone());
        let stdout = async {
            match log {
                Some(_) => Ok(drain(out, 0, log).await),
                None => whole(out).await.ok_or(ProcessError::TooMuch { program }),
            }
        };
        let stderr = async { Ok(drain(err, STDERR_TAIL, log).await) };
        // A program that prints too much is killed, because the handle is dropped.
        let (stdout, stderr, status) = tokio::try_join!(stdout, stderr, self.wait())?;
        Ok(Finished { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }
}

impl Running {
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            // The call fails only if the whole group has ended.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Sets a limit of this process, or leaves a lower one that it has.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) };
    Ok(setrlimit(resource, limit)?)
}

/// Reads a pipe until its end or an error. Returns `None` if it has more than is kept.
async fn whole(pipe: Option<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(pipe) = pipe {
        // An error is the end, because the program's own end says what is wrong.
        let _ = pipe.take(LARGEST_OUTPUT as u64 + 1).read_to_end(&mut kept).await;
    }
    (kept.len() <= LARGEST_OUTPUT).then_some(kept)
}

/// Reads a pipe until its end or an error. Returns at least the last `keep` bytes.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, keep: usize, log: Option<&dyn LogSink>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    loop {
        let start = kept.len();
        kept.reserve(32 << 10);
        match pipe.read_buf(&mut kept).await {
            Ok(0) | Err(_) => return kept,
            Ok(_) => {}
        }
        if let Some(log) = log {
            log.write(&kept[start..]);
        }
        if kept.len() >= keep * 2 {
            kept.drain(..kept.len() - keep);
        }
    }
}

/// Gives this thread the user and the groups, and takes root's capabilities away. It makes system calls only.
fn change_user(id: u32, groups: &[Gid]) -> io::Result<()> {
    set_thread_groups(groups)?;
    set_thread_gid(Gid::from_raw(id))?;
    Ok(set_thread_uid(Uid::from_raw(id))?)
}

/// Makes another program of this process, as the user if one is given, with this environment and these variables. Returns
/// only an error.
pub fn replace_self(
    program: &OsStr,
    args: &[OsString],
    variables: &[(String, String)],
    user: Option<&ProgramUser>,
) -> io::Error {
    // The program has the user of the thread that starts it.
    if let Some(user) = user
        && let Err(error) = change_user(user.id, &user.gids().collect::<Vec<_>>())
    {
        return error;
    }
    #[allow(clippy::disallowed_methods, reason = "this is the module that the others are sent to")]
    let mut command = std::process::Command::new(program);
    command.args(args).envs(variables.iter().map(|(name, value)| (name, value))).exec()
}

/// Keeps this process's memory, which has decrypted secrets, out of core files and from other processes of its user
/// (prctl(2), PR_SET_DUMPABLE). A program that is started may be looked into again, but writes no core file either.
pub fn forbid_dumps() {
    // Neither call fails on Linux: the limit is lowered, and the value is one that prctl takes.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Kills the programs that a former process of `owner` left behind. When that process was killed, its programs were
/// killed with it, but not *their* children, such as a `git-remote-https` that waits for a server. The caller holds the
/// owner's lock.
///
/// # Errors
/// /proc cannot be read.
pub fn kill_leftovers(owner: &Path) -> io::Result<()> {
    let mark = [OWNER.as_bytes(), b"=", owner.as_os_str().as_bytes()].concat();
    let marked = |pid: i32| {
        let environment = fs::read(format!("/proc/{pid}/environ"));
        environment.is_ok_and(|vars| vars.split(|&b| b == 0).any(|var| var == mark))
    };
    for entry in fs::read_dir("/proc")? {
        let Some(raw) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(pid) = Pid::from_raw(raw).filter(|_| marked(raw)) else { continue };
        // The mark is checked again with the handle open, because the id may have become another process's.
        if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && marked(raw)
        {
            let _ = rustix::process::pidfd_send_signal(handle, Signal::KILL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
