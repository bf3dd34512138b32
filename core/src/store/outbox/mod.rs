//! The outbox: notifications are stored with the change that they announce, and sent later.

mod admin;
mod due;
mod reconcile;
mod rows;

pub use admin::{NotificationFilter, NotificationRecord};
pub(super) use rows::insert;
pub use rows::{Announce, NewNotification, Notification};

#[cfg(test)]
pub(super) use {
    admin::{AHEAD, LISTS, OLD},
    due::{DESTINATIONS, DUE},
    rows::REPLACE,
};
