//! An engine on another machine, reached by ssh: one connection for each engine, by which ssh forwards a socket in the
//! run folder to the engine's socket. Every request to the engine is a channel of that connection, so a request needs no
//! handshake and no program here or there, and nothing is left there when the connection ends.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::errors::{EngineError, one_line};
use super::kind::ErrorKind;
use crate::engine::advice::{self, with_cure};
use crate::process::{Program, Running};
use crate::secrets::{DeployKey, Secrets};
use crate::ssh::{SshAgent, SshHosts, is_key_refusal, reasons};

/// Time for which a connection that failed is not tried again, because every job and every ping would try it.
const REST: Duration = Duration::from_secs(1);
/// The same after a refusal, because sshd holds back an address that shows refused keys (PerSourcePenalties). Another key
/// or other host keys are tried at once.
const REFUSED_REST: Duration = Duration::from_secs(60);
/// The engine's socket where the address names none.
const SOCKET: &str = "/var/run/docker.sock";

/// The means by which ssh reaches an engine.
pub struct SshAccess {
    /// Folder of the sockets, of mode 0700. Its path has at most 84 bytes.
    pub run_dir: PathBuf,
    pub hosts: SshHosts,
    pub secrets: watch::Receiver<Arc<Secrets>>,
}

/// An engine's address, `ssh://user@host[:port][/path]`, and the connection to it.
#[derive(Clone)]
pub struct SshEngine {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Path of the engine's socket on its machine.
    socket: String,
    tunnel: Arc<Tunnel>,
}

/// The connection to one engine's machine.
struct Tunnel {
    access: Option<Arc<SshAccess>>,
    state: tokio::sync::Mutex<TunnelState>,
    /// True once the engine has answered through the present connection.
    has_answered: AtomicBool,
    /// Number of connections so far.
    connected: AtomicU32,
    /// The last line that ssh wrote.
    said: Mutex<String>,
}

#[derive(Default)]
struct TunnelState {
    open: Option<OpenTunnel>,
    /// The former connection, by which builds may still go.
    retired: Option<OpenTunnel>,
    failed: Option<FailedTunnel>,
}

struct OpenTunnel {
    socket: PathBuf,
    since: Instant,
    /// Cancelled when ssh has ended.
    ended: CancellationToken,
    _ssh: AbortOnDropHandle<()>,
}

struct FailedTunnel {
    error: EngineError,
    /// Name of the connection that failed.
    name: String,
    rests_until: Instant,
}

impl SshEngine {
    /// Parses what stands behind `ssh://`. Without `access` the engine cannot be reached.
    ///
    /// # Errors
    /// The fault of the address, and its remedy.
    pub fn parse(text: &str, access: Option<Arc<SshAccess>>) -> Result<Self, String> {
        const FORM: &str = "write ssh://user@host, or ssh://user@host:port/path/to/docker.sock";
        let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(format!("ssh uses a key and no password: {FORM}"));
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (address, None),
        };
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_of = |text: &str, marks: &[u8]| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || marks.contains(&b))
        };
        let is_path = matches!(path, "" | "/") || (is_of(path, b"/._-") && !path.ends_with('/'));
        if !is_of(host, b".-_:") || !user.is_none_or(|user| is_of(user, b"._-+")) || port == Some(None) || !is_path {
            return Err(format!("the address of the engine's machine is malformed: {FORM}"));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.flatten(),
            socket: if path.len() > 1 { path } else { SOCKET }.to_owned(),
            tunnel: Arc::new(Tunnel {
                access,
                state: Default::default(),
                has_answered: AtomicBool::new(false),
                connected: AtomicU32::new(0),
                said: Default::default(),
            }),
        })
    }

    /// Returns the socket here that leads to the engine, and connects first if there is no connection.
    ///
    /// # Errors
    /// The machine cannot be reached, refuses our key, or is unknown. The message has the address.
    pub(in crate::engine) async fn reach(&self) -> Result<PathBuf, EngineError> {
        let engine = self.clone();
        // The connection has a task of its own, because a caller may give up before ssh has connected.
        let reached = tokio::spawn(async move { engine.connect_once().await }).await;
        reached.unwrap_or_else(|error| Err(self.unreachable(&error.to_string())))
    }

    /// Notes that the engine has answered.
    pub(in crate::engine) fn note_answer(&self) {
        self.tunnel.has_answered.store(true, Relaxed);
    }

    /// Returns what ssh said about a channel that it could not open, and forgets it. ssh says it a moment after the channel
    /// is closed. The next request may then get a new connection, because the rights of one are those of its begin.
    pub(in crate::engine) async fn refused_channel(&self) -> Option<EngineError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let said = std::mem::take(&mut *self.tunnel.said.lock().unwrap_or_else(PoisonError::into_inner));
        if !said.contains("open failed") {
            return None;
        }
        let mut state = self.tunnel.state.lock().await;
        let has_answered = self.tunnel.has_answered.load(Relaxed);
        if state.open.as_ref().is_some_and(|open| !has_answered || open.since.elapsed() > REFUSED_REST) {
            state.retired = state.open.take().filter(|_| has_answered);
        }
        Some(self.error(ErrorKind::Engine, &advice::SSH_NO_SOCKET, &[self, &self.socket, &said]))
    }

    async fn connect_once(&self) -> Result<PathBuf, EngineError> {
        let Some(access) = &self.tunnel.access else { return Err(self.unreachable("there is no folder for sockets")) };
        let mut state = self.tunnel.state.lock().await;
        if let Some(open) = state.open.as_ref().filter(|open| !open.ended.is_cancelled()) {
            return Ok(open.socket.clone());
        }
        state.open = None;
        let (loaded, key) = {
            let secrets = access.secrets.borrow();
            (secrets.loaded, secrets.engine_key())
        };
        if !loaded {
            return Err(self.unreachable("the secrets, which have the key, are not read yet"));
        }
        let key = key.map_err(|why| self.error(ErrorKind::Access, &advice::SSH_UNUSABLE_KEY, &[self, &why]))?;
        let name = self.connection_name(access, key.as_deref());
        if let Some(failed) = state.failed.as_ref().filter(|f| f.name == name && f.rests_until > Instant::now()) {
            return Err(failed.error.clone());
        }
        // A retired connection keeps its socket.
        let number = self.tunnel.connected.fetch_add(1, Relaxed) % 10;
        match self.connect(access, key, access.run_dir.join(format!("{name}{number}"))).await {
            Ok(open) => {
                let socket = open.socket.clone();
                self.tunnel.has_answered.store(false, Relaxed);
                (state.open, state.failed) = (Some(open), None);
                Ok(socket)
            }
            Err(error) => {
                let rest = if error.kind == ErrorKind::Access { REFUSED_REST } else { REST };
                let rests_until = Instant::now() + rest;
                state.failed = Some(FailedTunnel { error: error.clone(), name, rests_until });
                Err(error)
            }
        }
    }

    /// Starts ssh, and waits until its socket leads to the engine's machine.
    async fn connect(
        &self,
        access: &SshAccess,
        key: Option<Arc<DeployKey>>,
        socket: PathBuf,
    ) -> Result<OpenTunnel, EngineError> {
        let local = |error: &dyn fmt::Display| self.unreachable(&format!("this machine: {error}"));
        let agent = key.map(|key| SshAgent::start(key, &access.run_dir)).transpose().map_err(|e| local(&e))?;
        let _ = std::fs::remove_file(&socket);
        let mut program = Program::new("ssh").args(["-F", "none"]);
        if let Some(agent) = &agent {
            program = program.env("SSH_AUTH_SOCK", agent.socket());
        }
        for option in access.hosts.options(agent.is_some()) {
            program = program.arg("-o").arg(option);
        }
        // A colon ends a path of a forward unless a backslash stands before it.
        let local_socket = socket.to_string_lossy().replace('\\', r"\\").replace(':', r"\:");
        let forward = format!("{local_socket}:{}", self.socket);
        // ssh runs the local command when the connection stands and its socket listens.
        let up = ["-o", "ExitOnForwardFailure=yes", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo up"];
        let port = self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
        let login = self.user.as_ref().map_or(self.host.clone(), |user| format!("{user}@{}", self.host));
        let program = program.args(up).args(["-N", "-n", "-T", "-L", &forward]).args(port).arg(login);
        let mut ssh = program.start().map_err(|e| local(&e))?;
        let (stdout, stderr) = (ssh.stdout(), ssh.stderr());
        let mut said = [0; 2];
        let is_up = match stdout {
            Some(mut stdout) => stdout.read_exact(&mut said).await.is_ok(),
            None => false,
        };
        if !is_up {
            let mut words = String::new();
            if let Some(mut stderr) = stderr {
                let _ = stderr.read_to_string(&mut words).await;
            }
            return Err(self.explain(&words, agent.as_ref()));
        }
        tracing::info!("engine {self}: connected by ssh");
        let ended = CancellationToken::new();
        let (tunnel, end, name) = (Arc::downgrade(&self.tunnel), ended.clone().drop_guard(), self.to_string());
        let follow = async move {
            let (_agent, _end, mut ssh): (_, _, Running) = (agent, end, ssh);
            let mut lines = BufReader::new(stderr.into_iter().next()?).lines();
            let mut last = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if reasons(&line).next().is_some() {
                    last = one_line(&line);
                    *tunnel.upgrade()?.said.lock().unwrap_or_else(PoisonError::into_inner) = last.clone();
                }
            }
            let _ = ssh.wait().await;
            tracing::warn!("engine {name}: the connection by ssh has ended: {last}");
            Some(())
        };
        let follow = AbortOnDropHandle::new(tokio::spawn(async move { follow.await.unwrap_or_default() }));
        Ok(OpenTunnel { socket, since: Instant::now(), ended, _ssh: follow })
    }

    /// Names the connection by what decides whether it comes about: the address, the key and the known host keys.
    fn connection_name(&self, access: &SshAccess, key: Option<&DeployKey>) -> String {
        let mut digest = Sha256::new();
        digest.update(self.to_string());
        digest.update([0]);
        digest.update(key.map(DeployKey::fingerprint).unwrap_or_default());
        access.hosts.contents().for_each(|keys| digest.update(keys));
        format!("e{}", &hex::encode(digest.finalize())[..12])
    }

    /// Returns the meaning of what ssh said before it ended.
    fn explain(&self, words: &str, agent: Option<&SshAgent>) -> EngineError {
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        let host = match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        };
        let why = one_line(&reasons(words).collect::<Vec<_>>().join(" "));
        if says(&["HOST IDENTIFICATION HAS CHANGED", "Host key for "]) && says(&["Host key verification failed"]) {
            return self.error(ErrorKind::Access, &advice::SSH_OTHER_HOST_KEY, &[self, &host]);
        }
        if says(&["Host key verification failed", "host key is known for"]) {
            return self.error(ErrorKind::Access, &advice::SSH_UNKNOWN_HOST_KEY, &[self, &host]);
        }
        match (is_key_refusal(words), agent) {
            (true, Some(agent)) => {
                self.error(ErrorKind::Access, &advice::SSH_REFUSED_KEY, &[self, &agent.fingerprint()])
            }
            (true, None) => self.error(ErrorKind::Access, &advice::SSH_NO_KEY, &[self]),
            (false, _) => self.unreachable(if why.is_empty() { "ssh says nothing" } else { &why }),
        }
    }

    fn unreachable(&self, why: &str) -> EngineError {
        self.error(ErrorKind::Engine, &advice::SSH_UNREACHABLE, &[self, &why])
    }

    /// Makes an error whose message has the address.
    fn error(&self, kind: ErrorKind, advice: &crate::model::Advice, values: &[&dyn fmt::Display]) -> EngineError {
        EngineError { kind, ..EngineError::named_engine(with_cure(advice, values)) }
    }
}

impl PartialEq for SshEngine {
    /// Compares the addresses.
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for SshEngine {}

impl SshEngine {
    /// Returns the name or the address of the engine's machine.
    pub(super) fn machine(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for SshEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.socket != SOCKET {
            f.write_str(&self.socket)?;
        }
        Ok(())
    }
}

impl fmt::Debug for SshEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let parse = |text: &str| SshEngine::parse(text, None).map(|engine| engine.to_string());
        for text in
            ["me@engine.example.com", "engine:2222", "me@[2001:db8::1]:22", "me@10.0.0.1/run/user/1000/docker.sock"]
        {
            assert_eq!(parse(text), Ok(format!("ssh://{text}")));
        }
        assert_eq!(parse("me@engine/var/run/docker.sock"), Ok("ssh://me@engine".into()));
        assert_eq!(parse("me@engine/"), Ok("ssh://me@engine".into()));
        for text in [
            "",
            "me@",
            "@engine",
            "-oProxyCommand=x",
            "me@-x",
            "me@a b",
            "me@engine:0",
            "me@engine:x",
            "me@engine/a:b",
            "-l@engine",
            "me@engine/a/",
            "me@engine/a b",
        ] {
            assert!(parse(text).is_err_and(|error| error.contains("write ssh://user@host")), "{text}");
        }
        assert!(parse("me:secret@engine").unwrap_err().contains("no password"));
    }
}
