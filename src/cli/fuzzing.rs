//! Entry for the target in `fuzz/` that reads logs for a terminal.

pub use super::terminal::fuzz as terminal;
