//! Docker engines: an engine is given a tree of a repository, builds an image from it and pushes the image.
//!
//! `api` speaks to one engine over its socket. `context` selects the files of the tree that a build may read, `buildkit`
//! serves them to BuildKit on request, and `classic` sends them to the older builder as a tar. `build` chooses between
//! both builders. `push` tags and pushes images. `pool` gives each job one of several engines, and `upkeep` removes what
//! builds leave behind. Containers for other stages of a job belong in a wing `run`.

mod api;
mod build;
mod buildkit;
mod classic;
mod context;
mod pool;
mod push;
mod upkeep;

pub use api::connect::Host;
pub use api::doctor::EngineReport;
pub use api::engine::{Builder, Engine, EngineInfo};
pub use api::errors::{EngineError, ErrorKind};
pub use api::machine::Machine;
pub use build::{BuildRequest, Built, Steps};
pub use buildkit::filesync::SyncStats;
pub use pool::{EngineLease, Engines, Pool, PoolConfig};
pub use upkeep::sweep::Owner;
