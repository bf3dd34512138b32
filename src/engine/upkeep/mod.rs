//! What keeps an engine healthy: builds that died are cleaned up, and old images and caches make room.

pub(super) mod oom;
mod orphans;
pub(super) mod prune;
pub(super) mod sweep;
