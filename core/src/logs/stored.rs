use std::time::SystemTime;
use std::{fs, io};

use super::Logs;
use crate::model::JobId;

/// The content of a log that was removed before its job.
const NOTE: &str = "The log of this job was removed: it was older than LOG_KEEP allows, or one of too many.\n";

/// A log on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLog {
    pub job: JobId,
    pub bytes: u64,
    /// Time of its last byte.
    pub changed: SystemTime,
}

impl Logs {
    /// Returns all logs, the oldest job's first. It reads the disk, so it is for a thread that may wait.
    pub fn stored(&self) -> io::Result<Vec<StoredLog>> {
        let mut stored = Vec::new();
        for entry in fs::read_dir(&*self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let job = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|id| id.parse().ok());
            if let (Some(job), Ok(metadata)) = (job, entry.metadata()) {
                stored.push(StoredLog { job, bytes: metadata.len(), changed: metadata.modified()? });
            }
        }
        stored.sort_by_key(|log| log.job);
        Ok(stored)
    }

    /// Puts a note in the place of a log whose job stays, for who asks for it. Returns the bytes of the note.
    pub fn drop_text(&self, job: JobId) -> io::Result<u64> {
        let path = self.path(job);
        let note = path.with_extension("note");
        fs::write(&note, NOTE)?;
        fs::rename(note, path)?;
        Ok(NOTE.len() as u64)
    }

    /// Removes the log of a job that is gone.
    pub fn remove(&self, job: JobId) -> io::Result<()> {
        match fs::remove_file(self.path(job)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl StoredLog {
    /// True if the log was removed already.
    pub fn is_note(&self) -> bool {
        self.bytes == NOTE.len() as u64
    }
}
