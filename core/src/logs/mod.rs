//! Logs of jobs. Each job has one append-only file, `<id>.log`, in which secrets are masked. Readers are woken when the
//! file grows, and read it themselves.

pub mod ansi_html;
mod arguments;
mod follow;
mod forms;
pub mod html;
mod limit;
mod redact;
mod stored;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use zeroize::Zeroizing;

pub use arguments::{SECRET_DOCKERFILE, arguments_with_secrets, has_secret, secret_argument};
pub use follow::LogFollower;
pub use stored::StoredLog;
pub use writer::LogWriter;

use crate::memory::MemoryPool;
use crate::model::JobId;
use limit::Limit;
use tail::Tail;

/// The logs of a folder, which clones share.
#[derive(Clone)]
pub struct Logs {
    dir: Arc<PathBuf>,
    masks: Masks,
    /// LOG_LIMIT, bytes.
    limit: u64,
    memory: LogMemory,
    /// One entry for each log that is being written or followed.
    signals: Arc<Mutex<HashMap<JobId, Weak<LogSignal>>>>,
}

/// Memory for all logs, by default without bound.
#[derive(Debug, Clone, Default)]
pub struct LogMemory {
    /// For what readers have read and not yet passed on.
    pub readers: MemoryPool,
    /// For the ends of logs: those that followers share, and those behind LOG_LIMIT.
    pub ends: MemoryPool,
}

/// Secrets of the daemon. They can grow while jobs run. Clones share them.
pub type Masks = watch::Sender<Arc<Vec<Zeroizing<String>>>>;

/// Wakes the readers of one log. Every change of `ended` does, even a change to the same value.
struct LogSignal {
    ended: watch::Sender<bool>,
    /// Number of writes, which are counted when they can be read.
    writes: AtomicU64,
    tail: tokio::sync::Mutex<Tail>,
}

impl LogSignal {
    fn wake_readers(&self) {
        self.writes.fetch_add(1, Release);
        self.ended.send_modify(|_| {});
    }
}

impl Logs {
    /// Opens a folder of logs, which is created (0700) if it does not exist.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self {
            dir: Arc::new(dir),
            masks: Masks::default(),
            limit: u64::MAX,
            memory: LogMemory::default(),
            signals: Arc::default(),
        })
    }

    /// Returns the logs with these masks, which every writer takes, also one that writes already.
    pub fn masked_by(self, masks: Masks) -> Self {
        Self { masks, ..self }
    }

    /// Returns the logs with this LOG_LIMIT in bytes.
    pub fn limited_to(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Returns the logs with this memory.
    pub fn within(self, memory: LogMemory) -> Self {
        Self { memory, ..self }
    }

    /// Returns a writer that appends to a job's log. The file is created (0600) with its first byte.
    pub fn writer(&self, id: JobId) -> Arc<LogWriter> {
        LogWriter::new(
            self.path(id),
            self.signal(id),
            self.masks.subscribe(),
            Limit::new(self.limit, self.memory.ends.clone()),
        )
    }

    /// Ends the log of a job. Its followers end after the last byte.
    pub fn end(&self, id: JobId) {
        if let Some(signal) = self.signals().remove(&id).and_then(|signal| signal.upgrade()) {
            signal.ended.send_replace(true);
        }
    }

    /// Returns the size of a log in bytes, which is 0 if the log does not exist.
    pub async fn len(&self, id: JobId) -> io::Result<u64> {
        match tokio::fs::metadata(self.path(id)).await {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Reads the bytes from `start` up to `end` (exclusive), or up to the current end of the file.
    pub fn range(&self, id: JobId, start: u64, end: u64) -> LogFollower {
        LogFollower::of_range(self.path(id), self.signal(id), self.memory.readers.clone(), start, end)
    }

    /// Reads the bytes from `offset` on, and waits for further ones until [`Logs::end`]. Because the job may have ended
    /// before this call, the caller then reads its status, and calls [`LogFollower::stop_at_end`] if it has ended.
    pub fn follow(&self, id: JobId, offset: u64) -> LogFollower {
        LogFollower::of_growing(self.path(id), self.signal(id), self.memory.readers.clone(), offset)
    }

    fn path(&self, id: JobId) -> PathBuf {
        self.dir.join(format!("{id}.log"))
    }

    fn signal(&self, id: JobId) -> Arc<LogSignal> {
        let mut signals = self.signals();
        if let Some(signal) = signals.get(&id).and_then(Weak::upgrade) {
            return signal;
        }
        signals.retain(|_, signal| signal.strong_count() > 0);
        let signal = Arc::new(LogSignal {
            ended: watch::Sender::new(false),
            writes: AtomicU64::new(0),
            tail: tokio::sync::Mutex::new(Tail::new(self.memory.ends.clone())),
        });
        signals.insert(id, Arc::downgrade(&signal));
        signal
    }

    fn signals(&self) -> MutexGuard<'_, HashMap<JobId, Weak<LogSignal>>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
