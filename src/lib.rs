//! Image Factory: turns a Git push into a Docker image in a registry. See ARCHITECTURE.md.

pub mod app;
pub mod cli;
pub mod http;
pub mod intake;

pub use factory_core::{
    client, container, disk, durable, engine, git, logs, memory, metrics, model, notify, outbound, pipeline, process,
    queue, registry, secrets, settings, ssh, store, telemetry,
};
