use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, mem};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};

use crate::model::ListenAddress;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: u32 = 1024;
/// Mode of a Unix socket of LISTEN: its user and group may connect.
const MODE: u32 = 0o660;
/// Mode of a Unix socket for its user alone.
const PRIVATE_MODE: u32 = 0o600;
/// Time for the peer to acknowledge what was sent, in milliseconds. Without it a peer that has vanished keeps its place for
/// a quarter of an hour.
const ACKNOWLEDGED: u32 = 30_000;

/// The daemon's listening socket.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, which is removed when this is dropped.
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// A connection that was taken.
pub(super) enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on the address. A socket's file that nobody listens on, because a killed daemon left it, is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if a program listens there, and `AlreadyExists` if the path is another kind of file.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            ListenAddress::Unix(path) => Self::bind_socket(path, MODE).await,
        }
    }

    /// Listens on a Unix socket as [`Listener::bind`] does, for this user alone.
    ///
    /// # Errors
    /// As those of [`Listener::bind`], and `InvalidInput` for a path of more than 107 bytes.
    pub async fn bind_private(path: &Path) -> io::Result<Self> {
        Self::bind_socket(path, PRIVATE_MODE).await
    }

    async fn bind_socket(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before `listen`, so nobody does by the mode that the umask gave.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let file = SocketFile { path: path.to_owned(), inode: fs::metadata(path)?.ino() };
        Ok(Self::Unix(socket.listen(BACKLOG)?, file))
    }

    /// Takes the next connection. An error of one connection, or a lack of files, is waited out.
    pub(super) async fn accept(&mut self) -> Peer {
        match self {
            Self::Tcp(listener) => {
                let stream = axum::serve::Listener::accept(listener).await.0;
                // Without TCP_NODELAY, the last packet of an answer may wait 40 ms for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, ACKNOWLEDGED);
                Peer::Tcp(stream)
            }
            Self::Unix(listener, _) => Peer::Unix(axum::serve::Listener::accept(listener).await.0),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file may be a later daemon's by now.
        if fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = fs::remove_file(mem::take(&mut self.path));
        }
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket")),
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
            _ => Err(ErrorKind::AddrInUse.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_replaced_only_if_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let address = ListenAddress::Unix(path.clone());
        // A listener that is dropped without removing its file is what a killed daemon leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(Listener::bind(&address).await.err().unwrap().kind(), ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert_eq!(Listener::bind(&address).await.err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
