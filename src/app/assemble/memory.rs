//! The parts of MEMORY_BUDGET.

use super::engine;
use crate::logs::LogMemory;
use crate::memory::MemoryPool;
use crate::pipeline::MemoryBudget;
use crate::settings::Settings;

const MIB: u64 = 1 << 20;

/// Least memory for bodies of requests: that of the largest webhook.
const BODIES: u64 = 25 * MIB;
/// Least memory for answers and logs: that of the largest part of a list, and that of a few logs.
const ANSWERS: u64 = 6 * MIB;
/// Least memory for the trees of jobs. A job that needs more than there is runs alone.
const TREES: u64 = 5 * MIB;
/// Smallest MEMORY_BUDGET in bytes, beside 0, which is no bound.
const SMALLEST: u64 = BODIES + ANSWERS + TREES;

/// MEMORY_BUDGET, divided. Without a bound each part is without one.
pub struct MemoryParts {
    /// For the trees of jobs.
    pub trees: MemoryBudget,
    /// For bodies of requests, in bytes.
    pub bodies: u64,
    /// For logs. Answers with jobs share the memory of the readers of logs.
    pub logs: LogMemory,
}

/// Divides MEMORY_BUDGET: a quarter is for bodies, an eighth for answers and logs, and the rest for trees.
///
/// # Errors
/// The budget is too small for one of them, or the engines cannot be used.
pub fn memory(settings: &Settings) -> anyhow::Result<MemoryParts> {
    check(settings)?;
    let (all, jobs) = (settings.memory_budget.0, engine::concurrency(settings)?);
    if all == 0 {
        let trees = MemoryBudget::new(0, jobs);
        return Ok(MemoryParts { trees, bodies: u64::MAX, logs: LogMemory::default() });
    }
    let (bodies, answers) = ((all / 4).max(BODIES), (all / 8).max(ANSWERS));
    let ends = answers / 4;
    let logs = LogMemory { readers: MemoryPool::new(answers - ends), ends: MemoryPool::new(ends) };
    Ok(MemoryParts { trees: MemoryBudget::new(all - bodies - answers, jobs), bodies, logs })
}

/// Refuses a budget that cannot hold one body, one answer and the tree of a job.
///
/// # Errors
/// The budget is too small.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    let bytes = settings.memory_budget.0;
    anyhow::ensure!(
        bytes == 0 || bytes >= SMALLEST,
        "MEMORY_BUDGET has {bytes} bytes, and one webhook, one answer and one job need {} MiB: set at least {}MiB, or 0 \
         for no bound",
        SMALLEST / MIB,
        SMALLEST / MIB
    );
    Ok(())
}
