use std::path::Path;

use crate::model::{JobId, Status};

/// Why the store did not do what it was asked to. Nothing of a failed operation is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The job is in another state, or in another attempt, than the operation is for.
    #[error("the job is {} by now", .0.as_str())]
    Conflict(Status),
    #[error("there is no job {0}")]
    NoJob(JobId),
    #[error("there is no notification {0}")]
    NoNotification(String),
    /// It is in this state instead.
    #[error("the notification is {0}: only a dead one is sent again")]
    NotDead(String),
    #[error("the data folder {folder} is in use by {holder}: stop that one, or set another DATA_DIR")]
    Locked { folder: String, holder: String },
    #[error(
        "the data folder {folder} cannot be used: {cause}; make it writable for this user, or set another DATA_DIR"
    )]
    Folder { folder: String, cause: String },
    #[error("no space is left for {file}: free some; nothing stored is lost, and work is taken again by itself")]
    Full { file: String },
    #[error("{file} cannot be written: {cause}; check the disk and the mount; work is taken again by itself")]
    ReadOnly { file: String, cause: String },
    #[error("{file} is damaged: {cause}; stop the daemon and put a backup in its place, or move the file away")]
    Damaged { file: String, cause: String },
    #[error("{file} was written by a newer version (schema {found}, this one knows {known}): run that version again")]
    Newer { file: String, found: i64, known: i64 },
    #[error("no write to {file} became durable within {seconds} s: the disk hangs or is overloaded")]
    Slow { file: String, seconds: u64 },
    #[error("the store is closed: the daemon is stopping")]
    Closed,
    #[error("{file}: {cause}")]
    Database { file: String, cause: String },
}

/// What an operation ends with, before the file that it was about is known.
#[derive(Debug)]
pub(super) enum Fault {
    Refused(StoreError),
    Sql(sqlx::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(sqlx::Error::Decode(Box::new(error)))
    }
}

impl Fault {
    pub(super) fn at(self, file: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => explain(&error, file),
        }
    }
}

/// Tells the conditions that an operator can mend from the others, by SQLite's result codes
/// (<https://www.sqlite.org/rescode.html>; the low byte of an extended code is the primary one).
pub(super) fn explain(error: &sqlx::Error, file: &Path) -> StoreError {
    const IO_ERROR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    const READ_ONLY: i32 = 8;
    const NOT_A_DATABASE: i32 = 26;
    if matches!(error, sqlx::Error::PoolClosed) {
        return StoreError::Closed;
    }
    let file = file.display().to_string();
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
    let cause = error.to_string();
    match code.map(|c| c & 0xff) {
        Some(FULL) => StoreError::Full { file },
        Some(READ_ONLY | IO_ERROR | CANNOT_OPEN) => StoreError::ReadOnly { file, cause },
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Damaged { file, cause },
        _ => StoreError::Database { file, cause },
    }
}
