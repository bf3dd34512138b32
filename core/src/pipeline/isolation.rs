//! Tells the job that kills the daemon from the others. A commit decides what the daemon does in clone, in checkout and
//! while the context is sent; a job there is *exposed*. After two deaths at which a job was exposed it is exposed alone.
//! A third death then names it, and costs no other job more than a repetition.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::Either;
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::model::{Job, LogSink};

/// The place where jobs are exposed. Jobs come in the order in which they ask.
#[derive(Clone, Default)]
pub struct Isolation(Arc<RwLock<()>>);

/// The right to be exposed, shared or alone, until it is dropped.
type Exposure = Either<OwnedRwLockReadGuard<()>, OwnedRwLockWriteGuard<()>>;

impl Isolation {
    /// Waits until the job may be exposed. The log says why it waits.
    async fn enter(&self, job: &Job, log: &dyn LogSink) -> Exposure {
        if job.is_suspect() {
            let kills = job.kills;
            log.write(
                format!(
                    "This stage runs while no other job clones, checks out or sends its context, because the daemon was \
                     killed {kills} times while this job did\n"
                )
                .as_bytes(),
            );
            return Either::Right(self.0.clone().write_owned().await);
        }
        if let Ok(shared) = self.0.clone().try_read_owned() {
            return Either::Left(shared);
        }
        log.write(b"This stage waits for another job, which runs alone because it may have killed the daemon\n");
        Either::Left(self.0.clone().read_owned().await)
    }
}

/// The right of one job, while it has it. Clones share it.
#[derive(Clone, Default)]
pub(super) struct ExposureSlot(Arc<SlotState>);

#[derive(Default)]
struct SlotState {
    isolation: Isolation,
    held: Mutex<Option<Exposure>>,
    changed: Notify,
}

impl ExposureSlot {
    pub fn new(isolation: Isolation) -> Self {
        Self(Arc::new(SlotState { isolation, ..SlotState::default() }))
    }

    /// Waits until the job has the right. The log says why it waits.
    pub async fn enter(&self, job: &Job, log: &dyn LogSink) {
        let entered = self.0.isolation.enter(job, log).await;
        *self.held() = Some(entered);
    }

    pub fn leave(&self) {
        *self.held() = None;
    }

    pub fn is_held(&self) -> bool {
        self.held().is_some()
    }

    /// Waits for something that jobs behind this one in the line may hold, and so without the right.
    pub async fn wait_without<T>(&self, job: &Job, log: &dyn LogSink, wait: impl Future<Output = T>) -> T {
        self.leave();
        self.0.changed.notify_one();
        let found = wait.await;
        self.enter(job, log).await;
        self.0.changed.notify_one();
        found
    }

    /// Waits until [`ExposureSlot::wait_without`] has changed whether the job has the right.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn held(&self) -> MutexGuard<'_, Option<Exposure>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobContext, NewJob, RepoCase};

    struct NoLog;
    impl LogSink for NoLog {
        fn write(&self, _: &[u8]) {}
    }

    fn job(kills: u32) -> Job {
        let text =
            r#"{"owner":"a","repo":"b","branch":"c","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"HEAD"}"#;
        let context: JobContext = serde_json::from_str(text).unwrap();
        Job { kills, ..Job::pending(NewJob::new(context, "q.io/a:b".into()), RepoCase::Keep) }
    }

    #[tokio::test]
    async fn a_suspect_is_alone_and_the_others_are_not() {
        let isolation = Isolation::default();
        let (innocent, suspect) = (job(1), job(2));
        let enter = |job: &Job| {
            let (isolation, job) = (isolation.clone(), job.clone());
            tokio::spawn(async move { isolation.enter(&job, &NoLog).await })
        };
        let first = enter(&innocent).await.unwrap();
        let second = enter(&innocent).await.unwrap();
        let alone = enter(&suspect);
        drop(first);
        tokio::task::yield_now().await;
        assert!(!alone.is_finished());
        drop(second);
        let alone = alone.await.unwrap();
        let (next, after) = (enter(&suspect), enter(&innocent));
        tokio::task::yield_now().await;
        assert!(!next.is_finished() && !after.is_finished());
        drop(alone);
        drop(next.await.unwrap());
        after.await.unwrap();
    }

    /// A job that waits for memory lets a suspect go first, which then needs the same memory.
    #[tokio::test]
    async fn jobs_wait_for_memory_without_the_right() {
        const MIB: u64 = 1 << 20;
        let (isolation, memory) = (Isolation::default(), crate::git::MemoryBudget::new(16 * MIB, 1));
        let run = |job: Job| {
            let (slot, memory) = (ExposureSlot::new(isolation.clone()), memory.clone());
            tokio::spawn(async move {
                slot.enter(&job, &NoLog).await;
                let share = slot.wait_without(&job, &NoLog, memory.wait(job.id, 100 * MIB)).await;
                assert!(slot.is_held());
                // The job needs the right once more for the rest of its work with the share.
                slot.leave();
                slot.enter(&job, &NoLog).await;
                drop(share);
            })
        };
        let all = futures_util::future::join_all([1, 2, 1, 2, 1].map(|kills| run(job(kills))));
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), all).await;
        assert!(ended.unwrap().iter().all(Result::is_ok));
        assert_eq!(memory.usage(), Some((0, 0, 14 * MIB)));
    }
}
