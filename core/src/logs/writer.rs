//! Writes a log, with its secrets masked.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::LogSignal;
use super::forms::{binary_forms, forms};
use super::limit::Limit;
use super::redact::Redactor;
use crate::model::LogSink;

/// Half of the longest time between a write and its bytes in the file.
const TICK: Duration = Duration::from_millis(25);

/// Writes one job's log, one to two ticks behind. Bytes that cannot be written, because the disk is full for example, are lost. The log names
/// their number as soon as it can be written again, and the job goes on.
pub struct LogWriter {
    state: Mutex<WriterState>,
    signal: Arc<LogSignal>,
    /// The writer itself, for the task that writes what is due.
    this: Weak<Self>,
}

struct WriterState {
    path: PathBuf,
    file: Option<File>,
    redactor: Redactor,
    masks: watch::Receiver<Arc<Vec<Zeroizing<String>>>>,
    limit: Limit,
    /// True while a task writes what is due.
    is_ticking: bool,
    /// Number of bytes that were lost since the last successful write.
    lost: u64,
}

impl LogWriter {
    pub(super) fn new(
        path: PathBuf,
        signal: Arc<LogSignal>,
        mut masks: watch::Receiver<Arc<Vec<Zeroizing<String>>>>,
        limit: Limit,
    ) -> Arc<Self> {
        masks.mark_changed();
        let state =
            WriterState { path, file: None, redactor: Redactor::default(), masks, limit, is_ticking: false, lost: 0 };
        Arc::new_cyclic(|this| Self { state: Mutex::new(state), signal, this: this.clone() })
    }

    /// Masks these secrets as `***` from now on, if they have 6 bytes or more. They are also found in pieces, broken
    /// over lines, in base64, in a URL and in JSON.
    pub fn mask(&self, secrets: &[Zeroizing<String>]) {
        self.state().redactor.add(secrets.iter().flat_map(|secret| forms(secret)));
    }

    /// Masks these binary secrets from now on, in the form that a PEM file gives to its parts.
    pub fn mask_binary(&self, secrets: &[Zeroizing<Vec<u8>>]) {
        self.state().redactor.add(secrets.iter().flat_map(|secret| binary_forms(secret)));
    }

    /// Returns a text as the log would show it.
    pub fn masked(&self, text: &str) -> String {
        let mut redactor = self.state().redactor().fork();
        let mut out = Vec::with_capacity(text.len());
        redactor.push(text.as_bytes(), &mut out);
        redactor.flush(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Writes everything, at the end of a stage or of a job: the bytes of the present tick, the end of a log that is over
    /// LOG_LIMIT, and the number of lost bytes.
    pub fn flush(&self) {
        let mut out = Vec::new();
        let mut state = self.state();
        state.redactor.flush(&mut out);
        self.append(&mut state, &out);
        let end = state.limit.end();
        if !end.is_empty() || state.lost > 0 {
            state.append(&end);
            self.signal.wake_readers();
        }
    }

    fn append(&self, state: &mut WriterState, bytes: &[u8]) {
        if !bytes.is_empty() {
            state.append_within_limit(bytes);
            self.signal.wake_readers();
        }
    }

    /// Writes what is due. Returns false if nothing is held any more.
    fn tick(&self) -> bool {
        let mut out = Vec::new();
        let mut state = self.state();
        state.is_ticking = state.redactor().tick(&mut out);
        self.append(&mut state, &out);
        state.is_ticking
    }

    /// Starts the task that writes what is due, unless it runs.
    fn start_ticking(&self, state: &mut WriterState) {
        if !state.is_ticking
            && let Ok(runtime) = Handle::try_current()
        {
            state.is_ticking = true;
            let this = self.this.clone();
            runtime.spawn(async move {
                loop {
                    sleep(TICK).await;
                    if this.upgrade().is_none_or(|writer| !writer.tick()) {
                        break;
                    }
                }
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for LogWriter {
    fn write(&self, bytes: &[u8]) {
        let mut out = Vec::new();
        let mut state = self.state();
        state.redactor().push(bytes, &mut out);
        self.append(&mut state, &out);
        self.start_ticking(&mut state);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

impl WriterState {
    /// Returns the redactor with the daemon's present masks.
    fn redactor(&mut self) -> &mut Redactor {
        if self.masks.has_changed().unwrap_or(false) {
            let masks = self.masks.borrow_and_update().clone();
            self.redactor.add(masks.iter().flat_map(|secret| forms(secret)));
        }
        &mut self.redactor
    }

    fn append_within_limit(&mut self, bytes: &[u8]) {
        // An earlier attempt may have written to the file.
        let written = self.file().and_then(|file| file.metadata()).map_or(0, |file| file.len());
        let (now, notice) = self.limit.take(bytes, written);
        self.append(now);
        self.append(notice.as_bytes());
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.lost > 0 {
            let note = format!("\n[{} bytes of this log could not be written]\n", self.lost);
            if self.try_append(note.as_bytes()).is_err() {
                self.lost += bytes.len() as u64;
                return;
            }
            self.lost = 0;
        }
        if let Err((written, error)) = self.try_append(bytes) {
            self.lost = (bytes.len() - written) as u64;
            let log = self.path.display();
            tracing::error!(%log, %error, "the log cannot be written: make room on its disk; the job goes on without it");
        }
    }

    /// Appends bytes. An error has the number of bytes that were written, and the reason why no more were.
    fn try_append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file().and_then(|mut file| file.write(&bytes[written..])) {
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.file = None;
                    return Err((written, e));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?)),
        }
    }
}
