use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::processes::{ProcessKey, connection_of};
use crate::secrets::KeyHolder;

/// Time for sshd to say which key it asks for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest fingerprint in bytes, with the end of its line. `SHA256:` and base64 have 50.
const LONGEST_FINGERPRINT: u64 = 100;

/// The keys that may log in, by their fingerprints.
pub type Keys = BTreeMap<String, KeyHolder>;

/// The connections of sshd and the keys by which they came. The fingerprint is sshd's word and never a session's, because
/// all sessions are of one user, whose processes could name another key.
pub struct LoginConnections {
    listener: i32,
    variables: String,
    state: Mutex<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    keys: Keys,
    /// Fingerprint of the last key that each connection offered and that was known. sshd asks for the key that it accepts
    /// last.
    offered: BTreeMap<ProcessKey, String>,
}

impl LoginConnections {
    /// `variables` has a line `NAME=value` for each variable of a session.
    pub fn new(listener: i32, variables: String) -> Self {
        Self { listener, variables, state: Mutex::default() }
    }

    pub fn listener(&self) -> i32 {
        self.listener
    }

    /// Takes the keys that may log in from now on. Returns those that may not any more.
    pub fn replace_keys(&self, keys: Keys) -> Vec<KeyHolder> {
        let mut state = self.state();
        let old = std::mem::replace(&mut state.keys, keys);
        old.into_values().filter(|holder| !state.keys.contains_key(&holder.fingerprint)).collect()
    }

    /// Returns the connections whose keys may log in.
    pub fn admitted(&self) -> Vec<ProcessKey> {
        let state = self.state();
        let admitted = state.offered.iter().filter(|(_, fingerprint)| state.keys.contains_key(*fingerprint));
        admitted.map(|(connection, _)| *connection).collect()
    }

    pub fn holder(&self, fingerprint: &str) -> Option<KeyHolder> {
        self.state().keys.get(fingerprint).cloned()
    }

    /// Answers sshd with the line of the key that it asks for, or nothing.
    pub async fn serve_keys(self: Arc<Self>, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let connections = self.clone();
            tokio::spawn(async move { tokio::time::timeout(TIMEOUT, connections.answer_key(stream)).await });
        }
    }

    async fn answer_key(&self, stream: UnixStream) -> Option<()> {
        let connection = connection_of(stream.peer_cred().ok()?.pid()?, self.listener)?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        (&mut stream).take(LONGEST_FINGERPRINT).read_line(&mut line).await.ok()?;
        let holder = {
            let mut state = self.state();
            let holder = state.keys.get(line.trim()).cloned()?;
            state.offered.retain(|connection, _| connection.is_alive());
            state.offered.insert(connection, holder.fingerprint.clone());
            holder
        };
        stream.get_mut().write_all(format!("restrict,pty {}\n", holder.key).as_bytes()).await.ok()
    }

    /// Gives each session its variables.
    pub async fn serve_sessions(self: Arc<Self>, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let connections = self.clone();
            tokio::spawn(async move { connections.follow_session(stream).await });
        }
    }

    /// Serves one session to its end. Its connection stays open in the shell, so the end of one is that of the other.
    async fn follow_session(&self, mut stream: UnixStream) -> Option<()> {
        let connection = connection_of(stream.peer_cred().ok()?.pid()?, self.listener)?;
        let holder = {
            let state = self.state();
            state.offered.get(&connection).and_then(|fingerprint| state.keys.get(fingerprint)).cloned()
        }?;
        let KeyHolder { fingerprint, comment, .. } = &holder;
        tracing::info!("ssh: a session of {fingerprint} ({comment}) begins");
        // The empty line is the end, without which the session does not begin.
        stream.write_all(format!("{}\n", self.variables).as_bytes()).await.ok()?;
        let _ = stream.read(&mut [0]).await;
        tracing::info!("ssh: a session of {fingerprint} ({comment}) has ended");
        Some(())
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
