//! The memory that jobs hold at once for the trees of their commits, within MEMORY_BUDGET.
//!
//! A job's share grows while its tree is listed, and is given back with the tree. Nobody waits for more while holding a
//! share, because two such jobs could wait for each other: a job that finds too little free lets go of all that it has,
//! and begins again with a share that is large enough ([`MemoryBudget::wait`]). Shares are given in the order in which
//! jobs wait. A job that needs more than there is in all waits for all of it, and so runs alone.
//!
//! Each job has a small share of its own beside these, so that everyday repositories never wait for large ones.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::JobId;

/// Unit of the budget, in bytes.
const UNIT: u64 = 1 << 10;

/// The budget of all jobs. Clones share it; the default one is without bound.
#[derive(Debug, Clone, Default)]
pub struct MemoryBudget(Option<Arc<Account>>);

#[derive(Debug)]
struct Account {
    /// Units that no job holds.
    free: Arc<Semaphore>,
    all: u32,
    /// Units that each job has without taking them from `free`.
    own: u64,
    waiting: Mutex<HashSet<JobId>>,
}

/// A job's share, which is given back when its last clone is dropped; the default one is without bound.
#[derive(Debug, Clone, Default)]
pub struct MemoryShare(Option<Arc<HeldShare>>);

#[derive(Debug)]
struct HeldShare {
    account: Arc<Account>,
    state: Mutex<ShareState>,
}

#[derive(Debug)]
struct ShareState {
    permit: OwnedSemaphorePermit,
    /// Bytes that the job has asked for.
    wanted: u64,
    is_short: bool,
}

impl MemoryBudget {
    /// Makes a budget of this many bytes. An eighth of them is divided among `jobs`, the number of jobs at once. 0 bytes
    /// are no bound.
    pub fn new(bytes: u64, jobs: usize) -> Self {
        if bytes == 0 {
            return Self::default();
        }
        let own = bytes / 8 / UNIT / (jobs as u64).max(1);
        let all = (bytes - bytes / 8).div_ceil(UNIT).try_into().unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new(all as usize));
        Self(Some(Arc::new(Account { free, all, own, waiting: Mutex::default() })))
    }

    /// Returns an empty share.
    pub fn share(&self) -> MemoryShare {
        MemoryShare(self.0.as_ref().and_then(|account| {
            let permit = account.free.clone().try_acquire_many_owned(0).ok()?;
            Some(Arc::new(HeldShare::new(account, permit)))
        }))
    }

    /// Waits until a job can have this many bytes, or all of them, and returns its share. The share is empty, and can
    /// grow that far.
    pub async fn wait(&self, job: JobId, bytes: u64) -> MemoryShare {
        let Some(account) = &self.0 else { return MemoryShare::default() };
        account.waiting().insert(job);
        let _left = Waiter { account, job };
        let permit = account.free.clone().acquire_many_owned(account.owed(bytes)).await;
        // The semaphore is never closed.
        permit.map_or_else(
            |_| MemoryShare::default(),
            |permit| MemoryShare(Some(Arc::new(HeldShare::new(account, permit)))),
        )
    }

    /// Returns true while a job waits for its share.
    pub fn is_waited_for_by(&self, job: JobId) -> bool {
        self.0.as_ref().is_some_and(|account| account.waiting().contains(&job))
    }

    /// Returns the number of jobs that wait, the bytes that jobs hold beside their own, and the most that they can hold;
    /// `None` without a bound.
    pub fn usage(&self) -> Option<(usize, u64, u64)> {
        let account = self.0.as_ref()?;
        let held = u64::from(account.all).saturating_sub(account.free.available_permits() as u64);
        Some((account.waiting().len(), held * UNIT, u64::from(account.all) * UNIT))
    }
}

impl Account {
    fn waiting(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the units that a share of this many bytes takes.
    fn owed(&self, bytes: u64) -> u32 {
        let units = bytes.div_ceil(UNIT).saturating_sub(self.own);
        u32::try_from(units).map_or(self.all, |units| units.min(self.all))
    }
}

impl HeldShare {
    fn new(account: &Arc<Account>, permit: OwnedSemaphorePermit) -> Self {
        Self { account: account.clone(), state: Mutex::new(ShareState { permit, wanted: 0, is_short: false }) }
    }

    fn state(&self) -> MutexGuard<'_, ShareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryShare {
    /// Takes more bytes. Returns false if they are not free; the share is then of no use, but counts what is asked for.
    pub(super) fn grow(&self, bytes: u64) -> bool {
        let Some(held) = self.0.as_deref() else { return true };
        let (account, mut state) = (&held.account, held.state());
        state.wanted = state.wanted.saturating_add(bytes);
        let owed = (account.owed(state.wanted) as usize).saturating_sub(state.permit.num_permits());
        if owed > 0 && !state.is_short {
            match account.free.clone().try_acquire_many_owned(owed as u32) {
                Ok(more) => state.permit.merge(more),
                Err(_) => state.is_short = true,
            }
        }
        !state.is_short
    }

    /// Forgets what was asked for so far, because it was dropped. The job keeps the bytes that it has.
    pub(super) fn restart(&self) {
        let Some(held) = self.0.as_deref() else { return };
        let mut state = held.state();
        (state.wanted, state.is_short) = (0, false);
    }

    /// Gives back all but this many bytes.
    pub(super) fn shrink(&self, bytes: u64) {
        let Some(held) = self.0.as_deref() else { return };
        let mut state = held.state();
        state.wanted = state.wanted.min(bytes);
        let surplus = state.permit.num_permits().saturating_sub(held.account.owed(state.wanted) as usize);
        drop(state.permit.split(surplus));
    }

    /// Returns the bytes that were asked for, if they were not free.
    pub fn shortage(&self) -> Option<u64> {
        let state = self.0.as_deref()?.state();
        state.is_short.then_some(state.wanted)
    }
}

/// A job that waits, until this is dropped.
struct Waiter<'a> {
    account: &'a Account,
    job: JobId,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.account.waiting().remove(&self.job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Returns the bytes that are held.
    fn held(budget: &MemoryBudget) -> u64 {
        budget.usage().unwrap().1
    }

    #[tokio::test]
    async fn a_share_grows_as_far_as_there_is_room_and_is_given_back() {
        // Each job has 1 MiB of its own beside these 14 MiB.
        let budget = MemoryBudget::new(16 * MIB, 2);
        let (first, second) = (budget.share(), budget.share());
        assert!(first.grow(MIB) && second.grow(MIB));
        assert_eq!(held(&budget), 0);
        assert!(first.grow(10 * MIB) && second.grow(4 * MIB));
        assert_eq!((held(&budget), first.shortage()), (14 * MIB, None));
        assert!(!second.grow(1) && !second.grow(MIB));
        assert_eq!(second.shortage(), Some(6 * MIB + 1));
        second.restart();
        assert!(second.shortage().is_none() && second.grow(5 * MIB) && !second.grow(1));
        first.shrink(3 * MIB);
        assert_eq!(held(&budget), 6 * MIB);
        drop((first, second));
        assert_eq!(held(&budget), 0);
    }

    #[tokio::test]
    async fn jobs_wait_in_their_order_and_one_that_needs_more_than_there_is_runs_alone() {
        let budget = MemoryBudget::new(16 * MIB, 2);
        let first = budget.share();
        assert!(first.grow(9 * MIB));
        let wait = |bytes: u64| {
            let (budget, job) = (budget.clone(), JobId::new());
            (job, tokio::spawn(async move { budget.wait(job, bytes).await }))
        };
        let (huge, mut its_share) = wait(1000 * MIB);
        tokio::task::yield_now().await;
        let (small, small_share) = wait(2 * MIB);
        tokio::task::yield_now().await;
        assert!(budget.is_waited_for_by(huge) && budget.is_waited_for_by(small));
        assert_eq!(budget.usage().unwrap().0, 2);
        // The rest is kept for those who wait, but each job has a part of its own.
        let next = budget.share();
        assert!(next.grow(MIB) && !next.grow(1));
        assert!(!its_share.is_finished() && !small_share.is_finished());
        drop(first);
        let alone = (&mut its_share).await.unwrap();
        assert!(alone.grow(1000 * MIB) && !small_share.is_finished());
        drop(alone);
        assert!(small_share.await.unwrap().grow(2 * MIB));
        assert!(!budget.is_waited_for_by(huge) && !budget.is_waited_for_by(small));
        // A job that is cancelled waits no longer.
        let whole = budget.wait(JobId::new(), 100 * MIB).await;
        let (cancelled, its_share) = wait(2 * MIB);
        tokio::task::yield_now().await;
        its_share.abort();
        assert!(its_share.await.is_err() && !budget.is_waited_for_by(cancelled));
        drop(whole);
        assert_eq!(held(&budget), 0);
    }

    #[test]
    fn without_a_bound_all_is_free() {
        let share = MemoryBudget::new(0, 4).share();
        assert!(share.grow(u64::MAX) && share.shortage().is_none());
    }
}
