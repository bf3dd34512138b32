//! The Unix socket in DATA_DIR by which the command line of this machine reaches the daemon. Only who may write into that
//! folder can listen there, whereas any user may listen on a free port and be given the admin token.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::admin_token;
use crate::engine::Host;
use crate::http::Listener;
use crate::model::{ApiToken, ListenAddress, Role};

/// Returns the path of the socket of the daemon on `data_dir`.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("socket")
}

/// Returns the socket if it belongs to the owner of the admin token, who learns nothing from being sent that token.
pub fn find(data_dir: &Path) -> Option<PathBuf> {
    let (socket, token) = (path(data_dir), admin_token::path(data_dir));
    let is_socket = fs::symlink_metadata(&socket).ok().filter(|file| file.file_type().is_socket());
    let is_owners = is_socket?.uid() == fs::symlink_metadata(token).ok()?.uid();
    is_owners.then_some(socket)
}

/// Returns the path of the socket by which the sessions of ssh reach the daemon on `data_dir` with the role build. Only its
/// user and root can open it, so that no session needs a token.
pub fn ssh_path(data_dir: &Path) -> PathBuf {
    data_dir.join("ssh-socket")
}

/// Returns the socket by which the sessions of ssh reach an engine that is not at a socket of this machine.
pub fn ssh_engine_path(data_dir: &Path) -> PathBuf {
    data_dir.join("ssh-engine")
}

/// Passes the connections at [`ssh_engine_path`] on to the engine until `stop`, so that its credentials stay in this process.
///
/// # Errors
/// There can be no socket.
pub fn serve_engine_for_ssh(data_dir: &Path, engine: Host, stop: CancellationToken) -> anyhow::Result<()> {
    let path = ssh_engine_path(data_dir);
    let _ = fs::remove_file(&path);
    // The data folder is its user's alone, so nobody connects before the mode is set.
    let listener = UnixListener::bind(&path).and_then(|listener| {
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    let listener = listener.with_context(|| format!("cannot listen on {} for ssh", path.display()))?;
    let accept = async move {
        loop {
            match listener.accept().await {
                Ok((near, _)) => drop(tokio::spawn(pass_on(near, engine.clone()))),
                // Too many files are open: some of them are closed in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::spawn(async move { stop.run_until_cancelled_owned(accept).await });
    Ok(())
}

async fn pass_on(mut near: UnixStream, engine: Host) {
    match engine.open().await {
        // An error of either side ends the connection, which the client reports.
        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
        Err(error) => tracing::warn!("ssh: {}", error.message),
    }
}

/// Makes the token of the requests by [`ssh_path`], which nobody is given.
///
/// # Errors
/// The kernel has no random bytes.
pub fn ssh_token() -> anyhow::Result<ApiToken> {
    Ok(ApiToken { name: "ssh".into(), role: Role::Build, token: admin_token::random()? })
}

/// Listens on the socket of the sessions, for this user and root.
///
/// # Errors
/// There can be no socket.
pub async fn listen_for_ssh(data_dir: &Path) -> anyhow::Result<Listener> {
    let path = ssh_path(data_dir);
    Listener::bind_private(&path).await.with_context(|| format!("cannot listen on {} for ssh", path.display()))
}

/// Listens on the socket, for its user alone. Returns `None` if LISTEN is that socket, or if there can be none, which the log
/// says.
pub async fn listen(data_dir: &Path, listen: &ListenAddress) -> Option<Listener> {
    let path = path(data_dir);
    if matches!(listen, ListenAddress::Unix(other) if *other == path) {
        return None;
    }
    match Listener::bind_private(&path).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(
                "cannot listen on {} ({error}): the command line of this machine needs IMAGE_FACTORY_URL and \
                 IMAGE_FACTORY_TOKEN",
                path.display()
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_of_the_tokens_owner_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()), None);
        let _listener = std::os::unix::net::UnixListener::bind(path(dir.path())).unwrap();
        assert_eq!(find(dir.path()), None);
        let token = admin_token::path(dir.path());
        fs::write(&token, "token").unwrap();
        assert_eq!(find(dir.path()), Some(path(dir.path())));
        fs::remove_file(path(dir.path())).unwrap();
        fs::write(path(dir.path()), "a file").unwrap();
        assert_eq!(find(dir.path()), None);
        fs::remove_file(path(dir.path())).unwrap();
        std::os::unix::fs::symlink("/dev/log", path(dir.path())).unwrap();
        assert_eq!(find(dir.path()), None);
    }
}
