//! Follows a log while it grows.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::LogSignal;
use super::tail::read_at;
use crate::memory::MemoryPool;

/// Number of bytes that a follower reads for itself at once. 3,000 followers have 48 MB together.
const PIECE: u64 = 16 << 10;

/// Reads a log from an offset on, and waits for more at its end. Followers share the bytes that they read at the log's
/// end. One that reads for itself has a single piece at a time, which counts in the memory of readers until it is
/// dropped. An idle one costs no memory and no open file.
pub struct LogFollower {
    path: PathBuf,
    /// The file of a reader that is not at the log's end.
    file: Option<Arc<File>>,
    offset: u64,
    /// End of the range, exclusive.
    until: u64,
    /// True if the follower ends at the end of the file.
    complete: bool,
    /// True if the reader takes the end of the log from memory where it can.
    shares: bool,
    wake: watch::Receiver<bool>,
    signal: Arc<LogSignal>,
    /// Memory of all readers.
    memory: MemoryPool,
    /// Room for the piece that the reader has.
    own: MemoryPool,
}

impl LogFollower {
    /// Makes a reader of the log so far.
    pub(super) fn of_range(path: PathBuf, signal: Arc<LogSignal>, memory: MemoryPool, offset: u64, until: u64) -> Self {
        let (wake, own) = (signal.ended.subscribe(), MemoryPool::new(PIECE));
        Self { path, file: None, offset, until, complete: true, shares: false, wake, signal, memory, own }
    }

    /// Makes a reader that waits for more.
    pub(super) fn of_growing(path: PathBuf, signal: Arc<LogSignal>, memory: MemoryPool, offset: u64) -> Self {
        let range = Self::of_range(path, signal, memory, offset, u64::MAX);
        Self { complete: false, shares: true, ..range }
    }

    /// Makes the follower end at the end of the file, because nothing more will be written.
    pub fn stop_at_end(&mut self) {
        (self.complete, self.shares) = (true, false);
    }

    /// Returns the next bytes, at most 64 KiB, or `None` at the end of the range or of a log that has ended. It waits until
    /// the bytes of the call before are dropped. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // The flag is read before the file, so that the read finds everything that was written before the log
            // ended.
            let complete = *self.wake.borrow_and_update() || self.complete;
            let bytes = self.read().await?;
            if !bytes.is_empty() {
                self.offset += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if complete || self.offset >= self.until {
                return Ok(None);
            }
            // This cannot fail, because `signal` holds the sender.
            let _ = self.wake.changed().await;
        }
    }

    /// Returns the pieces of [`Self::next`] as a stream.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut log| Ok(log.next().await?.map(|bytes| (bytes, log))))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        if self.shares {
            let writes = self.signal.writes.load(Acquire);
            if let Some(bytes) = self.signal.tail.lock().await.next(&self.path, self.offset, writes).await? {
                self.file = None;
                return Ok(bytes);
            }
        }
        // The own room comes first, so that a reader who takes nothing waits for it with nothing of the others' memory.
        let own = self.own.claim(PIECE).await;
        let claim = self.memory.claim(PIECE).await;
        let size = self.until.saturating_sub(self.offset).min(PIECE);
        let (file, bytes) = read_at(&self.path, self.file.clone(), self.offset, size as usize).await?;
        self.file = file.filter(|_| !bytes.is_empty());
        Ok(if bytes.is_empty() { bytes } else { own.hold(claim.hold(bytes)) })
    }
}
