//! Runs each stage with its record, its frame in the log, its deadline and its cancellation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Tools;
use super::activity::{ActivityLog, overdue};
use super::failure::{JobEnd, StageFailure};
use super::isolation::ExposureSlot;
use crate::metrics::Metrics;
use crate::model::{
    CommitId, FailureClass, Job, JobProgress, LogSink, Millis, StageName, StageRecord, StageStatus, Stages, TagResult,
};

/// The result of each of the image's names. The push stage shares the list, because the stage may be cut off in the middle.
#[derive(Clone, Default)]
pub(super) struct TagResults(Arc<Mutex<Vec<TagResult>>>);

impl TagResults {
    pub fn get(&self) -> Vec<TagResult> {
        self.list().clone()
    }

    /// Adds a name that is not pushed yet. The result of an earlier attempt stays until the name is pushed again.
    pub fn expect(&self, name: &str) {
        let mut list = self.list();
        if list.iter().all(|result| result.name != name) {
            list.push(TagResult { name: name.into(), digest: None, kept: None });
        }
    }

    /// Stores the result of a name.
    pub fn put(&self, result: TagResult) {
        let mut list = self.list();
        match list.iter_mut().find(|former| former.name == result.name) {
            Some(former) => *former = result,
            None => list.push(result),
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<TagResult>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the stages of one attempt, and holds what they have found so far.
pub(super) struct StageRunner {
    pub job: Job,
    pub log: Arc<ActivityLog>,
    pub stages: Stages,
    pub resolved_commit: Option<CommitId>,
    /// Ref that the job counts for, once it is known.
    pub git_ref: Option<String>,
    /// Name of the engine that the job has leased.
    pub engine: Option<String>,
    /// Results of the names. Until this attempt reaches the push, they are those of an earlier attempt.
    pub tags: TagResults,
    begun: Instant,
    /// JOB_TIMEOUT, counted from `begun`.
    limit: Duration,
    progress: mpsc::UnboundedSender<JobProgress>,
    cancel: CancellationToken,
    /// The right to be in the present stage, if its commit could end the daemon.
    pub exposure: ExposureSlot,
    /// Cancelled when the engine has the context, so that the rest of the build needs no such right.
    pub context_sent: CancellationToken,
    metrics: Metrics,
}

impl StageRunner {
    pub fn new(
        tools: &Tools,
        job: Job,
        log: Arc<ActivityLog>,
        progress: mpsc::UnboundedSender<JobProgress>,
        cancel: CancellationToken,
    ) -> Self {
        let (stages, begun) = (Stages::pending_for(job.dialect), Instant::now());
        let tags = TagResults(Arc::new(Mutex::new(job.tags.clone())));
        Self {
            job,
            log,
            stages,
            resolved_commit: None,
            git_ref: None,
            engine: None,
            tags,
            begun,
            limit: tools.config.job_timeout,
            progress,
            cancel,
            exposure: ExposureSlot::new(tools.isolation.clone()),
            context_sent: CancellationToken::new(),
            metrics: tools.metrics.clone(),
        }
    }

    /// Runs `work` as the stage `name`. The log frames it as the original framed its commands, with `command` as its title.
    pub async fn stage<T>(
        &mut self,
        name: StageName,
        command: &str,
        work: impl Future<Output = Result<T, StageFailure>>,
    ) -> Result<T, JobEnd> {
        if matches!(name, StageName::Clone | StageName::Checkout | StageName::Build) {
            // The stage itself ends at once if the wait was cut off.
            self.in_time(self.exposure.enter(&self.job, &*self.log)).await;
        }
        self.record(name, |stage| {
            stage.status = StageStatus::Running;
            stage.start = Some(Millis::now().0);
        });
        let (stars, dashes) = ("*".repeat(80), "-".repeat(80));
        self.log.write(format!("{stars}\nExecuting: {command}\n{dashes}\n\n").as_bytes());
        let begun = Instant::now();
        let span = tracing::error_span!("stage", name = name.as_str());
        let limit = self.limit;
        let (cancel, overdue_at) = (self.cancel.clone(), self.limit.saturating_sub(self.begun.elapsed()));
        // A cancellation drops the work here, which stops the processes and requests that it started.
        let ended = async {
            tokio::select! {
                result = work.instrument(span.clone()) => Some(result),
                () = cancel.cancelled() => None,
                () = sleep(overdue_at) => Some(Err(overdue("the job", limit, "JOB_TIMEOUT"))),
            }
        };
        let mut ended = std::pin::pin!(ended);
        let (sent, exposure) = (self.context_sent.clone(), self.exposure.clone());
        let result = loop {
            tokio::select! {
                result = &mut ended => break result,
                () = exposure.changed() => {}
                () = sent.cancelled(), if exposure.is_held() => exposure.leave(),
            }
            self.record(name, |_| {});
        };
        exposure.leave();
        // The message may contain the output of a step, and leaves the log, so it is masked here.
        let result = result
            .map(|ended| ended.map_err(|failed| StageFailure { message: self.log.masked(&failed.message), ..failed }));
        let (status, exit_code, error) = match &result {
            Some(Ok(_)) => (StageStatus::Success, Some(0), None),
            Some(Err(failed)) => (StageStatus::Failure, Some(failed.exit_code), Some(failed.message.clone())),
            None => (StageStatus::Cancelled, None, Some("cancelled".to_owned())),
        };
        self.metrics.stage(name, status, begun.elapsed());
        let ran_ms = begun.elapsed().as_millis() as u64;
        tracing::info!(parent: &span, status = status.as_str(), ran_ms, "stage ended");
        let timed_out = matches!(&result, Some(Err(failed)) if failed.class == FailureClass::Timeout);
        let step = result.as_ref().and_then(|ended| ended.as_ref().err()?.step.as_deref().cloned());
        let ending = match (status, exit_code) {
            (StageStatus::Success, _) => "completed successfuly".to_owned(), // The spelling is the original's.
            (_, Some(code)) if !timed_out => format!("exited with a non-zero exit code: {code}"),
            _ => "was prematuraly terminated by parent with signal: SIGTERM".to_owned(), // This one, too.
        };
        let ours = error.iter().fold(String::new(), |ours, error| ours + error + "\n");
        let millis = begun.elapsed().as_millis();
        self.log.write(
            format!("\n{dashes}\nCommand {command} {ending}\n{ours}Total execution time: {millis} ms\n{stars}\n\n")
                .as_bytes(),
        );
        self.log.flush();
        self.record(name, |stage| {
            stage.status = status;
            stage.exit_code = exit_code;
            stage.error.clone_from(&error);
            stage.step = step;
            stage.end = Some(Millis::now().0);
        });
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(failed)) => Err(JobEnd::Failed(format!("{}: {}", name.as_str(), failed.message), failed.class)),
            None => Err(JobEnd::Cancelled),
        }
    }

    /// Records a stage that has nothing to do as one that went well.
    pub fn skip(&mut self, name: StageName) {
        self.record(name, |stage| {
            stage.status = StageStatus::Success;
            stage.exit_code = Some(0);
            stage.start = Some(Millis::now().0);
            stage.end = stage.start;
        });
    }

    /// Returns the result of `work`, or `None` at once when the job is cancelled.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cancel.run_until_cancelled(work).await
    }

    /// Returns the result of `work`, or `None` when the job is cancelled or its time is over.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let rest = self.limit.saturating_sub(self.begun.elapsed());
        timeout(rest, self.unless_cancelled(work)).await.ok().flatten()
    }

    /// Changes the record of a stage, and sends the progress.
    fn record(&mut self, name: StageName, change: impl FnOnce(&mut StageRecord)) {
        if let Some(stage) = self.stages.get_mut(name) {
            change(stage);
        }
        let (stages, resolved_commit, git_ref, engine) =
            (self.stages.clone(), self.resolved_commit.clone(), self.git_ref.clone(), self.engine.clone());
        let progress = JobProgress {
            stages,
            resolved_commit,
            git_ref,
            engine,
            tags: self.tags.get(),
            is_exposed: self.exposure.is_held(),
        };
        // The receiver is gone when the queue has given this attempt up. Another attempt then reports the job's progress.
        let _ = self.progress.send(progress);
    }
}
