use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::failure::StageFailure;
use crate::git::GitError;
use crate::logs::LogWriter;
use crate::model::{FailureClass, LogSink};

/// The silence after which a Git server counts as one that hangs when its time is over.
const SILENCE: Duration = Duration::from_secs(60);

/// A job's log that records the time of the last activity. It reads the monotonic clock, because a jump of the time of day
/// must not end a job.
pub(super) struct ActivityLog {
    log: Arc<LogWriter>,
    /// STALL_TIMEOUT: longest time without activity.
    limit: Duration,
    begun: Instant,
    /// Time of the last activity, in milliseconds since `begun`.
    last_activity: AtomicU64,
}

impl ActivityLog {
    pub fn new(log: Arc<LogWriter>, limit: Duration) -> Self {
        Self { log, limit, begun: Instant::now(), last_activity: AtomicU64::new(0) }
    }

    /// Writes everything, at the end of a stage.
    pub fn flush(&self) {
        self.log.flush();
    }

    pub fn mask(&self, secrets: &[Zeroizing<String>]) {
        self.log.mask(secrets);
    }

    /// Runs `work`. Fails if it takes longer than `limit`, which `setting` sets, or stalls for STALL_TIMEOUT.
    pub async fn within<T>(
        &self,
        limit: Duration,
        setting: &str,
        work: impl Future<Output = Result<T, StageFailure>>,
    ) -> Result<T, StageFailure> {
        self.alive();
        tokio::select! {
            biased;
            result = work => result,
            () = sleep(limit) => Err(overdue("it", limit, setting)),
            () = self.stalled() => {
                let seconds = self.limit.as_secs_f64();
                Err(timed_out(format!("it said and did nothing for {seconds} s (STALL_TIMEOUT)")))
            }
        }
    }

    /// Runs a fetch from a Git server. Fails by CLONE_TIMEOUT, as a fault of the server if that sent nothing lately, or by
    /// STALL_TIMEOUT, which always is one.
    pub async fn fetch_within<T>(
        &self,
        limit: Duration,
        fetch: impl Future<Output = Result<T, GitError>>,
    ) -> Result<Result<T, GitError>, StageFailure> {
        self.within(limit, "CLONE_TIMEOUT", async { Ok(fetch.await) }).await.map_err(|failed| {
            let is_silent = self.silence() >= SILENCE.min(limit / 2);
            let class = if is_silent { FailureClass::GitHost } else { failed.class };
            let message = match is_silent {
                true => format!("{}: the Git server sent nothing for {} s", failed.message, self.silence().as_secs()),
                false => failed.message,
            };
            StageFailure { class, message, ..failed }
        })
    }

    async fn stalled(&self) {
        while let Some(rest) = self.limit.checked_sub(self.silence()).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
        }
    }

    fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last_activity.load(Relaxed)))
    }
}

impl LogSink for ActivityLog {
    fn write(&self, bytes: &[u8]) {
        self.alive();
        self.log.write(bytes);
    }

    fn alive(&self) {
        self.last_activity.store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }

    fn masked(&self, text: &str) -> String {
        self.log.masked(text)
    }
}

/// Returns the failure of a `subject` that took longer than a setting allows.
pub(super) fn overdue(subject: &str, limit: Duration, setting: &str) -> StageFailure {
    timed_out(format!("{subject} took longer than {} s ({setting})", limit.as_secs_f64()))
}

/// Returns a failure with exit code 124, which `timeout` of the coreutils gives, too.
fn timed_out(message: String) -> StageFailure {
    StageFailure { exit_code: 124, ..StageFailure::new(FailureClass::Timeout, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Logs;
    use crate::model::JobId;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// Returns the message with which `work` is ended, and how long it ran.
    async fn end_of(stall: Duration, limit: Duration, work: impl AsyncFnOnce(&ActivityLog)) -> (String, Duration) {
        let dir = tempfile::tempdir().unwrap();
        let writer = Logs::open(dir.path().join("logs")).unwrap().writer(JobId::new());
        let log = ActivityLog::new(writer, stall);
        let begun = Instant::now();
        let endless = async {
            work(&log).await;
            std::future::pending::<Result<(), StageFailure>>().await
        };
        let failed = log.within(limit, "LIMIT", endless).await.err().unwrap();
        assert_eq!((failed.exit_code, failed.class), (124, FailureClass::Timeout));
        (failed.message, begun.elapsed())
    }

    #[tokio::test]
    async fn a_stage_ends_for_silence_but_not_while_it_is_active() {
        let (message, _) = end_of(SHORT, LONG, async |_| ()).await;
        assert_eq!(message, "it said and did nothing for 0.2 s (STALL_TIMEOUT)");
        let (message, took) = end_of(SHORT, LONG, async |log| {
            for word in 0..20 {
                sleep(SHORT / 8).await;
                if word % 2 == 0 { log.alive() } else { log.write(b".") }
            }
        })
        .await;
        assert_eq!(message, "it said and did nothing for 0.2 s (STALL_TIMEOUT)");
        assert!(took > 3 * SHORT, "{took:?}");
    }

    /// A fetch that has sent something lately is a large one.
    #[tokio::test]
    async fn a_silent_git_server_ends_a_fetch_by_its_own_fault() {
        for (is_silent, stall, class) in [
            (true, LONG, FailureClass::GitHost),
            (true, SHORT / 2, FailureClass::GitHost),
            (false, LONG, FailureClass::Timeout),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let writer = Logs::open(dir.path().join("logs")).unwrap().writer(JobId::new());
            let log = ActivityLog::new(writer, stall);
            let fetch = async {
                if is_silent {
                    return std::future::pending::<Result<(), GitError>>().await;
                }
                loop {
                    sleep(SHORT / 8).await;
                    log.alive();
                }
            };
            let failed = log.fetch_within(SHORT, fetch).await.err().unwrap();
            assert_eq!((failed.class, failed.message.contains("sent nothing for")), (class, is_silent));
        }
    }

    #[tokio::test]
    async fn a_stage_ends_at_its_time_limit() {
        let (message, _) = end_of(LONG, SHORT, async |_| ()).await;
        assert_eq!(message, "it took longer than 0.2 s (LIMIT)");
    }
}
