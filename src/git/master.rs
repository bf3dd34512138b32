//! One ssh connection per server and key, kept a while for the next fetches: of the 310 ms that a small fetch by ssh
//! took here, 240 were the connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::GitConfig;
use super::agent::Agent;
use super::command::ssh_options;
use super::remote::Remote;
use crate::process::{Program, Running};

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Where ssh puts the socket there is first a longer name: `.` and 16 characters more.
pub(super) const SOCKET_NAME: usize = "/m0123456789ab.0123456789abcdef".len();

/// The connections of one data folder.
#[derive(Debug, Default)]
pub(super) struct Masters(std::sync::Mutex<HashMap<PathBuf, Arc<Mutex<Slot>>>>);

#[derive(Debug)]
struct Slot {
    ssh: Option<Running>,
    used: Instant,
    users: Arc<()>,
}

/// A connection in use: it stays open while this is held.
pub(super) struct Lease {
    pub socket: PathBuf,
    _user: Arc<()>,
}

/// Why there is no connection, in ssh's words.
pub(super) struct Refused(pub String);

impl Masters {
    /// The connection to the remote with the agent's key; a new one if there is none that lives.
    pub async fn lease(&self, config: &GitConfig, remote: &Remote, agent: &Agent) -> Result<Lease, Refused> {
        let socket = config.run_dir.join(name(config, remote, agent));
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Mutex::new(Slot { ssh: None, used: Instant::now(), users: Arc::default() }));
            slots.entry(socket.clone()).or_insert_with(new).clone()
        };
        let mut held = slot.lock().await;
        // ssh removes its socket when the connection ends. Were it there all the same, the next one finds nobody
        // behind it and connects by itself.
        if held.ssh.is_none() || !socket.exists() {
            held.ssh = Some(connect(config, remote, agent, &socket).await?);
            tokio::spawn(close_when_idle(Arc::downgrade(&slot), socket.clone()));
        }
        held.used = Instant::now();
        Ok(Lease { socket, _user: held.users.clone() })
    }
}

/// Starts ssh and waits until others can use its connection.
async fn connect(config: &GitConfig, remote: &Remote, agent: &Agent, socket: &Path) -> Result<Running, Refused> {
    let _ = std::fs::remove_file(socket);
    let mut program = Program::new("ssh").owner(&config.dir).env("SSH_AUTH_SOCK", agent.socket()).args(["-F", "none"]);
    for option in ssh_options(config, true) {
        program = program.arg("-o").arg(option);
    }
    // A connection passes on only those variables of its users that it was itself started to send. Without this one the
    // server speaks Git's protocol 0 and lists all its refs at each fetch, on GitHub every pull request's.
    program = program.args(["-o", "SendEnv=GIT_PROTOCOL"]);
    // The local command is run when the connection stands and its socket listens.
    let up = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo up"];
    let mut ssh = program
        .args(remote.ssh_destination())
        .args(["-M", "-N", "-n", "-S"])
        .arg(socket)
        .args(up)
        .start()
        .map_err(|e| Refused(e.to_string()))?;
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
        // What cannot be read of it is not known: then Git tries by itself.
        let _ = stderr.read_to_string(&mut words).await;
    }
    Err(Refused(words))
}

async fn close_when_idle(slot: std::sync::Weak<Mutex<Slot>>, socket: PathBuf) {
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

/// Another server, key or set of pinned host keys is another connection.
fn name(config: &GitConfig, remote: &Remote, agent: &Agent) -> String {
    let mut digest = Sha256::new();
    for part in remote.ssh_destination() {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(agent.fingerprint());
    // Without the file no server is known, which ssh will say.
    digest.update(std::fs::read(&config.known_hosts).unwrap_or_default());
    format!("m{}", &hex::encode(digest.finalize())[..12])
}
