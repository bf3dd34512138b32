//! The reasons why running jobs pause: a server is in trouble, and they try again in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{JobId, WaitKind, WaitReason, escape_bidi};

/// The pauses of all jobs that run.
#[derive(Clone, Default)]
pub struct Pauses(Arc<Mutex<HashMap<JobId, WaitReason>>>);

impl Pauses {
    /// Returns the reason why a job pauses, or tries again after a pause; `None` for a job that does neither.
    pub fn reason(&self, job: JobId) -> Option<WaitReason> {
        self.reasons().get(&job).cloned()
    }

    /// Returns the pauses of one piece of a job's work. They end when it is dropped.
    pub(super) fn of(&self, job: JobId) -> JobPauses {
        JobPauses { all: self.clone(), job }
    }

    fn reasons(&self) -> MutexGuard<'_, HashMap<JobId, WaitReason>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pauses of one piece of a job's work.
pub(super) struct JobPauses {
    all: Pauses,
    job: JobId,
}

impl JobPauses {
    /// Notes why the job pauses now. The reason has no secrets.
    pub fn note(&self, kind: WaitKind, reason: &str) {
        self.all.reasons().insert(self.job, WaitReason::new(kind, escape_bidi(reason)));
    }
}

impl Drop for JobPauses {
    fn drop(&mut self) {
        self.all.reasons().remove(&self.job);
    }
}
