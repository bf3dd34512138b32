//! Takes connections, and makes TLS of them where the daemon has a certificate.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::connection::Stream;
use super::listener::{Listener, Peer};
use super::shares::TrustedProxies;

/// Time for a client to begin TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most handshakes at once. A further one ends the oldest, so that silent clients keep nobody out.
const HANDSHAKES: usize = 256;
/// The most handshakes of one address at once. A further one ends the oldest of that address.
const HANDSHAKES_OF_ONE: usize = 64;
/// First byte of every TLS connection: a record with a handshake (RFC 8446, section 5.1).
const TLS_RECORD: u8 = 22;
/// The answer to a client that does not speak TLS.
const NOT_TLS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 41\r\nConnection: close\r\n\r\n\
                       This port speaks TLS: use https, not http";

/// The connections that come in.
pub(super) struct ConnectionSource {
    listener: Listener,
    tls: Option<Handshakes>,
}

struct Handshakes {
    acceptor: TlsAcceptor,
    proxies: TrustedProxies,
    /// The handshakes under way with the addresses that they count for, the oldest first.
    running: VecDeque<(Option<IpAddr>, AbortHandle)>,
    done: mpsc::Sender<Stream>,
    next: mpsc::Receiver<Stream>,
}

impl ConnectionSource {
    pub fn new(listener: Listener, tls: Option<rustls::ServerConfig>, proxies: TrustedProxies) -> Self {
        let handshakes = |config| {
            let (done, next) = mpsc::channel(1);
            Handshakes {
                acceptor: TlsAcceptor::from(Arc::new(config)),
                proxies: proxies.clone(),
                running: VecDeque::new(),
                done,
                next,
            }
        };
        Self { listener, tls: tls.map(handshakes) }
    }

    /// Returns the next connection on which a request can come.
    pub async fn next(&mut self) -> Stream {
        loop {
            let peer = match &mut self.tls {
                None => self.listener.accept().await,
                Some(tls) => tokio::select! {
                    Some(stream) = tls.next.recv() => return stream,
                    peer = self.listener.accept() => peer,
                },
            };
            match (&mut self.tls, peer) {
                (Some(tls), Peer::Tcp(stream)) => tls.begin(stream),
                (_, peer) => return peer.into(),
            }
        }
    }
}

impl Handshakes {
    fn begin(&mut self, stream: TcpStream) {
        self.running.retain(|(_, handshake)| !handshake.is_finished());
        let address = stream.peer_addr().ok().and_then(|address| self.proxies.counted(address.ip()));
        let is_own = |(other, _): &(Option<IpAddr>, AbortHandle)| address.is_some() && *other == address;
        let excess = match self.running.iter().filter(|handshake| is_own(handshake)).count() {
            HANDSHAKES_OF_ONE.. => self.running.iter().position(is_own),
            _ if self.running.len() >= HANDSHAKES => Some(0),
            _ => None,
        };
        if let Some((_, oldest)) = excess.and_then(|at| self.running.remove(at)) {
            oldest.abort();
        }
        let (acceptor, done) = (self.acceptor.clone(), self.done.clone());
        let handshake = tokio::spawn(async move {
            if let Ok(Some(stream)) = tokio::time::timeout(HANDSHAKE, secured(acceptor, stream)).await {
                let _ = done.send(stream).await;
            }
        });
        self.running.push_back((address, handshake.abort_handle()));
    }
}

/// Begins TLS. Returns `None` if the client went away, cannot speak TLS with us, or does not trust the certificate.
async fn secured(acceptor: TlsAcceptor, mut stream: TcpStream) -> Option<Stream> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 1 && first[0] != TLS_RECORD {
        stream.write_all(NOT_TLS.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()?;
        // A close before the request was read would reset the connection, and the client would lose the answer.
        while stream.read(&mut [0; 1024]).await.ok()? > 0 {}
        return None;
    }
    Some(Stream::Tls(Box::new(acceptor.accept(stream).await.ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_answer_has_its_length() {
        let (head, body) = NOT_TLS.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
