//! Upkeep of an engine: the leftovers of builds that died are removed, and old images and caches make room for new
//! ones.

pub(super) mod instance;
mod layers;
mod leftovers;
pub(super) mod lingering;
pub(super) mod oom;
mod orphans;
pub(super) mod prune;
