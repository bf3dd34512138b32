use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::connection::{SyslogConnection, within_limit};
use super::format::Format;
use super::layer::SyslogQueue;
use super::line::{LogLine, QueueItem};
use crate::settings::SyslogTarget;

/// The most lines that wait, about 200 bytes each. A busy daemon writes them in some minutes.
const QUEUE: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The daemon's handle on the sender to syslog.
pub struct SyslogHandle {
    queue: mpsc::Sender<QueueItem>,
    /// The target, once it is known.
    target: watch::Sender<Option<SyslogTarget>>,
    /// True if SYSLOG names the target.
    is_fixed: bool,
}

impl SyslogHandle {
    /// Sends to this host from now on, or nowhere without one, unless SYSLOG names the target.
    pub fn follow(&self, host: Option<&str>) {
        if self.is_fixed {
            return;
        }
        let target = Some(host.map_or(SyslogTarget::Off, |host| SyslogTarget::Udp(host.to_owned())));
        self.target.send_if_modified(|current| {
            let changed = *current != target;
            *current = target;
            changed
        });
    }

    /// Waits until all lines so far are sent, at most for `limit`. It does not wait while the target is unknown.
    pub async fn flush(&self, limit: Duration) {
        if self.target.borrow().is_none() {
            return;
        }
        let (done, flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(QueueItem::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        let _ = timeout(limit, flush).await;
    }
}

/// Starts to send the lines that are queued.
pub(super) fn start(target: Option<SyslogTarget>, identifier: &str) -> (SyslogQueue, SyslogHandle) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let (queue, items) = mpsc::channel(QUEUE);
    let dropped = Arc::<AtomicU64>::default();
    let is_fixed = target.is_some();
    let (target, targets) = watch::channel(target);
    let sender = SyslogSender {
        items,
        targets,
        dropped: dropped.clone(),
        format: Format::new(identifier, host, std::process::id()),
        connection: None,
        is_down: false,
    };
    tokio::spawn(sender.run());
    (SyslogQueue { queue: queue.clone(), dropped }, SyslogHandle { queue, target, is_fixed })
}

struct SyslogSender {
    items: mpsc::Receiver<QueueItem>,
    targets: watch::Receiver<Option<SyslogTarget>>,
    dropped: Arc<AtomicU64>,
    format: Format,
    connection: Option<SyslogConnection>,
    /// True once a log line has said that the receiver cannot be reached.
    is_down: bool,
}

impl SyslogSender {
    /// Sends the queue. Lines wait in it until the target is known.
    async fn run(mut self) {
        if self.targets.wait_for(Option::is_some).await.is_err() {
            return;
        }
        while let Some(item) = self.items.recv().await {
            match item {
                QueueItem::Line(line) => self.deliver(&line).await,
                QueueItem::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Tries until the line is sent, or the target is off.
    async fn deliver(&mut self, line: &LogLine) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.targets.has_changed().unwrap_or(false) {
                self.connection = None;
            }
            let target = self.targets.borrow_and_update().clone().unwrap_or(SyslogTarget::Off);
            if target == SyslogTarget::Off {
                self.dropped.store(0, Relaxed);
                return;
            }
            match within_limit(self.send(&target, line)).await {
                Ok(()) => return self.report_outage(&target),
                Err(error) => {
                    self.connection = None;
                    if !std::mem::replace(&mut self.is_down, true) {
                        tracing::warn!("syslog: {target} cannot be reached ({error}): lines wait, then are dropped");
                    }
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                // A new target is tried at once. With no handle left that could change it, the pause goes on.
                Ok(()) = self.targets.changed() => self.connection = None,
            }
        }
    }

    async fn send(&mut self, target: &SyslogTarget, line: &LogLine) -> io::Result<()> {
        if self.connection.as_ref().is_some_and(SyslogConnection::is_stale) {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(SyslogConnection::open(target).await?),
        };
        connection.send(&self.format, line).await
    }

    /// Logs how many lines were dropped, once an outage or a burst is over.
    fn report_outage(&mut self, target: &SyslogTarget) {
        if !self.items.is_empty() {
            return;
        }
        let dropped = self.dropped.swap(0, Relaxed);
        if std::mem::take(&mut self.is_down) {
            tracing::info!(dropped, "syslog: {target} is reached again");
        } else if dropped > 0 {
            tracing::warn!(dropped, "syslog: {target} was too slow, and lines were dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixDatagram;
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::connection::LIMIT;
    use super::super::layer::LineLayer;
    use super::*;

    #[tokio::test]
    async fn lines_beyond_the_queue_are_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (lines, syslog) = start(Some(SyslogTarget::Local(path.clone())), "test");
        let dropped = lines.dropped.clone();
        let lines = LineLayer { syslog: Some(lines), ..LineLayer::default() };
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
