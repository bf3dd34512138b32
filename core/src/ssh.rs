//! The needs of every ssh that we start: an agent that holds its key, its options, and the meaning of its words.

mod agent;
mod options;
mod stderr;

pub use agent::SshAgent;
pub use options::{SshHosts, for_shell, for_ssh};
pub use stderr::{KEY_REFUSALS, is_key_refusal, reasons};
