//! The Unix socket in DATA_DIR by which the command line of this machine reaches the daemon. Only who may write into that
//! folder can listen there, whereas any user may listen on a free port and be given the admin token.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::admin_token;
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
