//! The stored forms of the model's values.

use std::error::Error;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Result, Row};
use serde::de::DeserializeOwned;

use crate::model::{
    CommitId, Dialect, FailureClass, Forge, JobContext, JobId, JobSource, Millis, NotificationState, Origin, Role,
    SkipReason, Status,
};

impl ToSql for Millis {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl ToSql for JobId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for JobId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl ToSql for CommitId {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

/// NULL is Git.
impl ToSql for JobSource {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        match self {
            Self::Git => Ok(rusqlite::types::Null.into()),
            inline => serde_json::to_string(inline).map(Into::into).map_err(damaged),
        }
    }
}

impl FromSql for JobSource {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let json = value.as_str_or_null()?;
        json.map_or(Ok(Self::Git), |json| serde_json::from_str(json).map_err(FromSqlError::other))
    }
}

/// Stores an enum of the model by its name.
macro_rules! by_name {
    ($($type:ty),*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|error: <$type as std::str::FromStr>::Err| FromSqlError::Other(error.into()))
            }
        }
    )*};
}

by_name!(Dialect, FailureClass, Forge, NotificationState, Origin, Role, SkipReason, Status);

/// Reads a column that holds a commit's id, by the rule of [`CommitId::read_stored`].
pub(in crate::store) fn commit(row: &Row, column: &str) -> Result<Option<CommitId>> {
    Ok(CommitId::read_stored(row.get_ref(column)?.as_str_or_null()?))
}

/// Reads a column that holds JSON.
pub(in crate::store) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(damaged)
}

/// Reads the column `context` of a job.
pub(in crate::store) fn context(row: &Row) -> Result<JobContext> {
    JobContext::read(row.get_ref("context")?.as_str()?).map_err(damaged)
}

fn damaged(error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
