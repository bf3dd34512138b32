use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::format::Format;
use super::layer::{Line, Lines};
use crate::settings::SyslogTarget as Place;

/// Lines that wait, 200 bytes each: some minutes of a busy daemon.
const QUEUE: usize = 4096;
/// For a connection, and for a line to be taken.
const LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Nothing is heard from a receiver by UDP: after this its name is looked up again.
const FRESH: Duration = Duration::from_secs(300);

pub(super) enum Item {
    Line(Line),
    /// Answered when all before it is sent.
    Flush(oneshot::Sender<()>),
}

/// The way to the system log.
pub struct Syslog {
    queue: mpsc::Sender<Item>,
    /// None: it is not known yet.
    place: watch::Sender<Option<Place>>,
    is_fixed: bool,
}

impl Syslog {
    /// Sends to this host from now on, or nowhere, unless SYSLOG has said where.
    pub fn follow(&self, host: Option<&str>) {
        if self.is_fixed {
            return;
        }
        let place = Some(host.map_or(Place::Off, |host| Place::Udp(host.to_owned())));
        self.place.send_if_modified(|current| {
            let changed = *current != place;
            *current = place;
            changed
        });
    }

    /// Waits until all lines so far are sent, `limit` at most. Not if it is not known where to.
    pub async fn flush(&self, limit: Duration) {
        if self.place.borrow().is_none() {
            return;
        }
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        let _ = timeout(limit, flush).await;
    }
}

/// Starts to send what the layer takes.
pub(super) fn start(place: Option<Place>, identifier: &str) -> (Lines, Syslog) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let (queue, items) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    let is_fixed = place.is_some();
    let (place, places) = watch::channel(place);
    let sender = Sender {
        items,
        places,
        dropped: dropped.clone(),
        format: Format::new(identifier, host, std::process::id()),
        link: None,
        is_down: false,
    };
    tokio::spawn(sender.run());
    (Lines { queue: queue.clone(), dropped }, Syslog { queue, place, is_fixed })
}

/// Connects, and sends nothing. By UDP that proves only that there is a name and a way.
///
/// # Errors
/// It is not reached.
pub async fn reach(place: &Place) -> io::Result<()> {
    within(Link::open(place)).await.map(drop)
}

struct Sender {
    items: mpsc::Receiver<Item>,
    places: watch::Receiver<Option<Place>>,
    dropped: Arc<AtomicU64>,
    format: Format,
    link: Option<Link>,
    /// It was said that lines do not arrive.
    is_down: bool,
}

impl Sender {
    /// Until it is known where to, lines wait in the queue.
    async fn run(mut self) {
        if self.places.wait_for(Option::is_some).await.is_err() {
            return;
        }
        while let Some(item) = self.items.recv().await {
            match item {
                Item::Line(line) => self.deliver(&line).await,
                Item::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Tries until the line is sent, or is to be sent nowhere.
    async fn deliver(&mut self, line: &Line) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.places.has_changed().unwrap_or(false) {
                self.link = None;
            }
            let place = self.places.borrow_and_update().clone().unwrap_or(Place::Off);
            if place == Place::Off {
                self.dropped.store(0, Relaxed);
                return;
            }
            match within(self.send(&place, line)).await {
                Ok(()) => return self.account(&place),
                Err(error) => {
                    self.link = None;
                    if !std::mem::replace(&mut self.is_down, true) {
                        tracing::warn!("syslog: {place} cannot be reached ({error}): lines wait, then are dropped");
                    }
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                // At once to the new place; with nobody left to change it, the pause goes on.
                Ok(()) = self.places.changed() => self.link = None,
            }
        }
    }

    async fn send(&mut self, place: &Place, line: &Line) -> io::Result<()> {
        if self.link.as_ref().is_some_and(Link::is_stale) {
            self.link = None;
        }
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::open(place).await?),
        };
        link.send(&self.format, line).await
    }

    /// After a line was sent: says, once an outage or a burst is over, what it cost.
    fn account(&mut self, place: &Place) {
        if !self.items.is_empty() {
            return;
        }
        let dropped = self.dropped.swap(0, Relaxed);
        if std::mem::take(&mut self.is_down) {
            tracing::info!(dropped, "syslog: {place} is reached again");
        } else if dropped > 0 {
            tracing::warn!(dropped, "syslog: {place} was too slow, and lines were dropped");
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

enum Link {
    Local(UnixDatagram),
    Udp(UdpSocket, Instant),
    Tcp(TcpStream),
}

impl Link {
    async fn open(place: &Place) -> io::Result<Self> {
        match place {
            Place::Off => Err(io::ErrorKind::NotFound.into()),
            Place::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Self::Local(socket))
            }
            Place::Udp(address) => {
                let address = lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let any: SocketAddr = match address {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Ok(Self::Udp(socket, Instant::now()))
            }
            Place::Tcp(address) => Ok(Self::Tcp(TcpStream::connect(address).await?)),
        }
    }

    fn is_stale(&self) -> bool {
        matches!(self, Self::Udp(_, opened) if opened.elapsed() > FRESH)
    }

    async fn send(&mut self, format: &Format, line: &Line) -> io::Result<()> {
        match self {
            Self::Local(socket) => socket.send(&format.rfc_3164(line)).await.map(drop),
            Self::Udp(socket, _) => socket.send(&format.rfc_5424(line)).await.map(drop),
            Self::Tcp(stream) => {
                check_open(stream)?;
                let message = format.rfc_5424(line);
                // Octet counting (RFC 6587), in one write: the other end need not wait for a second packet.
                let mut frame = format!("{} ", message.len()).into_bytes();
                frame.extend(message);
                stream.write_all(&frame).await
            }
        }
    }
}

/// The other end says nothing but that it goes. A write would succeed all the same, and its line be lost.
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[tokio::test]
    async fn what_the_queue_does_not_hold_is_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (lines, syslog) = start(Some(Place::Local(path.clone())), "test");
        let dropped = lines.dropped.clone();
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || (0..QUEUE + 100).for_each(|n| tracing::info!(n, "line")));
        assert_eq!(dropped.load(Relaxed), 100);
        let receiver = UnixDatagram::bind(path).unwrap();
        let mut buffer = [0; 100];
        for n in 0..QUEUE {
            let size = timeout(LIMIT * 4, receiver.recv(&mut buffer)).await.unwrap().unwrap();
            let line = std::str::from_utf8(&buffer[..size]).unwrap();
            assert!(line.ends_with(&format!("]: line n={n}")), "{line}");
        }
        syslog.flush(LIMIT).await;
        assert_eq!(dropped.load(Relaxed), 0, "it is told once");
    }
}
