//! The engine's HTTP API: how a request reaches an engine, what its answers and its errors mean, and the small calls.

pub(super) mod connect;
pub(super) mod doctor;
pub(super) mod engine;
pub(super) mod errors;
pub(super) mod insecure;
pub(super) mod kind;
pub(super) mod machine;
pub(super) mod messages;
mod requests;
pub(super) mod ssh;
pub(super) mod texts;
mod tls;
pub(super) mod version;
