//! Further tries of what asks a Git server.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::failure::StageFailure;
use crate::git::{Fault, GitError};
use crate::model::LogSink;

/// The original's budget: one more try, ten seconds later.
const WAIT: Duration = Duration::from_secs(10);
/// The rests before further tries at a server that drops connections. sshd holds an address back for 15 s at least
/// (PerSourcePenalties), and for 20 s after four refused keys. In seconds.
const RESTS: [u64; 5] = [5, 15, 40, 90, 180];

/// Repeats `try_once` while its error may pass; no rest begins that would end later than `limit` after the first try. The
/// build slot is kept meanwhile: the jobs that it could be given to would ask the same server, as a rule.
pub(super) async fn patiently<T, F>(
    limit: Duration,
    log: &dyn LogSink,
    try_once: impl FnMut() -> F,
) -> Result<T, StageFailure>
where
    F: Future<Output = Result<Result<T, GitError>, StageFailure>>,
{
    with_rests(limit, &RESTS.map(Duration::from_secs), WAIT, log, try_once).await
}

async fn with_rests<T, F>(
    limit: Duration,
    rests: &[Duration],
    wait: Duration,
    log: &dyn LogSink,
    mut try_once: impl FnMut() -> F,
) -> Result<T, StageFailure>
where
    F: Future<Output = Result<Result<T, GitError>, StageFailure>>,
{
    let begun = Instant::now();
    let (mut rests, mut waits) = (rests.iter().copied(), [wait].into_iter());
    loop {
        let error = match try_once().await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let rest = match error.fault {
            Fault::Request | Fault::Key => None,
            Fault::Server | Fault::Host => waits.next(),
            Fault::Throttled => rests.next().filter(|rest| begun.elapsed() + *rest < limit),
        };
        let Some(rest) = rest else { return Err(error.into()) };
        log.write(format!("{}\nOnce more in {} s.\n", error.message, rest.as_secs()).as_bytes());
        sleep(rest).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<String>);

    impl LogSink for Lines {
        fn write(&self, bytes: &[u8]) {
            self.0.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    /// The number of tries, and whether the last one succeeded: try `n` fails with `blames[n]`, if there is one.
    async fn tries(limit: Duration, rests: &[Duration], blames: &[Fault]) -> (usize, bool) {
        let (mut made, log) = (0, Lines::default());
        let ended = with_rests(limit, rests, SHORT, &log, || {
            let error = blames.get(made).map(|&fault| GitError { exit_code: 128, message: "no".into(), fault });
            made += 1;
            async { Ok(error.map_or(Ok(()), Err)) }
        });
        let is_done = ended.await.is_ok();
        let announced = log.0.lock().unwrap().matches("no\nOnce more in 0 s.\n").count();
        assert_eq!(announced, made - 1);
        (made, is_done)
    }

    #[tokio::test]
    async fn each_kind_of_trouble_has_its_own_tries() {
        use Fault::{Host, Request, Server, Throttled};
        let rests = [SHORT; 4];
        for (blames, expected) in [
            (&[][..], (1, true)),
            (&[Request], (1, false)),
            (&[Server], (2, true)),
            (&[Server, Host], (2, false)),
            (&[Throttled; 4], (5, true)),
            (&[Throttled; 5], (5, false)),
            (&[Throttled, Throttled, Request], (3, false)),
            (&[Throttled, Server, Throttled], (4, true)),
        ] {
            assert_eq!(tries(LONG, &rests, blames).await, expected, "{blames:?}");
        }
    }

    #[tokio::test]
    async fn no_rest_is_begun_that_would_outlast_the_limit() {
        assert_eq!(tries(LONG, &[SHORT, LONG], &[Fault::Throttled; 3]).await, (2, false));
    }
}
