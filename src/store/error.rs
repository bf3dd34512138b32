use std::io::{self, ErrorKind};
use std::path::Path;

use crate::model::{JobId, NotificationState, Status};

/// The reason why an operation of the store failed. Nothing of a failed operation is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The job is in another state, or in another attempt, than the operation is for.
    #[error("the job is {} by now", .0.as_str())]
    Conflict(Status),
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// An exclusive job, while this job makes the same image of its commit.
    #[error("job {0} builds this commit already")]
    Building(JobId),
    #[error("there is no notification {0}")]
    NoNotification(String),
    /// The notification is in this state instead.
    #[error("the notification is {}: only a dead one is sent again", .0.as_str())]
    NotDead(NotificationState),
    #[error("the data folder {folder} is in use by {holder}: stop that one, or set another DATA_DIR")]
    Locked { folder: String, holder: String },
    #[error("the data folder {folder} cannot be used: {cause}")]
    Folder { folder: String, cause: String },
    #[error("no space is left for {file}: free some there; nothing that is stored is lost")]
    Full { file: String },
    #[error("{file} cannot be written: {cause}; check the disk and the mount; nothing that is stored is lost")]
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

impl StoreError {
    /// Makes the error of a data folder that cannot be used, with what to do.
    pub(super) fn folder(folder: &Path, error: &io::Error) -> Self {
        let cause = match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "it is a file, or below one: set DATA_DIR to a folder".into()
            }
            ErrorKind::StorageFull => format!("{error}; make room there, or set another DATA_DIR"),
            _ => format!("{error}; make it writable for this user, or set another DATA_DIR"),
        };
        Self::Folder { folder: folder.display().to_string(), cause }
    }
}
