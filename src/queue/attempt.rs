use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Queue, insist, repo};
use crate::logs::LogWriter;
use crate::model::{FailureClass, Job, LogSink, Millis, Outcome, StageStatus, Stages, Status};
use crate::pipeline::{Progress, Run, Slot};
use crate::store::StoreError;

/// A job that was begun so often and never ended takes its daemon down with it: it is not run once more.
const MAX_ATTEMPTS: u32 = 10;

/// How long a runner may take to stop.
const GRACE: Duration = Duration::from_secs(10);

impl Queue {
    /// Runs a claimed job and stores how it ended, or puts it back.
    pub(super) async fn attempt<R, F>(self: Arc<Self>, job: Job, claimed: Instant, slot: Slot, runner: Arc<R>)
    where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let waited_ms = Millis::now().since(job.created).as_millis() as u64;
        tracing::info!(job = %job.id, repo = repo(&job), attempt = job.attempt, waited_ms, "job runs");
        let log = self.handle.logs.writer(job.id);
        if job.attempt > 1 {
            log.write(format!("\n[attempt {}]\n", job.attempt).as_bytes());
        }
        let outcome = if job.attempt > MAX_ATTEMPTS {
            Some(poisonous(&job))
        } else {
            let cancel = CancellationToken::new();
            self.handle.running().insert(job.id, cancel.clone());
            let outcome = self.supervise(&job, claimed, &log, cancel, slot, runner).await;
            // Before the job is put back: the next attempt's token takes this one's place.
            self.handle.running().remove(&job.id);
            outcome
        };
        log.flush();
        self.settle(&job, outcome, &log).await;
    }

    /// Runs it to its end, or until it must not go on. None: it is to be put back.
    async fn supervise<R, F>(
        &self,
        job: &Job,
        claimed: Instant,
        log: &Arc<LogWriter>,
        cancel: CancellationToken,
        slot: Slot,
        runner: Arc<R>,
    ) -> Option<Outcome>
    where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (progress, mut events) = mpsc::unbounded_channel();
        let run = Run { job: job.clone(), log: log.clone(), progress, cancel: cancel.clone(), slot };
        let mut stages = job.stages.clone();
        let mut task = AbortOnDropHandle::new(tokio::spawn(async move { runner(run).await }));
        let overdue = async {
            cancel.cancelled().await;
            sleep(GRACE).await;
        };
        let ended = tokio::select! {
            biased;
            ended = &mut task => Some(ended),
            () = self.hold(job, claimed) => None,
            () = self.record(job, &mut events, &mut stages) => None,
            () = self.stop.cancelled() => None,
            () = overdue => None,
        };
        match ended {
            Some(Ok(outcome)) if outcome.status.is_terminal() => Some(outcome),
            Some(Ok(outcome)) => Some(broken(outcome.stages)),
            Some(Err(error)) => {
                let panic = error.try_into_panic().ok();
                let message = panic.as_deref().map_or("it was aborted", message);
                tracing::error!(job = %job.id, repo = repo(job), attempt = job.attempt, message, "the runner panicked");
                while let Ok(Progress { stages: newer, .. }) = events.try_recv() {
                    stages = newer;
                }
                Some(broken(stages))
            }
            None => {
                cancel.cancel();
                let ended = timeout(GRACE.min(self.config.lease / 3), &mut task).await;
                if ended.is_err() {
                    task.abort();
                    let _ = task.await;
                }
                // Its image is in the registry: running it again would change nothing. All else may come of the stop.
                ended.ok().and_then(Result::ok).filter(|outcome| outcome.status == Status::Success)
            }
        }
    }

    /// Renews the lease. Returns when it is lost, or when it could not be renewed for two thirds of its time: the last
    /// third is for stopping.
    async fn hold(&self, job: &Job, claimed: Instant) {
        let lease = self.config.lease;
        let mut until = claimed + lease;
        loop {
            let asked = Instant::now();
            let renewal = self.handle.store.renew(job.id, job.attempt, lease);
            match timeout_at(until - lease / 3, renewal).await {
                Ok(Ok(cancelled)) => {
                    // Also one that was cancelled before the handle knew of this run.
                    if cancelled {
                        self.handle.tell(job.id);
                    }
                    until = asked + lease;
                    sleep_until(asked + lease / 3).await;
                }
                Ok(Err(error @ (StoreError::Conflict(_) | StoreError::NoJob(_) | StoreError::Closed))) => {
                    tracing::warn!(job = %job.id, attempt = job.attempt, %error, "the job's lease is lost: it is stopped");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(job = %job.id, attempt = job.attempt, %error, "the job's lease cannot be renewed");
                    sleep(lease / 20).await;
                }
                Err(_) => {
                    tracing::error!(job = %job.id, attempt = job.attempt, "the job's lease could not be renewed: it is stopped");
                    return;
                }
            }
        }
    }

    /// Stores the progress as it comes, the newest if it comes faster. Returns when the job is someone else's.
    async fn record(&self, job: &Job, events: &mut mpsc::UnboundedReceiver<Progress>, stages: &mut Stages) {
        while let Some(mut progress) = events.recv().await {
            while let Ok(newer) = events.try_recv() {
                progress = newer;
            }
            *stages = progress.stages;
            let commit = progress.resolved_commit.as_deref();
            match self.handle.store.save_stages(job.id, job.attempt, stages, commit).await {
                Ok(()) => {}
                Err(StoreError::Conflict(_) | StoreError::NoJob(_)) => return,
                // The outcome has all of it again.
                Err(error) => tracing::warn!(job = %job.id, %error, "the job's progress cannot be stored"),
            }
        }
        std::future::pending().await
    }

    async fn settle(&self, job: &Job, outcome: Option<Outcome>, log: &LogWriter) {
        let handle = &self.handle;
        let give_up = async {
            self.stop.cancelled().await;
            sleep(GRACE).await;
        };
        let written = match &outcome {
            Some(outcome) => {
                let finish = || handle.store.finish(job.id, job.attempt, outcome, &handle.announce);
                insist(give_up, finish).await
            }
            None => {
                log.write(b"\n[stopped here: unless it was cancelled, the job runs again from the start]\n");
                insist(give_up, || handle.store.requeue(job.id, job.attempt, &handle.announce)).await
            }
        };
        let (id, repo, attempt) = (job.id, repo(job), job.attempt);
        match written {
            Ok(Job { status, cause, start, end, .. }) if status.is_terminal() => {
                let ran_ms = end.zip(start).map(|(end, start)| end.since(start).as_millis() as u64);
                tracing::info!(job = %id, repo, attempt, status = status.as_str(), cause, ran_ms, "job ended");
                // A disk that was full has room again: the log says what it lacks.
                log.flush();
                handle.logs.end(id);
            }
            Ok(_) => {
                tracing::info!(job = %id, repo, attempt, "job is pending again");
                handle.wake();
            }
            Err(error) => tracing::warn!(job = %id, repo, attempt, %error, "what this run made is not recorded"),
        }
    }
}

fn failure(stages: Stages, cause: &str) -> Outcome {
    let class = Some(FailureClass::LostWorker);
    Outcome { status: Status::Failure, stages, resolved_commit: None, digest: None, cause: Some(cause.into()), class }
}

/// How a run ends that has no outcome of its own.
fn broken(mut stages: Stages) -> Outcome {
    let cause = "an internal error ended the run; the daemon's log has it";
    for stage in stages.0.iter_mut().filter(|s| s.status == StageStatus::Running) {
        stage.status = StageStatus::Failure;
        stage.exit_code = Some(1);
        stage.error = Some(cause.into());
        stage.end = Some(Millis::now().0);
    }
    failure(stages, cause)
}

fn poisonous(job: &Job) -> Outcome {
    let cause = format!("the daemon was stopped {MAX_ATTEMPTS} times while it ran this job: it is not run again");
    failure(job.stages.clone(), &cause)
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it has no message")
}
