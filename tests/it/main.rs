//! The daemon against real parts: etcd, registries, sshd with Git, and the engine.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

mod cli;
mod engine;
mod failures;
mod fixtures;
mod git;
mod harness;
mod live_secrets;
mod main_path;
mod private_servers;
mod secrets;
mod start;
mod surviving;
mod tidy;
