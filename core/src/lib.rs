//! What Image Factory works with: repositories, engines, registries, secrets, the store of jobs, reports and settings. A crate
//! of its own, so that a change of what stands above (HTTP, the composition root, the command line) compiles without it.

pub mod client;
pub mod container;
pub mod disk;
pub mod durable;
pub mod engine;
pub mod git;
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
