use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::backoff::{self, ATTEMPTS};
use super::{Queue, RunSignals, retry_until_stored};
use crate::logs::LogWriter;
use crate::model::{FailureClass, Job, JobProgress, LogSink, Millis, Outcome, StageStatus, Stages, Status};
use crate::pipeline::{BuildSlot, Run};
use crate::store::{Retry, StoreError};

/// The number of starts without an end after which a job is not run again, because it takes its daemon down with it.
const MAX_STOPS: u32 = 10;

/// The time that a runner has to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The part of a log that is searched for the end of the former attempt. A cause has a few KB at most.
const TAIL: u64 = 64 * 1024;

/// The beginning of the log's line for an attempt that was stopped.
const STOPPED_LINE: &str = "\n[stopped here";

impl Queue {
    /// Runs a claimed job and stores how it ended, or puts it back.
    pub(super) async fn attempt<R, F>(self: Arc<Self>, job: Job, claimed: Instant, slot: BuildSlot, runner: Arc<R>)
    where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let waited_ms = Millis::now().since(job.created).as_millis() as u64;
        tracing::info!(waited_ms, "job runs");
        let log = self.handle.logs.writer(job.id);
        if job.attempt > 1 {
            log.write(self.attempt_line(&job).await.as_bytes());
            log.flush();
        }
        // A job that keeps killing the daemon is given up. Attempts that infrastructure ended are counted separately
        // (`failures`), and so are those that an operator ended (`moves`).
        let is_poison = job.attempt > MAX_STOPS + job.failures + job.moves;
        let signals = RunSignals::default();
        let is_given_up = is_poison || job.is_killer();
        let outcome = if job.is_killer() {
            Some(killer(&job))
        } else if is_poison {
            Some(poisonous(&job))
        } else {
            self.handle.running().insert(job.id, signals.clone());
            let outcome = self.supervise(&job, claimed, &log, &signals, slot, runner).await;
            // The signals are removed before the job is put back, because those of the next attempt take their place.
            self.handle.running().remove(&job.id);
            outcome
        };
        log.flush();
        let retry =
            outcome.as_ref().filter(|_| !is_given_up).and_then(|end| backoff::retry(&job, end, fastrand::f64()));
        self.record_end(&job, outcome, retry, signals.put_back.is_cancelled(), &log).await;
    }

    /// Returns the log's line at the start of a further attempt. The line says that the daemon stopped, unless the log
    /// already says why the former attempt ended.
    async fn attempt_line(&self, job: &Job) -> String {
        let (attempt, former) = (job.attempt, job.attempt - 1);
        // Infrastructure ended every former attempt if there are as many failures.
        if job.failures >= former || says_why(&self.log_tail(job).await, former) {
            format!("\n[attempt {attempt}]\n")
        } else {
            format!("\n[attempt {attempt}: the daemon stopped during attempt {former}]\n")
        }
    }

    /// Returns the last `TAIL` bytes of a job's log, or less if the log cannot be read.
    async fn log_tail(&self, job: &Job) -> String {
        let size = self.handle.logs.len(job.id).await.unwrap_or_default();
        let tail = self.handle.logs.range(job.id, size.saturating_sub(TAIL), size).next().await;
        tail.ok().flatten().map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs a job to its end, or until it must stop. `None` means that the job is to be put back.
    async fn supervise<R, F>(
        &self,
        job: &Job,
        claimed: Instant,
        log: &Arc<LogWriter>,
        RunSignals { cancel, put_back }: &RunSignals,
        slot: BuildSlot,
        runner: Arc<R>,
    ) -> Option<Outcome>
    where
        R: Fn(Run) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let (progress, mut events) = mpsc::unbounded_channel();
        let (cancelled, put_back) = (cancel.clone(), put_back.clone());
        let run =
            Run { job: job.clone(), log: log.clone(), progress, cancel: cancelled, put_back: put_back.clone(), slot };
        let mut stages = job.stages.clone();
        let mut task = AbortOnDropHandle::new(tokio::spawn(async move { runner(run).await }.in_current_span()));
        let overdue = async {
            cancel.cancelled().await;
            sleep(GRACE).await;
        };
        let ended = tokio::select! {
            biased;
            ended = &mut task => Some(ended),
            () = self.hold(job, claimed) => None,
            () = self.store_progress(job, &mut events, &mut stages) => None,
            () = self.stop.cancelled() => None,
            () = put_back.cancelled() => None,
            () = overdue => None,
        };
        match ended {
            Some(Ok(outcome)) if outcome.status.is_terminal() => Some(outcome),
            Some(Ok(outcome)) => Some(broken(outcome.stages)),
            Some(Err(error)) => {
                let panic = error.try_into_panic().ok();
                let message = panic.as_deref().map_or("it was aborted", message);
                tracing::error!(message, "the runner panicked");
                while let Ok(JobProgress { stages: newer, .. }) = events.try_recv() {
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
                // A success has its image in the registry, so another run would change nothing. Any other outcome may
                // come from the stop.
                ended.ok().and_then(Result::ok).filter(|outcome| outcome.status == Status::Success)
            }
        }
    }

    /// Renews the lease. Returns when it is lost, or when it could not be renewed for two thirds of its time, because the
    /// last third is for stopping.
    async fn hold(&self, job: &Job, claimed: Instant) {
        let lease = self.config.lease;
        let mut until = claimed + lease;
        loop {
            let asked = Instant::now();
            let renewal = self.handle.store.renew(job.id, job.attempt, lease);
            match timeout_at(until - lease / 3, renewal).await {
                Ok(Ok(cancelled)) => {
                    // The job may have been cancelled before the handle knew of this run.
                    if cancelled {
                        self.handle.signal_cancel(job.id);
                    }
                    until = asked + lease;
                    sleep_until(asked + lease / 3).await;
                }
                Ok(Err(error @ (StoreError::Conflict(_) | StoreError::NoJob(_) | StoreError::Closed))) => {
                    tracing::warn!(%error, "the job's lease is lost, so the job is stopped");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the job's lease cannot be renewed");
                    sleep(lease / 20).await;
                }
                Err(_) => {
                    tracing::error!("the job's lease could not be renewed, so the job is stopped");
                    return;
                }
            }
        }
    }

    /// Stores the progress as it comes, and only the newest if it comes faster. Returns when another attempt has the job.
    async fn store_progress(&self, job: &Job, events: &mut mpsc::UnboundedReceiver<JobProgress>, stages: &mut Stages) {
        while let Some(mut progress) = events.recv().await {
            while let Ok(newer) = events.try_recv() {
                progress = newer;
            }
            stages.clone_from(&progress.stages);
            match self.handle.store.save_progress(job.id, job.attempt, &progress).await {
                Ok(()) => {}
                Err(StoreError::Conflict(_) | StoreError::NoJob(_)) => return,
                // The outcome repeats the progress.
                Err(error) => tracing::warn!(%error, "the job's progress cannot be stored"),
            }
        }
        std::future::pending().await
    }

    /// Stores the end of this attempt: the outcome, or with `retry` the rest before the next attempt, or without `outcome`
    /// the way back into the queue. `is_moved` says that its engine was taken from the job. The log is written first,
    /// because a reader who sees the end may read it at once.
    async fn record_end(
        &self,
        job: &Job,
        outcome: Option<Outcome>,
        retry: Option<Retry>,
        is_moved: bool,
        log: &LogWriter,
    ) {
        let handle = &self.handle;
        let give_up = async {
            self.stop.cancelled().await;
            sleep(GRACE).await;
        };
        let log_line = |text: &str| {
            log.write(text.as_bytes());
            log.flush();
        };
        let written = match (&outcome, &retry) {
            (Some(_), Some(retry)) => {
                log_line(&retry_line(job, retry));
                retry_until_stored(give_up, || handle.store.retry(job.id, job.attempt, retry)).await
            }
            (Some(outcome), None) => {
                log_line(&last_line(outcome.class, outcome.cause.as_deref()));
                let finish = || handle.store.finish(job.id, job.attempt, outcome);
                retry_until_stored(give_up, finish).await
            }
            (None, _) if is_moved => {
                log_line(&format!("{STOPPED_LINE}: its engine is drained, so the job runs again from the start]\n"));
                retry_until_stored(give_up, || handle.store.requeue_moved(job.id, job.attempt)).await
            }
            (None, _) => {
                log_line(&format!("{STOPPED_LINE}: unless it was cancelled, the job runs again from the start]\n"));
                retry_until_stored(give_up, || handle.store.requeue(job.id, job.attempt)).await
            }
        };
        match written {
            Ok(job) if job.status.is_terminal() => {
                let took_ms = job.took().map(|took| took.as_millis() as u64);
                let Job { status, class, cause, superseded_by, .. } = job;
                // A user cancelled the job while it was to run again.
                if outcome.is_none() || retry.is_some() {
                    log_line(&last_line(class, cause.as_deref()));
                } else if let (Some(newer), None) = (superseded_by, outcome.and_then(|end| end.superseded_by)) {
                    log_line(&format!("Superseded by {newer}\n"));
                }
                let (is_operators, class) =
                    (class.is_some_and(FailureClass::is_operators), class.map(FailureClass::as_str));
                match is_operators {
                    true => tracing::warn!(class, cause, took_ms, "job ended, and an operator has to act"),
                    false => tracing::info!(status = status.as_str(), class, cause, took_ms, "job ended"),
                }
                // A disk that was full has room again, so the log can note its gap.
                log.flush();
                handle.logs.end(job.id);
                // The job's repository may have been at REPO_CONCURRENCY.
                handle.wake();
            }
            Ok(Job { failures, class, cause, .. }) if let Some(Retry { rest, .. }) = retry => {
                let (class, rest_ms) = (class.map(FailureClass::as_str), rest.as_millis() as u64);
                tracing::warn!(failures, class, cause, rest_ms, "attempt ended, another follows");
                // The queue has to read when this rest ends.
                handle.wake();
            }
            Ok(_) => {
                tracing::info!("job is pending again");
                handle.wake();
            }
            Err(error) => tracing::warn!(%error, "the end of this run cannot be stored"),
        }
    }
}

/// Returns the last line of a job's log. It is empty for a success, which the pipeline has described.
pub(super) fn last_line(class: Option<FailureClass>, cause: Option<&str>) -> String {
    let cause = sentence(cause.unwrap_or_default());
    class.map_or_else(String::new, |class| {
        format!("\nThe build ended ({}): {cause} {}\n", class.as_str(), class.advice())
    })
}

/// Returns whether the end of a log says why its last attempt, whose number is `former`, ended.
fn says_why(log: &str, former: u32) -> bool {
    let attempt = log.rsplit("\n[attempt ").next().unwrap_or(log);
    attempt.contains(STOPPED_LINE) || attempt.contains(&format!("\nAttempt {former} ended ("))
}

/// Returns the log's text for an attempt that another one follows.
fn retry_line(job: &Job, Retry { class, cause, rest, .. }: &Retry) -> String {
    let (attempt, next, class, cause) = (job.attempt, job.attempt + 1, class.as_str(), sentence(cause));
    let (retry, of, seconds) = (job.failures + 1, ATTEMPTS - 1, rest.as_secs_f64());
    format!(
        "\nAttempt {attempt} ended ({class}): {cause} Attempt {next} follows in {seconds:.0} s (retry {retry} of {of}).\n"
    )
}

fn sentence(cause: &str) -> String {
    if cause.ends_with(['.', '?', '!']) { cause.into() } else { format!("{cause}.") }
}

pub(super) fn failure(stages: Stages, cause: &str) -> Outcome {
    let class = Some(FailureClass::LostWorker);
    Outcome {
        status: Status::Failure,
        stages,
        resolved_commit: None,
        digest: None,
        cause: Some(cause.into()),
        class,
        superseded_by: None,
        tags: Vec::new(),
    }
}

/// Returns the outcome of a run that has none of its own.
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
    let cause = format!("the daemon was stopped {MAX_STOPS} times while it ran this job: it is not run again");
    failure(job.stages.clone(), &cause)
}

/// Returns the outcome of a job that was alone when a signal ended the daemon, see `pipeline::Isolation`.
fn killer(job: &Job) -> Outcome {
    let kills = job.kills;
    let cause = format!(
        "a signal ended the daemon {kills} times while this job was in clone, checkout or sending its context. The last \
         time no other job was, so it is not run again. Make the commit smaller, or have the operator look into the \
         machine's log, which names the signal"
    );
    Outcome { class: Some(FailureClass::Source), ..failure(job.stages.clone(), &cause) }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it has no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_why_the_former_attempt_ended() {
        let stopped = format!("step 1\n{STOPPED_LINE}: …]\n");
        let failed = "step 1\n\nAttempt 1 ended (engine): it is gone. Attempt 2 follows in 2 s (retry 1 of 2).\n";
        let then_killed = |log: &str| format!("{log}\n[attempt 2]\nstep 1\n");
        for (log, former, expected) in [
            ("", 1, false),
            ("step 1\n", 1, false),
            (&*stopped, 1, true),
            (failed, 1, true),
            (&*then_killed(&stopped), 2, false),
            (&*then_killed(failed), 2, false),
        ] {
            assert_eq!(says_why(log, former), expected, "{log}");
        }
    }
}
