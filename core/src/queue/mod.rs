//! Claims jobs, runs each in a lease, and records how it ended: the only writer of terminal states.

mod attempt;
mod backoff;
mod rules;
mod slots;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::logs::Logs;
use crate::metrics::Heartbeat;
use crate::model::{Backoff, FailureClass, Job, JobId, LogSink, Millis, NewJob, Outcome, Status, Supersede};
use crate::pipeline::{BuildSlot, Run};
use crate::store::{Added, NewDelivery, Store, StoreError};
pub use rules::{Priorities, Rules};
pub use waiting::Waits;

/// The longest wait for a new job. A job whose event was missed is found after this time.
const TICK: Duration = Duration::from_secs(5);
/// The pauses between attempts to store the state of a job.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), TICK);

pub struct QueueConfig {
    /// The number of jobs that run at once; 0 runs none.
    pub concurrency: usize,
    /// The name of this node, which stays the same after a restart.
    pub node: String,
    /// The id of the machine's boot, by which a death of the daemon differs from a restart of the machine.
    pub boot: String,
    /// The time that a claim lasts unless it is renewed; at least 30 s.
    pub lease: Duration,
    /// The time that running jobs may go on after the shutdown.
    pub drain: Duration,
    pub rules: Rules,
    pub waits: Waits,
    /// The heartbeat of the loop that claims.
    pub heart: Heartbeat,
}

/// The operations of the queue for other modules.
#[derive(Clone)]
pub struct QueueHandle {
    store: Store,
    logs: Logs,
    rules: watch::Sender<Arc<Rules>>,
    waits: Waits,
    concurrency: usize,
    wake: Arc<Notify>,
    running: Arc<Mutex<HashMap<JobId, RunSignals>>>,
}

/// The signals to a running job.
#[derive(Clone, Default)]
struct RunSignals {
    /// Ends the job.
    cancel: CancellationToken,
    /// Has the job run again from the start, on another engine.
    put_back: CancellationToken,
}

impl QueueHandle {
    /// Stores a job by the rules: with its priority, and with older commits of its branch superseded. The job itself is
    /// superseded if a newer commit is known.
    pub async fn add(&self, mut new: NewJob, delivery: Option<NewDelivery>) -> Result<Added, StoreError> {
        let rules = self.rules.borrow().clone();
        new.priority = rules.priorities.of(&new.context);
        let (added, superseded) = self.store.add_superseding(new, delivery, rules.supersede).await?;
        let itself = match &added {
            Added::New(job) => Some(job),
            Added::Duplicate(_) => None,
        };
        for job in superseded.iter().chain(itself) {
            if let Some(newer) = &job.superseded_by {
                let (id, repo, status) = (job.id, repo(job), job.status.as_str());
                tracing::info!(job = %id, repo, newer = newer.as_str(), status, "superseded");
                // A running job logs the newer commit when it has ended.
                if job.status == Status::Running {
                    self.signal_cancel(id);
                } else {
                    self.logs.writer(id).write(format!("Superseded by {newer}\n").as_bytes());
                    self.logs.end(id);
                }
            }
        }
        self.wake();
        Ok(added)
    }

    /// Stores a job for a branch's head that no webhook reported, by the rules, unless the branch has a job for that commit
    /// or one that was created after `asked`.
    pub async fn add_missed(&self, mut new: NewJob, asked: JobId) -> Result<Option<Job>, StoreError> {
        let rules = self.rules.borrow().clone();
        new.priority = rules.priorities.of(&new.context);
        let supersedes = rules.supersede != Supersede::Off;
        let added = self.store.add_missed(new, asked, supersedes).await?;
        if added.is_some() {
            self.wake();
        }
        Ok(added)
    }

    /// Takes other rules, for the jobs that come from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.send_replace(Arc::new(rules));
    }

    /// Wakes the loop that claims, because there may be a job for it.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Cancels a pending job now, and signals a running one, which ends soon. `by` is the name of the token that asked.
    ///
    /// # Errors
    /// A job that has ended is a conflict.
    pub async fn cancel(&self, id: JobId, by: &str) -> Result<Job, StoreError> {
        let job = self.store.cancel(id, by).await?;
        if job.status == Status::Running {
            self.signal_cancel(id);
        } else {
            if job.attempt > 0 {
                let line = attempt::last_line(job.class, job.cause.as_deref());
                self.logs.writer(id).write(line.as_bytes());
            }
            self.logs.end(id);
        }
        Ok(job)
    }

    fn signal_cancel(&self, id: JobId) {
        if let Some(signals) = self.running().get(&id) {
            signals.cancel.cancel();
        }
    }

    /// Has a running job stop soon and be pending again, because its engine is drained. The attempt does not count
    /// against the job. A job that does not run is left alone.
    pub fn put_back(&self, id: JobId) {
        if let Some(signals) = self.running().get(&id) {
            signals.put_back.cancel();
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<JobId, RunSignals>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of one node.
pub struct Queue {
    config: QueueConfig,
    handle: QueueHandle,
    /// Cancelled when the drain is over.
    stop: CancellationToken,
}

impl Queue {
    pub fn new(store: Store, logs: Logs, mut config: QueueConfig) -> (Self, QueueHandle) {
        let rules = watch::Sender::new(Arc::new(std::mem::take(&mut config.rules)));
        let (waits, concurrency) = (std::mem::take(&mut config.waits), config.concurrency);
        let handle =
            QueueHandle { store, logs, rules, waits, concurrency, wake: Arc::default(), running: Arc::default() };
        (Self { config, handle: handle.clone(), stop: CancellationToken::new() }, handle)
    }

    /// Puts back the jobs that a former process held, then claims and runs jobs until `shutdown`, while `ready` is true.
    /// Returns when every job that ran has ended or is pending again.
    pub async fn run<R, F>(self, mut ready: watch::Receiver<bool>, shutdown: CancellationToken, runner: R)
    where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (queue, runner) = (Arc::new(self), Arc::new(runner));
        let attempts = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(queue.config.concurrency));
        tokio::select! {
            () = queue.clone().claim(&mut ready, &shutdown, &attempts, &slots, &runner) => {}
            () = slots::follow(&slots, queue.config.concurrency, queue.handle.waits.slots.clone()) => {}
            () = queue.sweep() => {}
            () = queue.watch_held() => {}
        }
        if let Err(error) = queue.handle.store.note_stop(&queue.config.node).await {
            tracing::warn!(%error, "the stop cannot be noted: a kill while jobs end counts for those that are in clone");
        }
        let drain = queue.config.drain.as_secs();
        tracing::info!("stopping: running jobs have {drain} s; jobs that are left then go back to pending");
        attempts.close();
        if timeout(queue.config.drain, attempts.wait()).await.is_err() {
            queue.stop.cancel();
            attempts.wait().await;
        }
    }

    /// Recovers, and claims until the shutdown. A claim that was begun is completed, because nobody else would run that job.
    async fn claim<R, F>(
        self: Arc<Self>,
        ready: &mut watch::Receiver<bool>,
        shutdown: &CancellationToken,
        attempts: &TaskTracker,
        slots: &Arc<Semaphore>,
        runner: &Arc<R>,
    ) where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let store = &self.handle.store;
        let QueueConfig { node, boot, lease, heart, .. } = &self.config;
        let requeued = retry_until_stored(shutdown.cancelled(), || store.recover(node, boot)).await;
        self.log_requeued(&requeued.unwrap_or_default());
        loop {
            let turn = async {
                let slot = slots.clone().acquire_owned().await.ok()?;
                ready.wait_for(|&ready| ready).await.ok().map(|_| slot)
            };
            let Some(Some(slot)) = shutdown.run_until_cancelled(heart.wait(turn)).await else { break };
            let claimed = retry_until_stored(shutdown.cancelled(), || async {
                let at = Instant::now();
                let gate = self.handle.waits.gate.clone();
                let claimed = store.claim_unless(move |job| gate.closed_for(job).is_some(), node, *lease);
                Ok(claimed.await?.map(|job| (job, at)))
            });
            if let Ok(Some((job, at))) = claimed.await {
                // The span has the level of errors, so that every line has it, whatever RUST_LOG is.
                let (id, attempt) = (job.id, job.attempt);
                let span = tracing::error_span!("job", %id, repo = repo(&job), attempt);
                attempts.spawn(self.clone().attempt(job, at, BuildSlot(Some(slot)), runner.clone()).instrument(span));
            } else {
                drop(slot);
                let rest = store.next_rest().await.ok().flatten();
                let tick = rest.map_or(TICK, |end| end.since(Millis::now()).min(TICK));
                let rest = timeout(tick, self.handle.wake.notified());
                shutdown.run_until_cancelled(heart.wait(rest)).await;
            }
        }
        shutdown.cancelled().await;
    }

    /// Looks for jobs that other nodes lost, once per lease.
    async fn sweep(&self) {
        loop {
            sleep(self.config.lease).await;
            match self.handle.store.sweep(&self.config.node).await {
                Ok(jobs) => self.log_requeued(&jobs),
                Err(error) => tracing::warn!(%error, "the jobs that other nodes lost cannot be read"),
            }
        }
    }

    /// Has held jobs looked at again when the secrets change, and ends those that were held for too long.
    async fn watch_held(&self) {
        let mut gate = self.handle.waits.gate.clone();
        loop {
            if timeout(TICK, gate.changed()).await.is_ok() {
                match self.handle.store.release_held().await {
                    Ok(()) => self.handle.wake(),
                    Err(error) => {
                        tracing::warn!(%error, "held jobs cannot be released: they are looked at in a minute")
                    }
                }
            }
            if let Err(error) = self.end_overdue().await {
                tracing::warn!(%error, "the jobs that are held for too long cannot be ended: trying again");
            }
        }
    }

    /// Ends the jobs whose secret could not be used for SECRET_WAIT.
    async fn end_overdue(&self) -> Result<(), StoreError> {
        let QueueHandle { store, logs, waits: Waits { gate, longest, .. }, .. } = &self.handle;
        for job in store.held(Millis::now() - *longest).await? {
            let Some(why) = gate.closed_for(&job) else { continue };
            let cause = format!("{why}; the job waited for it for {} s (SECRET_WAIT)", longest.as_secs());
            let outcome = Outcome { class: Some(FailureClass::Config), ..attempt::failure(job.stages.clone(), &cause) };
            // The log is written first, because a reader who sees the end may read it at once.
            logs.writer(job.id).write(attempt::last_line(outcome.class, Some(&cause)).as_bytes());
            match store.give_up(&job, &outcome).await {
                // Somebody cancelled the job meanwhile.
                Err(StoreError::Conflict(_) | StoreError::NoJob(_)) => {}
                ended => {
                    let (id, repo, class) = (ended?.id, repo(&job), FailureClass::Config.as_str());
                    tracing::warn!(job = %id, repo, class, cause, "job ended, and an operator has to act");
                }
            }
            logs.end(job.id);
        }
        Ok(())
    }

    /// Logs the jobs that were put back: each is pending or cancelled.
    fn log_requeued(&self, jobs: &[Job]) {
        for job in jobs {
            let (id, repo, status) = (job.id, repo(job), job.status.as_str());
            tracing::info!(job = %id, repo, attempt = job.attempt, status, "put back a job that nobody runs any more");
            if job.status.is_terminal() {
                self.handle.logs.end(id);
            }
        }
        self.handle.wake();
    }
}

fn repo(job: &Job) -> String {
    format!("{}/{}", job.context.owner, job.context.repo)
}

/// Tries a write until it is stored or refused, or until `give_up` comes, because a full disk must not lose an outcome.
/// Logs each error once.
async fn retry_until_stored<T, F>(give_up: impl Future<Output = ()>, write: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut give_up = std::pin::pin!(give_up);
    let mut failures = 0;
    let mut reported = String::new();
    loop {
        let error = match write().await {
            Err(error @ (StoreError::Conflict(_) | StoreError::NoJob(_) | StoreError::Closed)) => return Err(error),
            Err(error) => error,
            done => return done,
        };
        let text = error.to_string();
        if text != reported {
            tracing::error!(error = text, "a job's state cannot be stored: trying again");
            reported = text;
        }
        tokio::select! {
            () = &mut give_up => return Err(error),
            () = sleep(BACKOFF.pause(failures)) => failures = failures.saturating_add(1),
        }
    }
}
