//! Commands on a repository's server by ssh: `git-lfs-transfer PATH download` and `git-lfs-authenticate PATH download`.

use tokio::io::AsyncReadExt;

use crate::git::errors::last_words;
use crate::git::submodules::split;
use crate::git::transport::connection::RemoteConnection;
use crate::git::transport::remote::Remote;
use crate::git::{Fault, Git, GitError, RepoSource};
use crate::model::LogSink;
use crate::process::{Program, Running};
use crate::ssh::{for_shell, for_ssh};

/// Longest answer of `git-lfs-authenticate`: a URL and a few headers have 1 KB.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Number of bytes at the end of a command's stderr that are kept for messages.
const WORDS: usize = 16 << 10;

/// A repository's server, with the connection and key for the commands that run there.
pub struct RemoteShell<'a> {
    git: &'a Git,
    source: &'a RepoSource,
    remote: &'a Remote,
    connection: RemoteConnection,
}

/// End of a command that failed.
pub enum CommandFailure {
    /// ssh itself failed, so the command's end is unknown.
    Ssh(GitError),
    /// Exit code and last words of the command.
    Command(i32, String),
}

impl Git {
    /// Connects to the remote like a fetch, or uses the connection that a fetch has left open.
    pub(super) async fn shell<'a>(
        &'a self,
        source: &'a RepoSource,
        remote: &'a Remote,
        log: &dyn LogSink,
    ) -> Result<RemoteShell<'a>, GitError> {
        Ok(RemoteShell { git: self, source, remote, connection: self.connect(source, remote, log).await? })
    }
}

impl RemoteShell<'_> {
    /// Returns true if all commands use one connection, so that another command costs little.
    pub fn is_shared(&self) -> bool {
        self.connection.socket().is_some()
    }

    /// Names the server and the user there.
    pub fn name(&self) -> String {
        self.remote.ssh_destination().join(" ")
    }

    pub fn host(&self) -> &str {
        &self.remote.host
    }

    pub fn source(&self) -> &RepoSource {
        self.source
    }

    /// Starts `PROGRAM PATH download` on the server.
    pub fn start(&self, program: &str) -> Result<Running, GitError> {
        let config = &self.git.config;
        let mut ssh = Program::new("ssh").owner(&config.dir).args(["-F", "none"]);
        let mut options = config.ssh_hosts().options(self.connection.agent().is_some());
        options.extend(self.connection.socket().map(|socket| format!("ControlPath={}", for_ssh(socket))));
        for option in options {
            ssh = ssh.arg("-o").arg(option);
        }
        if let Some(agent) = self.connection.agent() {
            ssh = ssh.env("SSH_AUTH_SOCK", agent.socket());
        }
        // The path is written as Git writes it for git-upload-pack: with its `/` if the URL has a scheme.
        let url = &self.remote.url;
        let path = split(url).map_or("", |(root, path)| match root.ends_with('/') {
            true => &url[root.len() - 1..],
            false => path,
        });
        let command = format!("{program} {} download", for_shell(path));
        Ok(ssh.args(self.remote.ssh_destination()).arg(command).start()?)
    }

    /// Runs such a command to its end, and returns its output.
    pub async fn ask(&self, program: &str) -> Result<Vec<u8>, CommandFailure> {
        let mut running = self.start(program).map_err(CommandFailure::Ssh)?;
        drop(running.stdin());
        let (stdout, stderr) = (running.stdout(), running.stderr());
        let answer = async {
            let mut answer = Vec::new();
            if let Some(stdout) = stdout {
                // A command that writes more than the limit finds its output closed.
                let _ = stdout.take(LONGEST_ANSWER).read_to_end(&mut answer).await;
            }
            answer
        };
        let (answer, words) = tokio::join!(answer, read_tail(stderr));
        match running.wait().await.map_err(|error| CommandFailure::Ssh(error.into()))? {
            status if status.success() => Ok(answer),
            status => Err(self.failure_of(status.code(), &words)),
        }
    }

    /// Distinguishes a failure of ssh itself, which ends with 255, from that of a command on the server.
    pub fn failure_of(&self, code: Option<i32>, stderr: &str) -> CommandFailure {
        let words = last_words(stderr);
        match code {
            Some(255) | None => {
                let explained = self.git.explain(&self.connection, stderr, 255, self.source, self.remote);
                CommandFailure::Ssh(explained.unwrap_or_else(|| {
                    let (host, repo) = (&self.remote.host, &self.source.repo);
                    let message = format!("{host} cannot be asked for the LFS files of {repo} ({words}): try again");
                    GitError { exit_code: 255, message, fault: Fault::Server }
                }))
            }
            Some(code) => CommandFailure::Command(code, one_line(words)),
        }
    }
}

/// Reads a command's stderr to its end, so that the command never waits for us, and returns the last part.
pub async fn read_tail(stderr: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stderr) = stderr {
        let mut chunk = vec![0; 4096];
        while let Ok(got @ 1..) = stderr.read(&mut chunk).await {
            kept.extend_from_slice(&chunk[..got]);
            if kept.len() > 2 * WORDS {
                kept.drain(..kept.len() - WORDS);
            }
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Returns a server's words as a part of a line.
pub fn one_line(words: &str) -> String {
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    line.trim().to_owned()
}
