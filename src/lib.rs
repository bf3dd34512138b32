//! Image Factory: turns a Git push into a Docker image in a registry. See ARCHITECTURE.md.

pub mod app;
pub mod cli;
pub mod client;
pub mod container;
pub mod http;
pub mod intake;
pub mod notify;
pub mod settings;
pub mod telemetry;

pub use factory_core::{
    disk, durable, engine, git, logs, memory, metrics, model, outbound, pipeline, process, queue, registry, secrets,
    ssh, store,
};
