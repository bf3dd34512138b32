//! Image Factory: turns a Git push into a Docker image in a registry. See ARCHITECTURE.md.

pub mod app;
pub mod cli;
pub mod client;
pub mod container;
pub mod disk;
pub mod durable;
pub mod engine;
pub mod git;
pub mod http;
pub mod intake;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod outbound;
pub mod pipeline;
pub mod process;
pub mod queue;
pub mod registry;
pub mod secrets;
pub mod settings;
pub mod ssh;
pub mod store;
pub mod telemetry;
