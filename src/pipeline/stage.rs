//! The bookkeeping around every stage: its record, its frame in the log, its deadline, its cancelling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::logs::LogWriter;
use crate::model::{FailureClass, Job, LogSink, Millis, StageName, StageRecord, StageStatus, Stages};

/// Why a stage failed.
pub(super) struct Failed {
    pub exit_code: i32,
    pub class: FailureClass,
    /// One line: what is wrong, where, and what to do.
    pub message: String,
}

impl Failed {
    pub fn new(class: FailureClass, message: impl ToString) -> Self {
        Self { exit_code: 1, class, message: message.to_string() }
    }
}

/// How a job ends without success.
pub(super) enum End {
    Failed(String, FailureClass),
    Cancelled,
}

pub(super) struct Stagehand {
    pub job: Job,
    pub log: Arc<LogWriter>,
    pub stages: Stages,
    pub resolved_commit: Option<String>,
    progress: mpsc::UnboundedSender<Progress>,
    cancel: CancellationToken,
}

impl Stagehand {
    pub fn new(
        job: Job,
        log: Arc<LogWriter>,
        progress: mpsc::UnboundedSender<Progress>,
        cancel: CancellationToken,
    ) -> Self {
        Self { job, log, stages: Stages::pending(), resolved_commit: None, progress, cancel }
    }

    /// Runs `work` as the stage `name`, framed in the log as the original framed its commands.
    pub async fn stage<T>(
        &mut self,
        name: StageName,
        command: &str,
        work: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, End> {
        self.record(name, |stage| {
            stage.status = StageStatus::Running;
            stage.start = Some(Millis::now().0);
        });
        let (stars, dashes) = ("*".repeat(80), "-".repeat(80));
        self.log.write(format!("{stars}\nExecuting: {command}\n{dashes}\n\n").as_bytes());
        let begun = Instant::now();
        // The work is dropped here when it is cancelled: that stops what it started.
        let result = tokio::select! {
            result = work => Some(result),
            () = self.cancel.cancelled() => None,
        };
        // What a step said may be in it, and it goes further than the log.
        let result =
            result.map(|ended| ended.map_err(|failed| Failed { message: self.log.masked(&failed.message), ..failed }));
        let (status, exit_code, error) = match &result {
            Some(Ok(_)) => (StageStatus::Success, Some(0), None),
            Some(Err(failed)) => (StageStatus::Failure, Some(failed.exit_code), Some(failed.message.clone())),
            None => (StageStatus::Cancelled, None, Some("cancelled".to_owned())),
        };
        let how = match (status, exit_code) {
            (StageStatus::Success, _) => "completed successfuly".to_owned(), // the original's spelling
            (_, Some(code)) => format!("failed with exit code {code}"),
            _ => "was cancelled".to_owned(),
        };
        if let Some(error) = &error {
            self.log.write(format!("{error}\n").as_bytes());
        }
        let millis = begun.elapsed().as_millis();
        self.log.write(
            format!("\n{dashes}\nCommand {command} {how}\nTotal execution time: {millis} ms\n{stars}\n").as_bytes(),
        );
        self.record(name, |stage| {
            stage.status = status;
            stage.exit_code = exit_code;
            stage.error.clone_from(&error);
            stage.end = Some(Millis::now().0);
        });
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(failed)) => Err(End::Failed(format!("{}: {}", name.as_str(), failed.message), failed.class)),
            None => Err(End::Cancelled),
        }
    }

    fn record(&mut self, name: StageName, change: impl FnOnce(&mut StageRecord)) {
        if let Some(stage) = self.stages.get_mut(name) {
            change(stage);
        }
        let progress = Progress { stages: self.stages.clone(), resolved_commit: self.resolved_commit.clone() };
        // Nobody listens any more when the queue gave this attempt up: its end is not ours to tell.
        let _ = self.progress.send(progress);
    }
}

/// `work`, or a failure that says how long it was allowed to take.
pub(super) async fn within<T>(
    limit: Duration,
    setting: &str,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs_f64();
        Err(Failed {
            exit_code: 124,
            class: FailureClass::Timeout,
            message: format!("took longer than {seconds} s ({setting})"),
        })
    })
}
