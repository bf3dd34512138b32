//! SQLite: one writer with group commit, readers beside it, the schema and the meaning of error codes.

mod connection;
mod errors;
mod lock;
mod readers;
mod schema;
mod values;
mod writer;

pub(super) use connection::SqlConnection;
pub(super) use errors::{StoreFault, explain};
pub(super) use lock::lock;
pub(super) use readers::Readers;
pub(super) use schema::migrate;
#[cfg(test)]
pub(super) use schema::{NEWEST, migrate_to};
pub(super) use values::{commit, context, json};
pub(super) use writer::{CommitStats, Op, StoreWriter, WriteRequest};
