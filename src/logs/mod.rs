//! One append-only file a job, `<id>.log`. Readers are woken when it grows and read the file themselves.

pub mod ansi_html;
mod arguments;
mod follow;
mod forms;
pub mod html;
mod redact;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

pub use arguments::{arguments_with_secrets, secret_argument};
pub use follow::LogFollower;
pub use writer::LogWriter;

use crate::model::JobId;

/// All logs of a folder. Clones share it.
#[derive(Clone)]
pub struct Logs {
    dir: Arc<PathBuf>,
    /// Of the logs that are written or followed now.
    tails: Arc<Mutex<HashMap<JobId, Weak<Tail>>>>,
}

/// What wakes the readers of one log: every change of `ended`, also to the same value.
struct Tail {
    ended: watch::Sender<bool>,
}

impl Tail {
    fn grown(&self) {
        self.ended.send_modify(|_| {});
    }
}

impl Logs {
    /// Makes the folder (0700) if it is not there.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir: Arc::new(dir), tails: Arc::default() })
    }

    /// Appends to a job's log, which is made (0600) with its first byte.
    pub fn writer(&self, id: JobId) -> Arc<LogWriter> {
        Arc::new(LogWriter::new(self.path(id), self.tail(id)))
    }

    /// The job has ended: its followers end after the last byte.
    pub fn end(&self, id: JobId) {
        if let Some(tail) = self.tails().remove(&id).and_then(|tail| tail.upgrade()) {
            tail.ended.send_replace(true);
        }
    }

    /// How many bytes there are; none before the first.
    pub async fn len(&self, id: JobId) -> io::Result<u64> {
        match tokio::fs::metadata(self.path(id)).await {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// The bytes from `start` to before `end`, or to where the file ends now.
    pub fn range(&self, id: JobId, start: u64, end: u64) -> LogFollower {
        let mut reader = LogFollower::new(self.path(id), self.tail(id), start, end);
        reader.stop_at_end();
        reader
    }

    /// The bytes from `offset` on, those to come too, until [`Logs::end`]. A job may have ended before this: look at
    /// its status after this call, and call [`LogFollower::stop_at_end`] if it has.
    pub fn follow(&self, id: JobId, offset: u64) -> LogFollower {
        LogFollower::new(self.path(id), self.tail(id), offset, u64::MAX)
    }

    fn path(&self, id: JobId) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    fn tail(&self, id: JobId) -> Arc<Tail> {
        let mut tails = self.tails();
        if let Some(tail) = tails.get(&id).and_then(Weak::upgrade) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail { ended: watch::Sender::new(false) });
        tails.insert(id, Arc::downgrade(&tail));
        tail
    }

    fn tails(&self) -> MutexGuard<'_, HashMap<JobId, Weak<Tail>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
