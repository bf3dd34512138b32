use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::process::Program;

/// Pause before the first restart. Each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A program that ran for this long is restarted after [`FIRST_PAUSE`] again.
const HEALTHY: Duration = Duration::from_secs(60);

/// A program that runs beside the daemon, such as an sshd, and is started again whenever it ends.
#[derive(Debug)]
pub struct Service<F> {
    /// The name that messages have.
    pub name: &'static str,
    /// Prepares the program for each start. [`Program::service`] lets it write to the container's log.
    pub program: F,
    /// Time from SIGTERM to SIGKILL when the service is stopped.
    pub grace: Duration,
}

impl<F: Fn() -> Program> Service<F> {
    /// Keeps the program running until `stop`, then ends it and returns. The log says when it ended by itself, or
    /// could not be started.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            let end = match self.run_once(&stop).await {
                None => return,
                Some(end) => end,
            };
            if begin.elapsed() >= HEALTHY {
                pause = FIRST_PAUSE;
            }
            tracing::warn!("{} ended ({end}): it is started again in {} ms", self.name, pause.as_millis());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the program once. Returns how it ended, or `None` if it was stopped.
    async fn run_once(&self, stop: &CancellationToken) -> Option<String> {
        let mut running = match (self.program)().start() {
            Ok(running) => running,
            Err(error) => return Some(error.to_string()),
        };
        tokio::select! {
            status = running.wait() => return Some(status.map_or_else(|error| error.to_string(), |end| end.to_string())),
            () = stop.cancelled() => {}
        }
        // The call fails only if the program has just ended.
        let _ = running.id().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::TERM));
        // A program that is still there is killed, because the handle is dropped.
        let _ = tokio::time::timeout(self.grace, running.wait()).await;
        None
    }
}

#[cfg(test)]
mod tests;
