//! Entries for the targets in `fuzz/`: what reads the bytes of engines, and a repository's `.dockerignore`.

use super::{api, buildkit, context};

pub fn dockerignore(content: &[u8]) {
    context::fuzz(content);
}

pub fn engine_stream(answer: &[u8]) {
    api::messages::fuzz(answer);
}

pub fn filesync_packet(packet: &[u8]) {
    buildkit::fuzz_packet(packet);
}
