use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::failure::StageFailure;
use crate::logs::LogWriter;
use crate::model::{FailureClass, LogSink};

/// A job's log that knows when something last went on, by the monotonic clock: no jump of the time of day ends a job.
pub(super) struct Pulse {
    log: Arc<LogWriter>,
    /// STALL_TIMEOUT
    limit: Duration,
    begun: Instant,
    /// Milliseconds from `begun`.
    last: AtomicU64,
}

impl Pulse {
    pub fn new(log: Arc<LogWriter>, limit: Duration) -> Self {
        Self { log, limit, begun: Instant::now(), last: AtomicU64::new(0) }
    }

    pub fn mask(&self, secrets: &[Zeroizing<String>]) {
        self.log.mask(secrets);
    }

    pub fn masked(&self, text: &str) -> String {
        self.log.masked(text)
    }

    /// `work`, or a failure that says how long it was allowed to take, or to say and do nothing.
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
                Err(late(format!("it said and did nothing for {seconds} s (STALL_TIMEOUT)")))
            }
        }
    }

    async fn stalled(&self) {
        while let Some(rest) = self.limit.checked_sub(self.silence()).filter(|rest| !rest.is_zero()) {
            sleep(rest).await;
        }
    }

    fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }
}

impl LogSink for Pulse {
    fn write(&self, bytes: &[u8]) {
        self.alive();
        self.log.write(bytes);
    }

    fn alive(&self) {
        self.last.store(self.begun.elapsed().as_millis() as u64, Relaxed);
    }
}

/// That `what` took longer than a setting allows.
pub(super) fn overdue(what: &str, limit: Duration, setting: &str) -> StageFailure {
    late(format!("{what} took longer than {} s ({setting})", limit.as_secs_f64()))
}

/// 124 is what `timeout` of the coreutils ends with.
fn late(message: String) -> StageFailure {
    StageFailure { exit_code: 124, class: FailureClass::Timeout, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Logs;
    use crate::model::JobId;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    /// The message of `work`'s failure, and how long it went on.
    async fn ends(stall: Duration, limit: Duration, work: impl AsyncFnOnce(&Pulse)) -> (String, Duration) {
        let dir = tempfile::tempdir().unwrap();
        let log = Logs::open(dir.path().join("logs")).unwrap().writer(JobId::new());
        let pulse = Pulse::new(log, stall);
        let begun = Instant::now();
        let endless = async {
            work(&pulse).await;
            std::future::pending::<Result<(), StageFailure>>().await
        };
        let failed = pulse.within(limit, "LIMIT", endless).await.err().unwrap();
        assert_eq!((failed.exit_code, failed.class), (124, FailureClass::Timeout));
        (failed.message, begun.elapsed())
    }

    #[tokio::test]
    async fn silence_ends_it_and_what_goes_on_does_not() {
        let (message, _) = ends(SHORT, LONG, async |_| ()).await;
        assert_eq!(message, "it said and did nothing for 0.2 s (STALL_TIMEOUT)");
        let (message, took) = ends(SHORT, LONG, async |pulse| {
            for word in 0..20 {
                sleep(SHORT / 8).await;
                if word % 2 == 0 { pulse.alive() } else { pulse.write(b".") }
            }
        })
        .await;
        assert!(message.contains("STALL_TIMEOUT") && took > 3 * SHORT, "{message} after {took:?}");
    }

    #[tokio::test]
    async fn a_limit_is_one_however_much_goes_on() {
        let (message, _) = ends(LONG, SHORT, async |_| ()).await;
        assert_eq!(message, "it took longer than 0.2 s (LIMIT)");
    }
}
