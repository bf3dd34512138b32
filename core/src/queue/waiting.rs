//! The reasons why jobs wait.

use std::time::Duration;

use tokio::sync::watch;

use super::QueueHandle;
use crate::model::{Job, Status, WaitKind, WaitReason};
use crate::pipeline::{MemoryBudget, Pauses, SecretGate};
use crate::store::{QueueOrder, StoreError};

/// The things outside the queue that jobs wait for.
#[derive(Clone)]
pub struct Waits {
    /// The reason why no job is begun now.
    pub blocked: watch::Receiver<Option<WaitReason>>,
    /// Number of jobs that the engines may have together; `None` where they have no numbers of slots.
    pub slots: watch::Receiver<Option<usize>>,
    pub gate: SecretGate,
    /// SECRET_WAIT: the longest time that a job is held for a secret.
    pub longest: Duration,
    pub memory: MemoryBudget,
    pub pauses: Pauses,
}

impl Default for Waits {
    /// Returns waits for nothing.
    fn default() -> Self {
        let (blocked, slots) = (watch::channel(None).1, watch::channel(None).1);
        let longest = Duration::from_secs(24 * 3600);
        let (gate, memory, pauses) = (SecretGate::default(), MemoryBudget::default(), Pauses::default());
        Self { blocked, slots, gate, longest, memory, pauses }
    }
}

impl QueueHandle {
    /// Returns the number of jobs that wait for memory, and the bytes that jobs hold of those that there are (MEMORY_BUDGET);
    /// `None` without a bound.
    pub fn memory(&self) -> Option<(usize, u64, u64)> {
        self.waits.memory.usage()
    }

    /// Returns the reason why a job waits; `None` for a job that does not.
    pub async fn wait_reason(&self, job: &Job) -> Result<Option<WaitReason>, StoreError> {
        self.wait_reason_in(job, &mut None).await
    }

    /// Does the same for one of several jobs, with the order of the queue, which is read for the first job that needs it.
    pub async fn wait_reason_in(
        &self,
        job: &Job,
        order: &mut Option<QueueOrder>,
    ) -> Result<Option<WaitReason>, StoreError> {
        let order = match order {
            Some(order) => order,
            None if job.status == Status::Pending => order.insert(self.store.queue_order().await?),
            None => &QueueOrder::default(),
        };
        Ok(self.reason_of(job, order))
    }

    fn reason_of(&self, job: &Job, order: &QueueOrder) -> Option<WaitReason> {
        use WaitKind::{Memory, Queue, Repository, Retry, Secrets};
        if job.status == Status::Running && self.waits.memory.is_waited_for_by(job.id) {
            let why = "its files need more memory than other jobs leave (MEMORY_BUDGET)";
            return Some(WaitReason::new(Memory, why));
        }
        if job.status == Status::Running {
            return self.waits.pauses.reason(job.id);
        }
        if job.status != Status::Pending {
            return None;
        }
        if self.concurrency == 0 {
            return Some(WaitReason::new(Queue, "CONCURRENCY is 0: jobs are accepted, and none is run"));
        }
        if let Some(why) = self.waits.gate.closed_for(job) {
            // The time begins when the queue meets the job.
            let until =
                job.held_since.map(|since| format!(" until {}", since + self.waits.longest)).unwrap_or_default();
            return Some(WaitReason::new(Secrets, format!("{why}; the job waits for it{until} (SECRET_WAIT)")));
        }
        if let Some(blocked) = self.waits.blocked.borrow().clone() {
            return Some(blocked);
        }
        if let (Some(end), None) = (job.rests_until, job.held_since) {
            return Some(WaitReason::new(Retry, format!("attempt {} follows at {end}", job.attempt + 1)));
        }
        if order.full.contains(&job.repository) {
            let running = format!("{} has as many running jobs as REPO_CONCURRENCY allows", job.repository);
            return Some(WaitReason::new(Repository, running));
        }
        let ahead = order.waiting.iter().position(|id| *id == job.id).unwrap_or_default();
        let before = match ahead {
            0 => "it is the next".to_owned(),
            1 => "1 job waits before it".to_owned(),
            ahead => format!("{ahead} jobs wait before it"),
        };
        let limit = match *self.waits.slots.borrow() {
            Some(1) if self.concurrency > 1 => "the engines have 1 slot".to_owned(),
            Some(slots) if slots < self.concurrency => format!("the engines have {slots} slots"),
            _ => format!("CONCURRENCY is {}", self.concurrency),
        };
        Some(WaitReason::new(Queue, format!("{before}, and {} run ({limit})", order.running)))
    }
}
