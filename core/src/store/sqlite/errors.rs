use std::path::Path;

use rusqlite::ErrorCode;

use crate::model::Conflict;
use crate::store::StoreError;

/// The error of an operation, before the file that it concerns is known.
#[derive(Debug)]
pub(in crate::store) enum StoreFault {
    /// The operation itself refused.
    Refused(StoreError),
    Sql(rusqlite::Error),
}

impl From<StoreError> for StoreFault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Conflict> for StoreFault {
    fn from(conflict: Conflict) -> Self {
        Self::Refused(StoreError::Conflict(conflict.status))
    }
}

impl From<rusqlite::Error> for StoreFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for StoreFault {
    fn from(error: serde_json::Error) -> Self {
        Self::Sql(rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl StoreFault {
    /// Returns the error that the store's callers get.
    pub(in crate::store) fn at(self, file: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => explain(&error, file),
        }
    }
}

/// Separates the conditions that an operator can remedy from the others, by SQLite's result codes
/// (<https://www.sqlite.org/rescode.html>).
pub(in crate::store) fn explain(error: &rusqlite::Error, file: &Path) -> StoreError {
    let file = file.display().to_string();
    let cause = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { file },
        Some(ErrorCode::ReadOnly | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
            StoreError::ReadOnly { file, cause }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged { file, cause },
        _ => StoreError::Database { file, cause },
    }
}
