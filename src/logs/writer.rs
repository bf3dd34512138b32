//! Writes a log, with its secrets masked.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::LogSignal;
use super::forms::{binary_forms, forms};
use super::redact::Redactor;
use crate::model::LogSink;

/// Writes one job's log. Bytes that cannot be written, because the disk is full for example, are lost. The log names
/// their number as soon as it can be written again, and the job goes on.
pub struct LogWriter {
    state: Mutex<WriterState>,
    signal: Arc<LogSignal>,
}

struct WriterState {
    path: PathBuf,
    file: Option<File>,
    redactor: Redactor,
    masks: watch::Receiver<Arc<Vec<Zeroizing<String>>>>,
    /// Number of bytes that were lost since the last successful write.
    lost: u64,
}

impl LogWriter {
    pub(super) fn new(
        path: PathBuf,
        signal: Arc<LogSignal>,
        mut masks: watch::Receiver<Arc<Vec<Zeroizing<String>>>>,
    ) -> Self {
        masks.mark_changed();
        let redactor = Redactor::default();
        Self { state: Mutex::new(WriterState { path, file: None, redactor, masks, lost: 0 }), signal }
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

    /// Writes the bytes that are held back because a secret may begin with them, and the number of lost bytes.
    pub fn flush(&self) {
        let mut out = Vec::new();
        let mut state = self.state();
        state.redactor.flush(&mut out);
        self.append(&mut state, &out);
    }

    fn append(&self, state: &mut WriterState, bytes: &[u8]) {
        if !bytes.is_empty() || state.lost > 0 {
            state.append(bytes);
            self.signal.wake_readers();
        }
    }

    fn state(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for LogWriter {
    fn write(&self, bytes: &[u8]) {
        let mut out = Vec::with_capacity(bytes.len());
        let mut state = self.state();
        state.redactor().push(bytes, &mut out);
        self.append(&mut state, &out);
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
