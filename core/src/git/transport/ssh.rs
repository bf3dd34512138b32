//! One ssh connection for each server and key, which is kept a while for the next fetches: a small fetch by ssh took
//! 310 ms here, of which 240 ms were the connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::refusals::{KeyRefusal, KeyRefusals};
use super::remote::Remote;
use crate::git::GitConfig;
use crate::process::{Program, Running};
use crate::ssh::{SshAgent, is_key_refusal};

/// Time after which an unused connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Length of the longest path that ssh makes below the run folder: it first puts the socket at a longer name, with `.`
/// and 16 characters more.
pub(in crate::git) const SOCKET_NAME: usize = "/m0123456789ab.0123456789abcdef".len();

/// The connections of one data folder.
#[derive(Debug, Default)]
pub(in crate::git) struct SshConnections {
    slots: std::sync::Mutex<HashMap<PathBuf, Arc<Mutex<SshSlot>>>>,
    pub refusals: KeyRefusals,
}

#[derive(Debug)]
struct SshSlot {
    ssh: Option<Running>,
    used: Instant,
    users: Arc<()>,
}

/// A connection in use. It stays open while this value is held.
pub(in crate::git) struct SshConnection {
    pub socket: PathBuf,
    _user: Arc<()>,
}

/// Reason why there is no connection.
pub(in crate::git) enum ConnectError {
    /// ssh failed and said this on stderr.
    Failed(String),
    /// The server refused this key a while ago and was not asked now.
    Refused(KeyRefusal),
}

impl SshConnections {
    /// Returns the connection to the remote with the agent's key, or without a key, and opens one if none is alive.
    pub async fn connect_shared(
        &self,
        config: &GitConfig,
        remote: &Remote,
        agent: Option<&SshAgent>,
    ) -> Result<SshConnection, ConnectError> {
        let name = connection_name(config, remote, agent.map(SshAgent::fingerprint));
        let socket = config.run_dir.join(&name);
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Mutex::new(SshSlot { ssh: None, used: Instant::now(), users: Arc::default() }));
            slots.entry(socket.clone()).or_insert_with(new).clone()
        };
        let mut held = slot.lock().await;
        // ssh removes its socket when the connection ends. If a dead socket stays, the next program finds nobody behind
        // it and connects by itself.
        if held.ssh.is_none() || !socket.exists() {
            // Jobs with one key wait for the same slot, so every later job sees the refusal of the first one.
            if let Some(refusal) = self.refusals.of(&name) {
                return Err(ConnectError::Refused(refusal));
            }
            let connected = connect(config, remote, agent, &socket).await;
            held.ssh = Some(connected.map_err(|words| {
                if is_key_refusal(&words) {
                    self.refusals.note(&name, &remote.host);
                }
                ConnectError::Failed(words)
            })?);
            tokio::spawn(close_when_idle(Arc::downgrade(&slot), socket.clone()));
        }
        held.used = Instant::now();
        Ok(SshConnection { socket, _user: held.users.clone() })
    }
}

/// Starts ssh and waits until others can use its connection. An error is what ssh said.
async fn connect(
    config: &GitConfig,
    remote: &Remote,
    agent: Option<&SshAgent>,
    socket: &Path,
) -> Result<Running, String> {
    let _ = std::fs::remove_file(socket);
    let mut program = Program::new("ssh").owner(&config.dir).args(["-F", "none"]);
    if let Some(agent) = agent {
        program = program.env("SSH_AUTH_SOCK", agent.socket());
    }
    for option in config.ssh_hosts().options(agent.is_some()) {
        program = program.arg("-o").arg(option);
    }
    // A connection passes on only those variables of its users that it was itself started to send. Without this one the
    // server speaks Git's protocol 0 and lists all its refs at each fetch, on GitHub those of every pull request.
    program = program.args(["-o", "SendEnv=GIT_PROTOCOL"]);
    // ssh runs the local command when the connection stands and its socket listens.
    let up = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo up"];
    let mut ssh = program
        .args(remote.ssh_destination())
        .args(["-M", "-N", "-n", "-S"])
        .arg(socket)
        .args(up)
        .start()
        .map_err(|e| e.to_string())?;
    let (stdout, stderr) = (ssh.stdout(), ssh.stderr());
    let mut said = [0; 2];
    let is_up = match stdout {
        Some(mut stdout) => stdout.read_exact(&mut said).await.is_ok(),
        None => false,
    };
    if is_up {
        return Ok(ssh);
    }
    let mut words = String::new();
    if let Some(mut stderr) = stderr {
        // Words that cannot be read count as unknown, and Git then tries by itself.
        let _ = stderr.read_to_string(&mut words).await;
    }
    Err(words)
}

async fn close_when_idle(slot: std::sync::Weak<Mutex<SshSlot>>, socket: PathBuf) {
    let mut look = Instant::now() + IDLE;
    loop {
        sleep_until(look).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut slot = slot.lock().await;
        let is_used = Arc::strong_count(&slot.users) > 1;
        look = if is_used { Instant::now() } else { slot.used } + IDLE;
        if look <= Instant::now() {
            slot.ssh = None;
            let _ = std::fs::remove_file(&socket);
            return;
        }
    }
}

/// Names a server with its user, the fingerprint of a key and the pinned host keys, because the host keys identify the
/// server.
pub(in crate::git) fn connection_name(config: &GitConfig, remote: &Remote, key: Option<&str>) -> String {
    let mut digest = Sha256::new();
    for part in remote.ssh_destination() {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(key.unwrap_or_default());
    config.ssh_hosts().contents().for_each(|keys| digest.update(keys));
    format!("m{}", &hex::encode(digest.finalize())[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_server_one_user_one_key_and_one_set_of_host_keys() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = GitConfig {
            dir: dir.path().into(),
            run_dir: dir.path().into(),
            known_hosts: dir.path().join("known_hosts"),
            added_hosts: None,
            access: Default::default(),
            pure_history_times: false,
            repo_case: crate::model::RepoCase::default(),
            bounds: crate::git::GitBounds::default(),
        };
        std::fs::write(&config.known_hosts, "git.example.com ssh-ed25519 AAAA").unwrap();
        let of = |config: &GitConfig, url, key| connection_name(config, &Remote::parse(url).unwrap(), key);
        let (url, key) = ("git@git.example.com:acme/hello.git", Some("SHA256:one"));
        let ours = of(&config, url, key);
        assert_eq!(of(&config, "git@git.example.com:acme/other.git", key), ours);
        assert_eq!(of(&config, "ssh://git@git.example.com/acme/hello.git", key), ours);
        for (url, key) in [
            (url, Some("SHA256:two")),
            (url, None),
            ("git@git.example.org:acme/hello.git", key),
            ("me@git.example.com:acme/hello.git", key),
            ("ssh://git@git.example.com:2222/acme/hello.git", key),
        ] {
            assert_ne!(of(&config, url, key), ours, "{url} {key:?}");
        }
        config.known_hosts = dir.path().join("others");
        assert_ne!(of(&config, url, key), ours);
    }
}
