//! BuildKit: the request that builds an image, the progress that BuildKit reports, and the session over which it
//! fetches files and logins meanwhile.

pub(super) mod base_logins;
mod filesync;
mod grpc;
mod packet;
mod progress;
pub(super) mod session;
mod solve;
pub(super) mod sync_slots;
