//! Entries for the targets in `fuzz/`: what reads the bytes of clients.

use super::{compose_ci, hooks, range, serve, testing, totem};

pub fn webhook(body: &[u8]) {
    hooks::fuzz(body);
}

pub fn job_body(body: &[u8]) {
    let _ = totem::read_job(body, &testing::destinations("quay.io/totem"));
    let _ = totem::read_rebuild(body);
}

pub fn compose_ci(body: &[u8]) {
    compose_ci::fuzz(body);
}

pub fn range(header: &[u8]) {
    if let Some(range) = std::str::from_utf8(header).ok().and_then(range::Range::parse) {
        assert!(range.within(100).is_none_or(|(start, end)| start < end && end <= 100));
    }
}

/// Takes the values of `X-Forwarded-For`, one a line.
pub fn forwarded(values: &[u8]) {
    serve::fuzz_forwarded(values);
}
