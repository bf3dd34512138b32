//! Jobs, deliveries and the outbox in SQLite: one writer with group commit, readers beside it.
//!
//! Every write is durable when it returns. The SQL is portable to PostgreSQL, except `context ->> …` (deliveries, missed, heads,
//! repo_case, jobs) and migration 10: its JSON functions, its trigger and `MAX`.

mod cordons;
mod database;
mod deliveries;
mod error;
mod heads;
mod ids;
mod images;
mod jobs;
mod missed;
mod outbox;
mod repo_case;
mod retention;
mod sqlite;
mod stats;
mod tags;
#[cfg(test)]
mod tests;
mod tokens;

pub use database::{Clock, Store};
pub use deliveries::{Added, Delivery, NewDelivery, Skipped};
pub use error::{StoreError, advice};
pub use ids::IdTable;
pub use images::SharedImage;
pub use jobs::{JobFilter, LONGEST_REST, QueueOrder, Retry};
pub use missed::KnownBranch;
pub use outbox::{Announce, NewNotification, Notification, NotificationFilter, NotificationRecord};
pub use stats::{OutboxCount, QueueDepth, StoreStats};
pub use tokens::TokenRecord;
