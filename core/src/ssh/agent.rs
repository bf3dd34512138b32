//! An ssh-agent that holds one key. The key never leaves our memory, because ssh asks the agent to sign, through
//! a socket that only our own user can open. The agent lists the key and signs with it; it refuses every other request.
//! The protocol is draft-miller-ssh-agent: messages of a 4-byte length, a type byte, and fields.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::secrets::DeployKey;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Longest message that OpenSSH's own agent accepts.
const MAX_MESSAGE: usize = 256 << 10;

/// A running agent. It serves until it is dropped, which removes the socket too.
#[derive(Debug)]
pub struct SshAgent {
    socket: PathBuf,
    fingerprint: String,
    _server: AbortOnDropHandle<()>,
    _dir: tempfile::TempDir,
}

impl SshAgent {
    /// Opens a new socket (0600, in a new 0700 folder) below `run_dir`.
    ///
    /// # Errors
    /// The socket cannot be made, for example because its path is too long.
    pub fn start(key: Arc<DeployKey>, run_dir: &Path) -> io::Result<Self> {
        let owner_only = fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix("agent-").permissions(owner_only).tempdir_in(run_dir)?;
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        let fingerprint = key.fingerprint();
        let server = tokio::spawn(serve(listener, key));
        Ok(Self { socket, fingerprint, _server: AbortOnDropHandle::new(server), _dir: dir })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the fingerprint of the key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

async fn serve(listener: UnixListener, key: Arc<DeployKey>) {
    let our_uid = rustix::process::geteuid().as_raw();
    let mut peers = JoinSet::new();
    while let Ok((peer, _)) = listener.accept().await {
        if peer.peer_cred().is_ok_and(|cred| cred.uid() == our_uid) {
            let key = key.clone();
            // An error ends this peer's connection and nothing else.
            peers.spawn(async move { talk(peer, &key).await.ok() });
        }
        while peers.try_join_next().is_some() {}
    }
}

async fn talk(mut peer: UnixStream, key: &DeployKey) -> io::Result<()> {
    loop {
        let length = peer.read_u32().await? as usize;
        if length == 0 || length > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut request = vec![0; length];
        peer.read_exact(&mut request).await?;
        let reply = answer(&request, key).unwrap_or_else(|| vec![FAILURE]);
        let mut message = (reply.len() as u32).to_be_bytes().to_vec();
        message.extend(reply);
        peer.write_all(&message).await?;
    }
}

fn answer(request: &[u8], key: &DeployKey) -> Option<Vec<u8>> {
    let public = key.public_key().to_bytes().ok()?;
    let (&kind, mut rest) = request.split_first()?;
    match kind {
        REQUEST_IDENTITIES => Some([&[IDENTITIES_ANSWER, 0, 0, 0, 1], &*string(&public), &*string(b"")].concat()),
        SIGN_REQUEST => {
            let (wanted, data) = (take_string(&mut rest)?, take_string(&mut rest)?);
            let flags = u32::from_be_bytes(rest.try_into().ok()?);
            let signature = if wanted == public { key.sign(data, flags).ok()? } else { return None };
            Some([&[SIGN_RESPONSE], &*string(&signature)].concat())
        }
        _ => None,
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

#[cfg(test)]
mod tests;
