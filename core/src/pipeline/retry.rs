//! Repeats requests to a Git server.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::StageFailure;
use super::pauses::JobPauses;
use crate::git::{Fault, GitError};
use crate::model::{LogSink, Millis, WaitKind};

/// Pause before the one more try after a fault of the server, as the original has it.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Pauses, in seconds, before further tries at a server that drops connections. sshd refuses an address for at least 15 s
/// (PerSourcePenalties), and for 20 s after four refused keys.
const THROTTLED_PAUSES: [u64; 5] = [5, 15, 40, 90, 180];

/// Repeats `try_once` while its error may pass. A pause that would end later than `limit` after the first try is not begun.
/// The job keeps its build slot meanwhile, because the next jobs would usually ask the same server.
pub(super) async fn with_retries<T, F>(
    limit: Duration,
    pauses: JobPauses,
    log: &dyn LogSink,
    try_once: impl FnMut() -> F,
) -> Result<T, StageFailure>
where
    F: Future<Output = Result<Result<T, GitError>, StageFailure>>,
{
    retry_with_pauses(limit, &THROTTLED_PAUSES.map(Duration::from_secs), RETRY_PAUSE, &pauses, log, try_once).await
}

/// Repeats `try_once`: after `retry_pause` once, and after each of `throttled_pauses` while the server drops connections.
async fn retry_with_pauses<T, F>(
    limit: Duration,
    throttled_pauses: &[Duration],
    retry_pause: Duration,
    pauses: &JobPauses,
    log: &dyn LogSink,
    mut try_once: impl FnMut() -> F,
) -> Result<T, StageFailure>
where
    F: Future<Output = Result<Result<T, GitError>, StageFailure>>,
{
    let begun = Instant::now();
    let (mut throttled_pauses, mut retry_pauses) = (throttled_pauses.iter().copied(), [retry_pause].into_iter());
    loop {
        let error = match try_once().await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let pause = match error.fault {
            Fault::Request | Fault::Hidden | Fault::Key | Fault::Config => None,
            Fault::Server | Fault::Host => retry_pauses.next(),
            Fault::Throttled => throttled_pauses.next().filter(|pause| begun.elapsed() + *pause < limit),
        };
        let Some(pause) = pause else { return Err(error.into()) };
        log.write(format!("{}\nOnce more in {} s.\n", error.message, pause.as_secs()).as_bytes());
        let (message, next) = (log.masked(&error.message), Millis::now() + pause);
        let whose = "an operator has to act only if this job fails";
        pauses.note(WaitKind::GitHost, &format!("{message}; the next try begins at {next}, and {whose}"));
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::pauses::Pauses;
    use super::*;
    use crate::model::JobId;

    #[derive(Default)]
    struct Lines(Mutex<String>);

    impl LogSink for Lines {
        fn write(&self, bytes: &[u8]) {
            self.0.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    /// Returns the number of tries, and whether the last one succeeded. Try `n` fails with `faults[n]`, if there is one.
    async fn tries(limit: Duration, pauses: &[Duration], faults: &[Fault]) -> (usize, bool) {
        let (mut made, log) = (0, Lines::default());
        let (all, job) = (Pauses::default(), JobId::new());
        let noted = all.of(job);
        let ended = retry_with_pauses(limit, pauses, SHORT, &noted, &log, || {
            // The first try has waited for nothing, and any other one says why.
            let reason = all.reason(job).map(|waits| (waits.kind, waits.reason.starts_with("no; the next try begins")));
            assert_eq!(reason, (made > 0).then_some((WaitKind::GitHost, true)));
            let error = faults.get(made).map(|&fault| GitError { exit_code: 128, message: "no".into(), fault });
            made += 1;
            async { Ok(error.map_or(Ok(()), Err)) }
        });
        let is_done = ended.await.is_ok();
        drop(noted);
        assert_eq!(all.reason(job), None);
        assert_eq!(*log.0.lock().unwrap(), "no\nOnce more in 0 s.\n".repeat(made - 1));
        (made, is_done)
    }

    #[tokio::test]
    async fn each_fault_has_its_own_number_of_tries() {
        use Fault::{Host, Request, Server, Throttled};
        let pauses = [SHORT; 4];
        for (faults, expected) in [
            (&[][..], (1, true)),
            (&[Request], (1, false)),
            (&[Server], (2, true)),
            (&[Server, Host], (2, false)),
            (&[Throttled; 4], (5, true)),
            (&[Throttled; 5], (5, false)),
            (&[Throttled, Throttled, Request], (3, false)),
            (&[Throttled, Server, Throttled], (4, true)),
        ] {
            assert_eq!(tries(LONG, &pauses, faults).await, expected, "{faults:?}");
        }
    }

    #[tokio::test]
    async fn a_pause_that_would_outlast_the_limit_is_not_begun() {
        assert_eq!(tries(LONG, &[SHORT, LONG], &[Fault::Throttled; 3]).await, (2, false));
    }
}
