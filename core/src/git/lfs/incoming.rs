//! An object on its way into the store, by any method.

use std::cmp::Ordering;
use std::io;

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::{LfsStore, WantedObject};
use crate::git::{Fault, GitError};

/// An incoming object, which is kept only if it has the size and the hash of its pointer.
pub struct Incoming<'a> {
    wanted: &'a WantedObject,
    file: NamedTempFile,
    writer: tokio::fs::File,
    hash: Sha256,
    size: u64,
}

impl<'a> Incoming<'a> {
    pub fn new(wanted: &'a WantedObject, store: &LfsStore) -> Result<Self, GitError> {
        let file = store.new_file().map_err(|error| not_stored(wanted, &error))?;
        let writer = tokio::fs::File::from_std(file.reopen().map_err(|error| not_stored(wanted, &error))?);
        Ok(Self { wanted, file, writer, hash: Sha256::new(), size: 0 })
    }

    /// Takes the next bytes. Returns false if the object is larger than its pointer says, so that reading can end.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<bool, GitError> {
        self.size += chunk.len() as u64;
        if self.size > self.wanted.size {
            return Ok(false);
        }
        self.hash.update(chunk);
        self.writer.write_all(chunk).await.map_err(|error| not_stored(self.wanted, &error))?;
        Ok(true)
    }

    /// Puts the object into the store. `host` gave it, and is named in an error.
    pub async fn finish(mut self, host: &str, store: &LfsStore) -> Result<(), GitError> {
        let Self { wanted, size, .. } = self;
        self.writer.flush().await.map_err(|error| not_stored(wanted, &error))?;
        let problem = match size.cmp(&wanted.size) {
            Ordering::Greater => format!("more than the {} bytes that its pointer says", wanted.size),
            Ordering::Less => format!("{size} bytes instead of {}", wanted.size),
            Ordering::Equal if self.hash.finalize()[..] != *wanted.oid.as_bytes() => "another content".into(),
            Ordering::Equal => {
                return store.keep(self.file, &wanted.oid).map_err(|error| not_stored(wanted, &error));
            }
        };
        // The answer may be a proxy's page or an incomplete object, and another try may bring the right one.
        let message = format!("{host} gives {problem} as {wanted}");
        Err(GitError { exit_code: 1, message, fault: Fault::Server })
    }
}

pub fn not_stored(wanted: &WantedObject, error: &io::Error) -> GitError {
    GitError::io(format_args!("{wanted} cannot be stored"), error)
}
