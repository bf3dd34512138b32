//! What is peculiar to SQLite.

mod errors;
mod lock;
mod schema;
mod writer;

pub(super) use errors::{Fault, explain};
pub(super) use lock::take as take_lock;
pub(super) use schema::migrate;
#[cfg(test)]
pub(super) use schema::{NEWEST, migrate_to};
pub(super) use writer::{Commits, Op, Work, Writer};
