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

#[cfg(fuzzing)]
pub(super) fn fuzz_packet(packet: &[u8]) {
    let _ = <packet::Packet as prost::Message>::decode(packet);
}
