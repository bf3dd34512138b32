use std::path::Path;

use crate::store::StoreError;

/// What an operation ends with, before the file that it was about is known.
#[derive(Debug)]
pub(in crate::store) enum Fault {
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
    pub(in crate::store) fn at(self, file: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => explain(&error, file),
        }
    }
}

/// Tells the conditions that an operator can mend from the others, by SQLite's result codes
/// (<https://www.sqlite.org/rescode.html>; the low byte of an extended code is the primary one).
pub(in crate::store) fn explain(error: &sqlx::Error, file: &Path) -> StoreError {
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
