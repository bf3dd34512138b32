//! Follows a log while it grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::LogSignal;

/// Number of bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Reads a log from an offset on, and waits for more at its end. It reads the file at its own pace and buffers
/// nothing, so a slow or idle follower costs no memory.
pub struct LogFollower {
    path: PathBuf,
    file: Option<Arc<File>>,
    offset: u64,
    /// End of the range, exclusive.
    until: u64,
    /// True if the follower ends at the end of the file.
    complete: bool,
    wake: watch::Receiver<bool>,
    /// Keeps the log's entry among the signals while the follower exists.
    _signal: Arc<LogSignal>,
}

impl LogFollower {
    pub(super) fn new(path: PathBuf, signal: Arc<LogSignal>, offset: u64, until: u64) -> Self {
        let wake = signal.ended.subscribe();
        Self { path, file: None, offset, until, complete: false, wake, _signal: signal }
    }

    /// Makes the follower end at the end of the file, because nothing more will be written.
    pub fn stop_at_end(&mut self) {
        self.complete = true;
    }

    /// Returns the next bytes, at most 64 KiB, or `None` at the end of the range or of a log that has ended.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // The flag is read before the file, so that the read finds everything that was written before the log
            // ended.
            let complete = *self.wake.borrow_and_update() || self.complete;
            let bytes = self.read().await?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
            if complete || self.offset >= self.until {
                return Ok(None);
            }
            // This cannot fail, because `_signal` holds the sender.
            let _ = self.wake.changed().await;
        }
    }

    /// Returns the pieces of [`Self::next`] as a stream.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut log| Ok(log.next().await?.map(|bytes| (bytes, log))))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let (path, file, offset) = (self.path.clone(), self.file.clone(), self.offset);
        let size = self.until.saturating_sub(offset).min(PIECE as u64) as usize;
        let read = move || -> io::Result<(Arc<File>, Bytes)> {
            let file = file.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
            let mut bytes = vec![0; size];
            let n = file.read_at(&mut bytes, offset)?;
            Ok((file, Bytes::copy_from_slice(&bytes[..n])))
        };
        match tokio::task::spawn_blocking(read).await? {
            Ok((file, bytes)) => {
                self.file = Some(file);
                self.offset += bytes.len() as u64;
                Ok(bytes)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Bytes::new()),
            Err(e) => Err(e),
        }
    }
}
