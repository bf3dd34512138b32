//! The configuration of each module, made of the settings: one file a module.

pub mod access;
pub mod engine;
pub mod git;
pub mod images;
pub mod memory;
pub mod notify;
pub mod pipeline;
mod pool_file;
pub mod queue;
pub mod secrets;
