//! The state of an engine, as it is shown.

use super::{Builder, JobId, Millis};
use crate::words;

words! {
    /// Result of the last look at an engine.
    pub enum EngineCondition {
        /// The engine was not asked yet.
        Unknown = "unknown",
        Well = "well",
        /// The engine cannot be reached, or refuses us.
        Away = "away",
        /// The engine accepts requests and answers none.
        Hangs = "hangs",
        /// Its disk has too little room.
        Full = "full",
    }
}

/// State of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineState {
    /// Address, in the form of DOCKER_HOST.
    pub name: String,
    /// `None` until the engine has answered.
    pub version: Option<String>,
    /// Builder that is used there; `None` until the engine has answered.
    pub builder: Option<Builder>,
    pub condition: EngineCondition,
    /// Reason why no job can have the engine, in one line; `None` if it is well.
    pub trouble: Option<String>,
    pub cordon: Option<Cordon>,
    /// Number of jobs that the engine may have at once, or its share of CONCURRENCY.
    pub slots: usize,
    /// Number of those that are taken. A job whose push waits for the registry takes none.
    pub used: usize,
    /// Jobs that have the engine.
    pub jobs: Vec<EngineJob>,
    /// Number of kept containers of tests.
    pub kept: usize,
    pub disk: EngineDisk,
}

/// A job that has an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineJob {
    pub id: JobId,
    /// [`RepoName::key`](super::RepoName::key) of its repository.
    pub repository: String,
    /// Time since which it has the engine.
    pub since: Millis,
}

/// An operator's wish that an engine takes no new job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cordon {
    pub since: Millis,
    /// Name of the token that asked.
    pub by: String,
}

/// Disk of an engine, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineDisk {
    /// Free bytes; `None` for an engine that is not on this machine, or was not asked yet.
    pub free: Option<u64>,
    /// DISK_FLOOR
    pub floor: u64,
    /// ENGINE_BUDGET
    pub budget: u64,
}
