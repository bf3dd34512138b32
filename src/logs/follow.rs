use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::Tail;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Reads a log from an offset, and waits where it ends for more. It reads the file at its own pace and keeps nothing:
/// one that is slow or idle costs no memory.
pub struct LogFollower {
    path: PathBuf,
    file: Option<Arc<File>>,
    offset: u64,
    /// Exclusive.
    until: u64,
    /// Ends where the file does.
    complete: bool,
    wake: watch::Receiver<bool>,
    /// Keeps the log's entry while someone waits for it.
    _tail: Arc<Tail>,
}

impl LogFollower {
    pub(super) fn new(path: PathBuf, tail: Arc<Tail>, offset: u64, until: u64) -> Self {
        let wake = tail.ended.subscribe();
        Self { path, file: None, offset, until, complete: false, wake, _tail: tail }
    }

    /// No more will be written: ends where the file does now.
    pub fn stop_at_end(&mut self) {
        self.complete = true;
    }

    /// The next bytes, at most 64 KiB; None at the end of a log that has ended, or of the range.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Before the read: what was written before the end was told is found by it.
            let complete = *self.wake.borrow_and_update() || self.complete;
            let bytes = self.read().await?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
            if complete || self.offset >= self.until {
                return Ok(None);
            }
            // It cannot fail: `_tail` holds the sender.
            let _ = self.wake.changed().await;
        }
    }

    /// [`Self::next`] as a stream.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut log| Ok(log.next().await?.map(|bytes| (bytes, log))))
    }

    async fn read(&mut self) -> io::Result<Bytes> {
        let (path, file, offset) = (self.path.clone(), self.file.clone(), self.offset);
        let wanted = self.until.saturating_sub(offset).min(PIECE as u64) as usize;
        let read = move || -> io::Result<(Arc<File>, Bytes)> {
            let file = file.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
            let mut bytes = vec![0; wanted];
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
