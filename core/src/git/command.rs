//! The commands that run Git. Git reads no configuration of the user or the system, asks nothing, runs no hook and no
//! gc, and uses only the intended protocol.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::errors::{KILLED, OUT_OF_CPU_TIME, OUT_OF_MEMORY, RepoError, last_words};
use super::transport::connection::RemoteConnection;
use super::transport::remote::{Protocol, Remote};
use super::{GitConfig, GitError};
use crate::process::{Finished, Program, Running};
use crate::ssh::{for_shell, for_ssh};

/// Time for a Git to end that has closed its output.
const END: Duration = Duration::from_secs(5);

/// Makes `git …` for the repository in `dir`, without access to any other repository.
pub(super) fn local(config: &GitConfig, dir: &Path) -> Program {
    git(config, dir, "", &[])
}

/// Makes `git …` for the repository in `dir`, with access to `remote` through this connection.
pub(super) fn network(config: &GitConfig, dir: &Path, remote: &Remote, connection: &RemoteConnection) -> Program {
    let mut extra = Vec::new();
    if let Some(header) = &remote.authorization {
        // `transport::redirect` explains why Git must not follow redirects here.
        extra.extend([("http.extraHeader", header.as_str()), ("http.followRedirects", "false")]);
    }
    let bundle = config.access.cacert();
    let bundle = bundle.as_ref().map(|bundle| bundle.to_string_lossy());
    extra.extend(bundle.iter().map(|bundle| ("http.sslCAInfo", &**bundle)));
    if let Some(addresses) = &remote.pinned {
        // A redirect would lead past the pinned addresses.
        extra.extend([("http.curloptResolve", addresses.as_str()), ("http.followRedirects", "false")]);
    }
    let program = git(config, dir, remote.protocol.as_str(), &extra);
    if remote.protocol != Protocol::Ssh {
        return program;
    }
    let ssh = ssh_command(config, connection.agent().is_some(), connection.socket());
    let program = program.env("GIT_SSH_VARIANT", "ssh").env("GIT_SSH_COMMAND", ssh);
    match connection.agent() {
        Some(agent) => program.env("SSH_AUTH_SOCK", agent.socket()),
        None => program,
    }
}

fn git(config: &GitConfig, dir: &Path, protocols: &str, extra: &[(&str, &str)]) -> Program {
    let settings = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        // These limits save memory: without them Git takes 209 MB to receive a file of 200 MB and 414 MB to read it;
        // with them 11 and 37.
        ("core.bigFileThreshold", "16m"),
        ("core.deltaBaseCacheLimit", "16m"),
        ("core.packedGitLimit", "32m"),
        ("core.packedGitWindowSize", "4m"),
        ("pack.threads", "2"),
        ("pack.windowMemory", "16m"),
        // These limits end a transfer from a server that hangs; ssh has its own limits.
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
    ];
    let mut program = Program::new("git")
        .owner(&config.dir)
        .limits(config.bounds.process())
        .current_dir(&config.dir)
        .env("GIT_DIR", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("GIT_CONFIG_COUNT", (settings.len() + extra.len()).to_string());
    for (i, (name, value)) in settings.iter().chain(extra).enumerate() {
        program = program.env(format!("GIT_CONFIG_KEY_{i}"), name).env(format!("GIT_CONFIG_VALUE_{i}"), value);
    }
    program
}

/// Returns the command that Git gives to a shell. ssh is a child of Git, and a parent-death signal does not pass to
/// children. It therefore runs under setpriv, because an ssh that waits for its server would outlive us.
fn ssh_command(config: &GitConfig, agent: bool, control_socket: Option<&Path>) -> OsString {
    let mut options = config.ssh_hosts().options(agent);
    options.extend(control_socket.map(|socket| format!("ControlPath={}", for_ssh(socket))));
    let options: String = options.iter().map(|option| format!(" -o {}", for_shell(option))).collect();
    format!("exec setpriv --pdeathsig KILL ssh -F none{options}").into()
}

/// Runs a command on a repository of ours and returns its output. Returns `None` for exit code 1, by which Git answers
/// no. Any other failure is an error with the last line of stderr.
pub(super) async fn ask(program: Program) -> Result<Option<Vec<u8>>, RepoError> {
    let finished = program.output().await.map_err(GitError::from)?;
    match finished.status.code() {
        Some(0) => Ok(Some(finished.stdout)),
        Some(1) => Ok(None),
        _ => Err(failure(&finished)),
    }
}

/// Returns the failure of a command on a repository of ours: a limit that it has reached, or damage.
pub(super) fn failure(finished: &Finished) -> RepoError {
    match exhausted(finished) {
        Some(error) => error.into(),
        None => RepoError::Damaged(last_words(&finished.stderr).into()),
    }
}

/// Returns the failure of a Git that broke off its answer: a limit that it has reached, or damage, which is `what`.
pub(super) async fn broken_off(git: Running, what: String) -> RepoError {
    let finished = tokio::time::timeout(END, git.finish(None)).await.ok().and_then(Result::ok);
    match finished.as_ref().and_then(exhausted) {
        Some(error) => error.into(),
        None => RepoError::Damaged(what),
    }
}

/// Returns the error of a Git that has reached a limit of its process, or that the kernel or somebody killed. Neither says
/// anything about the mirror.
pub(super) fn exhausted(finished: &Finished) -> Option<GitError> {
    let own = || finished.stderr.lines().filter(|line| !line.starts_with("remote:"));
    let says = |words: &str| own().any(|line| line.contains(words));
    if finished.status.signal() == Some(Signal::XCPU.as_raw()) || says("died of signal 24") {
        return Some(OUT_OF_CPU_TIME.error(&[]));
    }
    let is_out_of_memory = says("Out of memory, ") || says("Cannot allocate memory");
    if is_out_of_memory {
        return Some(OUT_OF_MEMORY.error(&[]));
    }
    let is_killed = finished.status.signal() == Some(Signal::KILL.as_raw()) || says("died of signal 9");
    is_killed.then(|| KILLED.error(&[]))
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;
    use crate::git::Fault;

    #[test]
    fn a_git_that_was_ended_is_no_damage() {
        const EXIT: i32 = 128 << 8;
        let of = |status: i32, stderr: &str| {
            let finished = Finished { status: ExitStatus::from_raw(status), stdout: vec![], stderr: stderr.to_owned() };
            match failure(&finished) {
                RepoError::Failed(error) => Some((error.fault, error.message)),
                _ => None,
            }
        };
        for (status, stderr, fault, words) in [
            (9, "", Fault::Host, "was killed"),
            (EXIT, "error: pack-objects died of signal 9", Fault::Host, "was killed"),
            (24, "", Fault::Request, "GIT_CPU_TIME"),
            (EXIT, "error: pack-objects died of signal 24", Fault::Request, "GIT_CPU_TIME"),
            (EXIT, "fatal: Out of memory, malloc failed", Fault::Request, "GIT_MEMORY"),
        ] {
            let (found, message) = of(status, stderr).unwrap();
            assert!(found == fault && message.contains(words), "{status} {stderr}: {message}");
        }
        for (status, stderr) in [
            (EXIT, "fatal: bad object"),
            (EXIT, "remote: error: pack-objects died of signal 9\nfatal: early EOF"),
            (7, ""),
        ] {
            assert_eq!(of(status, stderr), None, "{status} {stderr}");
        }
    }
}
