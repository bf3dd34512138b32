use serde::{Deserialize, Serialize};

use super::{Dialect, FailedStep};
use crate::words;

words! {
    /// Stage of a job. The variants are in the order in which the stages run.
    pub enum StageName {
        Clone = "clone",
        Checkout = "checkout",
        Build = "build",
        /// Stage of the jobs of which [`Dialect::has_tests`] is true.
        Test = "test",
        Push = "push",
    }
}

words! {
    /// State of a stage.
    pub enum StageStatus {
        Pending = "pending",
        Running = "running",
        Success = "success",
        Failure = "failure",
        Cancelled = "cancelled",
    }
}

/// Progress of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: StageName,
    pub status: StageStatus,
    /// Exit code of the program that the stage ran: 0 on success, Git's or the Dockerfile step's own on failure, else 1.
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    /// Step of the Dockerfile that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<FailedStep>,
    /// Milliseconds since the epoch.
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// Records of a job's stages; empty before the job is first claimed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stages(pub Vec<StageRecord>);

impl Stages {
    /// Returns the stages that every job has, pending.
    pub fn pending() -> Self {
        Self::of(|name| name != StageName::Test)
    }

    /// Returns the stages of jobs of this API, pending.
    pub fn pending_for(dialect: Dialect) -> Self {
        Self::of(|name| name != StageName::Test || dialect.has_tests())
    }

    fn of(has: impl Fn(StageName) -> bool) -> Self {
        let record = |name| StageRecord {
            name,
            status: StageStatus::Pending,
            exit_code: None,
            error: None,
            step: None,
            start: None,
            end: None,
        };
        Self(StageName::ALL.into_iter().filter(|name| has(*name)).map(record).collect())
    }

    /// Returns the record of a stage, which every list but the empty one has.
    pub fn get_mut(&mut self, name: StageName) -> Option<&mut StageRecord> {
        self.0.iter_mut().find(|s| s.name == name)
    }
}
