//! Connections to a repository's host. ssh gets the key through an agent and uses the shared connection.

use std::path::Path;

use super::remote::{Protocol, Remote};
use super::ssh::{ConnectError, SshConnection, connection_name};
use crate::git::errors::{explain, refused_before};
use crate::git::{Git, GitConfig, GitError, RepoSource};
use crate::model::LogSink;
use crate::ssh::{SshAgent, is_key_refusal};

/// Connection for the programs that reach one remote. It is empty for protocols other than ssh.
#[derive(Default)]
pub(in crate::git) struct RemoteConnection {
    agent: Option<SshAgent>,
    shared: Option<SshConnection>,
}

impl RemoteConnection {
    /// Makes a connection that is not shared: each program connects by itself.
    pub fn unshared(config: &GitConfig, source: &RepoSource, remote: &Remote) -> Result<Self, GitError> {
        let agent = match &source.key {
            Some(key) if remote.protocol == Protocol::Ssh => {
                let agent = SshAgent::start(key.clone(), &config.run_dir);
                Some(agent.map_err(|error| GitError::io("the agent's socket cannot be made", error))?)
            }
            _ => None,
        };
        Ok(Self { agent, shared: None })
    }

    pub fn agent(&self) -> Option<&SshAgent> {
        self.agent.as_ref()
    }

    /// Returns the fingerprint of the key.
    pub fn key_fingerprint(&self) -> Option<&str> {
        self.agent.as_ref().map(SshAgent::fingerprint)
    }

    /// Returns the control socket of the shared connection.
    pub fn socket(&self) -> Option<&Path> {
        self.shared.as_ref().map(|ssh| ssh.socket.as_path())
    }
}

impl Git {
    /// Connects to the remote, or finds a connection that is open.
    ///
    /// # Errors
    /// The server refused the key, now or in the last five minutes, or does not let ssh in. The log has what ssh said.
    pub(in crate::git) async fn connect(
        &self,
        source: &RepoSource,
        remote: &Remote,
        log: &dyn LogSink,
    ) -> Result<RemoteConnection, GitError> {
        let mut connection = RemoteConnection::unshared(&self.config, source, remote)?;
        if remote.protocol != Protocol::Ssh {
            return Ok(connection);
        }
        let known_hosts = &self.config.known_hosts;
        match self.ssh.connect_shared(&self.config, remote, connection.agent()).await {
            Ok(ssh) => connection.shared = Some(ssh),
            Err(ConnectError::Refused(refusal)) => return Err(refused_before(refusal, source, remote, known_hosts)),
            Err(ConnectError::Failed(words)) => {
                // Git connects by itself if ssh's words are unknown.
                if let Some(error) = explain(&words, 128, source, remote, known_hosts) {
                    log.write(words.as_bytes());
                    return Err(error);
                }
            }
        }
        Ok(connection)
    }

    /// Explains what a program that used this connection said, and remembers a refused key. Behind a shared connection,
    /// whose key the server has accepted, a program on the server wrote such words.
    pub(in crate::git) fn explain(
        &self,
        connection: &RemoteConnection,
        stderr: &str,
        exit_code: i32,
        source: &RepoSource,
        remote: &Remote,
    ) -> Option<GitError> {
        if connection.shared.is_none() && remote.protocol == Protocol::Ssh && is_key_refusal(stderr) {
            let name = connection_name(&self.config, remote, connection.key_fingerprint());
            self.ssh.refusals.note(&name, &remote.host);
        }
        explain(stderr, exit_code, source, remote, &self.config.known_hosts)
    }

    /// Forgets the keys that the source's server has refused, so that the next job asks it again.
    pub fn forget_key_refusals(&self, source: &RepoSource) {
        if let Ok(remote) = source.remote() {
            self.ssh.refusals.forget(&remote.host);
        }
    }
}
