use std::fmt::{self, Display};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::model::{Advice, JobId, NotificationState, Status};

/// The reason why an operation of the store failed. Nothing of a failed operation is stored.
#[derive(Debug, Clone)]
pub enum StoreError {
    /// The job is in this state by now, or in another attempt than the operation is for.
    Conflict(Status),
    NoJob(JobId),
    /// An exclusive job, while this job makes the same image of its commit.
    Building(JobId),
    NoNotification(String),
    /// The notification is in this state instead.
    NotDead(NotificationState),
    Locked {
        folder: String,
        holder: String,
    },
    Folder {
        folder: String,
        cause: String,
    },
    /// The path of the data folder leads to a file, or below one.
    NoFolder {
        folder: String,
    },
    Full {
        file: String,
    },
    ReadOnly {
        file: String,
        cause: String,
    },
    Damaged {
        file: String,
        cause: String,
    },
    Newer {
        file: String,
        found: i64,
        known: i64,
    },
    Slow {
        file: String,
        seconds: u64,
    },
    Closed,
    Database {
        file: String,
        cause: String,
    },
}

/// Code of an HTTP answer while the store cannot write.
const UNAVAILABLE: &str = "ServiceUnavailableError";

const LOCKED: Advice = Advice {
    code: "",
    text: "the data folder … is in use by …",
    cause: "Another daemon works in the same folder.",
    cure: "stop that one, or set another DATA_DIR",
};
const FOLDER: Advice = Advice {
    code: "",
    text: "the data folder … cannot be used: …",
    cause: "The daemon's user may not write there, or the folder's disk is read-only.",
    cure: "make it writable for this user, make room there, or set another DATA_DIR",
};
const NO_FOLDER: Advice = Advice {
    code: "",
    text: "the data folder … is a file, or below one",
    cause: "DATA_DIR names a file, or a path with a file in it.",
    cure: "set DATA_DIR to a folder",
};
const FULL: Advice = Advice {
    code: UNAVAILABLE,
    text: "no space is left for …",
    cause: "The disk of the data folder is full.",
    cure: "free some; nothing stored is lost, and work is taken again by itself",
};
const READ_ONLY: Advice = Advice {
    code: UNAVAILABLE,
    text: "… cannot be written: …",
    cause: "The disk of the data folder failed, or was mounted read-only.",
    cure: "check the disk and the mount; work is taken again by itself",
};
const DAMAGED: Advice = Advice {
    code: "",
    text: "… is damaged: …",
    cause: "The database is no longer what the daemon wrote.",
    cure: "stop the daemon and put a backup in its place, or move the file away",
};
const NEWER: Advice = Advice {
    code: "",
    text: "… was written by a newer version (schema …, this one knows …)",
    cause: "The daemon was replaced by an older version.",
    cure: "run that version again",
};
const SLOW: Advice = Advice {
    code: UNAVAILABLE,
    text: "no write to … became durable within … s",
    cause: "The disk of the data folder hangs or is overloaded.",
    cure: "look for what else uses the disk, and for its errors in the kernel's log",
};

/// Returns the rows of docs/troubleshooting.md about the store.
pub fn advice() -> Vec<Advice> {
    vec![LOCKED, FOLDER, NO_FOLDER, FULL, READ_ONLY, DAMAGED, NEWER, SLOW]
}

impl StoreError {
    /// Makes the error of a data folder that cannot be used.
    pub(super) fn folder(folder: &Path, error: &io::Error) -> Self {
        let folder = folder.display().to_string();
        match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Self::NoFolder { folder },
            _ => Self::Folder { folder, cause: error.to_string() },
        }
    }

    /// Returns the message of an error that an operator can mend, and its details.
    fn parts(&self) -> Option<(Advice, Vec<&dyn Display>)> {
        Some(match self {
            Self::Locked { folder, holder } => (LOCKED, vec![folder, holder]),
            Self::Folder { folder, cause } => (FOLDER, vec![folder, cause]),
            Self::NoFolder { folder } => (NO_FOLDER, vec![folder]),
            Self::Full { file } => (FULL, vec![file]),
            Self::ReadOnly { file, cause } => (READ_ONLY, vec![file, cause]),
            Self::Damaged { file, cause } => (DAMAGED, vec![file, cause]),
            Self::Newer { file, found, known } => (NEWER, vec![file, found, known]),
            Self::Slow { file, seconds } => (SLOW, vec![file, seconds]),
            _ => return None,
        })
    }
}

impl std::error::Error for StoreError {}

impl Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(status) => write!(f, "the job is {} by now", status.as_str()),
            Self::NoJob(id) => write!(f, "there is no job {id}"),
            Self::Building(id) => write!(f, "job {id} builds this commit already"),
            Self::NoNotification(id) => write!(f, "there is no notification {id}"),
            Self::NotDead(state) => {
                write!(f, "the notification is {}: only a dead one is sent again", state.as_str())
            }
            Self::Closed => f.write_str("the store is closed: the daemon is stopping"),
            Self::Database { file, cause } => write!(f, "{file}: {cause}"),
            _ => match self.parts() {
                Some((message, details)) => write!(f, "{}: {}", message.fill(&details), message.cure),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_to_do() {
        let (folder, file, cause) = (|| "/data".to_owned(), || "/data/jobs.db".to_owned(), || "because".to_owned());
        let errors = [
            StoreError::Locked { folder: folder(), holder: "pid 1".into() },
            StoreError::Folder { folder: folder(), cause: cause() },
            StoreError::NoFolder { folder: folder() },
            StoreError::Full { file: file() },
            StoreError::ReadOnly { file: file(), cause: cause() },
            StoreError::Damaged { file: file(), cause: cause() },
            StoreError::Newer { file: file(), found: 9, known: 8 },
            StoreError::Slow { file: file(), seconds: 5 },
        ];
        for error in &errors {
            let (message, details) = error.parts().unwrap();
            assert_eq!(message.text.matches('…').count(), details.len(), "{error}");
            assert!(advice().contains(&message), "{error}");
        }
        insta::assert_snapshot!(errors.map(|error| error.to_string()).join("\n"), @r"
        the data folder /data is in use by pid 1: stop that one, or set another DATA_DIR
        the data folder /data cannot be used: because: make it writable for this user, make room there, or set another DATA_DIR
        the data folder /data is a file, or below one: set DATA_DIR to a folder
        no space is left for /data/jobs.db: free some; nothing stored is lost, and work is taken again by itself
        /data/jobs.db cannot be written: because: check the disk and the mount; work is taken again by itself
        /data/jobs.db is damaged: because: stop the daemon and put a backup in its place, or move the file away
        /data/jobs.db was written by a newer version (schema 9, this one knows 8): run that version again
        no write to /data/jobs.db became durable within 5 s: look for what else uses the disk, and for its errors in the kernel's log
        ");
    }
}
