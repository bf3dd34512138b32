//! Docker engines: an engine is given a tree of a repository, builds an image from it and pushes the image.
//!
//! `api` speaks to one engine over its socket. `context` selects the files of the tree that a build may read,
//! `buildkit` serves them to BuildKit on request, and `classic` sends them to the older builder as a tar. `build`
//! chooses between both builders, and `explain` says why one failed, by the instructions that `dockerfile` reads.
//! `remote_add` refuses what an engine may not fetch for a Dockerfile, and variables that grow too long.
//! `push` tags and pushes images, `pull` fetches those that moved, and `cache_source` those whose layers are a cache.
//! `pool` leases one of several engines to each job, and `upkeep` removes what builds leave behind. `advice` has the
//! messages to users. `layers` looks into the layers of an image. `containers` runs the commands of tests.

mod advice;
mod api;
mod build;
mod buildkit;
mod cache_source;
mod classic;
mod containers;
mod context;
mod explain;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layers;
mod pool;
mod pull;
mod push;
mod remote_add;
mod request;
mod upkeep;

pub use api::connect::Host;
pub use api::doctor::EngineReport;
pub use api::engine::Engine;
pub use api::errors::EngineError;
pub use api::kind::ErrorKind;
pub use api::machine::Machine;
pub use api::ssh::SshAccess;
pub use api::texts::advice;
pub use api::version::EngineInfo;
pub use containers::{
    ContainerExit, ContainerLimits, ContainerSpec, Containers, CopiedPath, KeepLimits, KeptContainer, NoCopy,
    RunContainer,
};
pub use context::PatternBounds;
pub use context::tree::SyncStats;
pub use layers::files_with_attributes;
pub use pool::{EngineLease, LeaseError, Pool, PoolConfig, PoolStatus};
pub use remote_add::{refuse_overgrown, refuse_private_sources};
pub use request::{BuiltImage, ImageBuild, StepCounts};
pub use upkeep::instance::{CONTAINER_JOB_LABEL, HOOK_ENV_LABEL, Instance, JOB_LABEL, KEPT_LABEL};
