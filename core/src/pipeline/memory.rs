//! Reads a job's tree within the job's share of MEMORY_BUDGET.

use std::sync::Arc;

use super::Tools;
use super::activity::ActivityLog;
use super::failure::StageFailure;
use super::isolation::ExposureSlot;
use super::stage::StageRunner;
use crate::git::{MemoryBudget, MemoryShare};
use crate::model::{Job, LogSink};

/// The memory for the tree of one job.
pub(super) struct TreeMemory {
    budget: MemoryBudget,
    job: Job,
    exposure: ExposureSlot,
    log: Arc<ActivityLog>,
}

impl TreeMemory {
    pub fn new(tools: &Tools, runner: &StageRunner) -> Self {
        let (job, exposure, log) = (runner.job.clone(), runner.exposure.clone(), runner.log.clone());
        Self { budget: tools.memory.clone(), job, exposure, log }
    }

    /// Runs `read` with a share of the budget, and again with a larger one while the share is too small.
    pub async fn within<T, F>(&self, mut read: impl FnMut(MemoryShare) -> F) -> Result<T, StageFailure>
    where
        F: Future<Output = Result<T, StageFailure>>,
    {
        let mut share = self.budget.share();
        loop {
            let done = read(share.clone()).await;
            let Some(bytes) = share.shortage() else { return done };
            // Nothing is held while the job waits, so that those before it can end.
            drop((done, share));
            let mib = bytes.div_ceil(1 << 20);
            self.log.write(
                format!("The files need {mib} MiB of memory, and other jobs hold it: waiting (MEMORY_BUDGET)\n")
                    .as_bytes(),
            );
            // A half more ends the repetitions soon if submodules need still more. It is given back if they do not.
            let wait = self.budget.wait(self.job.id, bytes.saturating_add(bytes / 2));
            share = self.exposure.wait_without(&self.job, &*self.log, wait).await;
        }
    }
}
