use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::time::timeout;

use super::format::Format;
use super::line::LogLine;
use crate::settings::SyslogTarget;

/// The limit for a connection, and for a line to be taken.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// The age at which a UDP socket is opened anew with its name looked up again, because no error comes from a receiver that
/// moved.
const FRESH: Duration = Duration::from_secs(300);

/// Connects without sending anything. By UDP that proves only that the name and a route exist.
///
/// # Errors
/// The target cannot be reached.
pub async fn reach(target: &SyslogTarget) -> io::Result<()> {
    within_limit(SyslogConnection::open(target)).await.map(drop)
}

pub(super) async fn within_limit<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An open socket to the receiver.
pub(super) enum SyslogConnection {
    Local(UnixDatagram),
    /// The socket, and when it was opened.
    Udp(UdpSocket, Instant),
    Tcp(TcpStream),
}

impl SyslogConnection {
    pub async fn open(target: &SyslogTarget) -> io::Result<Self> {
        match target {
            SyslogTarget::Off => Err(io::ErrorKind::NotFound.into()),
            SyslogTarget::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Self::Local(socket))
            }
            SyslogTarget::Udp(address) => {
                let address = lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Ok(Self::Udp(socket, Instant::now()))
            }
            SyslogTarget::Tcp(address) => Ok(Self::Tcp(TcpStream::connect(address).await?)),
        }
    }

    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Udp(_, opened) if opened.elapsed() > FRESH)
    }

    pub async fn send(&mut self, format: &Format, line: &LogLine) -> io::Result<()> {
        match self {
            Self::Local(socket) => socket.send(&format.rfc_3164(line)).await.map(drop),
            Self::Udp(socket, _) => socket.send(&format.rfc_5424(line)).await.map(drop),
            Self::Tcp(stream) => {
                check_open(stream)?;
                let message = format.rfc_5424(line);
                // Octet counting (RFC 6587) in one write, so that the receiver need not wait for a second packet.
                let mut frame = format!("{} ", message.len()).into_bytes();
                frame.extend(message);
                stream.write_all(&frame).await
            }
        }
    }
}

/// Checks that the receiver has not closed the connection. A write would succeed even then, and its line would be lost.
fn check_open(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}
