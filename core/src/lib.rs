//! What Image Factory builds with: repositories, engines, registries, secrets, and the store of jobs. A crate of its own,
//! so that a change of what stands above (requests, reports, settings, the command line) compiles without it.

pub mod disk;
pub mod durable;
pub mod engine;
pub mod git;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod outbound;
pub mod pipeline;
pub mod process;
pub mod queue;
pub mod registry;
pub mod secrets;
pub mod ssh;
pub mod store;
