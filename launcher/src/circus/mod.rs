//! `circus.ini`, which says what processes an application has.
//!
//! Source: circus 0.19 (config.py, watcher.py, process.py). What the file means here differs in three points, which
//! docs/circus.md explains: a watcher that keeps dying is given up, watchers stop one priority after the other, and
//! output without a stream carries the watcher's name.

mod expand;
mod ini;
mod options;
mod read;
mod watcher;

pub use read::{Configuration, matches, read};
pub use watcher::{Command, Destination, Target, Watcher};
