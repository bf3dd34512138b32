use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::listener::Peer;
use super::places::ConnectionPlace;

/// Time for which writing may wait until it has made [`PROGRESS`]. A reader that takes less comes back where it was.
const STALLED: Duration = Duration::from_secs(30);
/// Bytes that are progress: 1 KiB for each second. Less would let a reader that takes a byte now and then hold its part of a
/// log or a list for ever. All that there was to write is progress, too.
const PROGRESS: usize = 30 << 10;

/// The bytes of a connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl From<Peer> for Stream {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Tcp(stream) => Self::Tcp(stream),
            Peer::Unix(stream) => Self::Unix(stream),
        }
    }
}

impl Stream {
    /// Returns the address of the other end, which a Unix socket has none of.
    pub fn peer(&self) -> Option<IpAddr> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) => return None,
        };
        stream.peer_addr().ok().map(|address| address.ip())
    }
}

/// A connection with its place, which it keeps also as a WebSocket. Writing fails once it has waited for [`STALLED`] and made
/// no [`PROGRESS`].
pub(super) struct Connection {
    stream: Stream,
    progress: Progress,
    /// The end of the time for progress, while writing waits.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Arc<ConnectionPlace>,
    _token: TaskTrackerToken,
}

/// The bytes that a reader has taken, and the time that writing has waited, since the last progress.
#[derive(Debug, Default)]
struct Progress {
    waited: Duration,
    taken: usize,
    /// The beginning of the present wait.
    since: Option<Instant>,
}

impl Progress {
    /// Begins a wait, or goes on with it. Returns its end.
    fn wait(&mut self, now: Instant) -> Instant {
        *self.since.get_or_insert(now) + STALLED.saturating_sub(self.waited)
    }

    /// Ends a wait, in which the reader took this many bytes.
    fn take(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.taken = self.taken.saturating_add(bytes);
        if self.taken >= PROGRESS {
            *self = Self::default();
        }
    }
}

/// Calls a method of the stream inside.
macro_rules! on_stream {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match &mut $self.stream {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl Connection {
    pub fn new(stream: Stream, place: Arc<ConnectionPlace>, token: TaskTrackerToken) -> Self {
        Self { stream, progress: Progress::default(), stalled: None, _place: place, _token: token }
    }

    /// Passes on the result of writing, of which `bytes` tells how much that is, and fails if it has been too little for too
    /// long.
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = &written {
            self.progress.take(Instant::now(), result.as_ref().map_or(0, bytes));
            self.stalled = None;
            return written;
        }
        let end = self.progress.wait(Instant::now());
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = on_stream!(self, poll_write(cx, bytes));
        self.watched(cx, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = on_stream!(self, poll_write_vectored(cx, pieces));
        self.watched(cx, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = on_stream!(self, poll_flush(cx));
        self.watched(cx, flushed, |()| PROGRESS)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = on_stream!(self, poll_shutdown(cx));
        self.watched(cx, ended, |()| PROGRESS)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::http::serve::places::Places;

    /// Writes until the reader has to take something first.
    async fn fill(connection: &mut Connection) {
        let mut write = async || {
            poll_fn(|cx| match Pin::new(&mut *connection).poll_write(cx, &[0; 1 << 16]) {
                Poll::Ready(written) => Poll::Ready(Some(written.unwrap())),
                Poll::Pending => Poll::Ready(None),
            })
            .await
        };
        while write().await.is_some() {}
    }

    /// A byte now and then is no progress, and neither is waiting that comes in parts.
    #[test]
    fn a_reader_has_to_take_a_kibibyte_a_second() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut slow = Progress::default();
        assert_eq!(slow.wait(at(0)), at(30));
        slow.take(at(29), 1);
        // Nobody waits in between.
        assert_eq!(slow.wait(at(100)), at(101));
        slow.take(at(100), PROGRESS - 2);
        assert_eq!(slow.wait(at(200)), at(201));
        slow.take(at(200), 1);
        assert_eq!((slow.wait(at(300)), slow.wait(at(310))), (at(330), at(330)));
    }

    #[tokio::test]
    async fn writing_fails_only_without_progress() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, places) =
            (Stream::Tcp(listener.accept().await.unwrap().0), Arc::new(Places::new(0, Default::default())));
        let mut connection =
            Connection::new(stream, Arc::new(places.take(None).await.unwrap()), TaskTracker::new().token());
        fill(&mut connection).await;
        assert!(connection.stalled.is_some());
        let mut taken = vec![0; 8 << 20];
        let (written, _) = tokio::join!(connection.write(b"x"), reader.read_exact(&mut taken[..1 << 20]));
        assert_eq!((written.unwrap(), connection.stalled.is_none()), (1, true));

        fill(&mut connection).await;
        connection.stalled = Some(Box::pin(sleep_until(Instant::now())));
        assert_eq!(connection.write(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(places.count().0, 1);
        drop(connection);
        assert_eq!(places.count().0, 0);
    }
}
