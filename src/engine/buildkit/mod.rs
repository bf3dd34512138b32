//! BuildKit: a session over which the engine fetches files and logins while it builds, and the progress that it reports.

pub(super) mod filesync;
mod grpc;
mod packet;
pub(super) mod progress;
pub(super) mod session;
pub(super) mod sync_slots;
