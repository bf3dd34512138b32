use serde::{Deserialize, Serialize};

use crate::words;

words! {
    /// Kind of the thing that a job waits for.
    pub enum WaitKind {
        /// Secrets that were never read, or one that is stored and cannot be used.
        Secrets = "secrets",
        Engine = "engine",
        Disk = "disk",
        /// Git, ssh or setpriv, which is not installed.
        Programs = "programs",
        /// Memory for the files of its commit, which other jobs hold. A running job waits for it.
        Memory = "memory",
        /// Running jobs of the job's repository, which has as many as it may have.
        Repository = "repository",
        /// A Git server in trouble, which a running job asks again.
        GitHost = "git-host",
        /// A registry in trouble, to which a running job pushes again.
        Registry = "registry",
        /// The rest after an attempt that infrastructure ended.
        Retry = "retry",
        /// The jobs that run before it.
        Queue = "queue",
    }
}

/// The reason why a job waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitReason {
    pub kind: WaitKind,
    /// One line, without secrets.
    pub reason: String,
}

impl WaitReason {
    pub fn new(kind: WaitKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}
