use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time between two beats of a loop that only waits.
const BEAT: Duration = Duration::from_secs(5);

/// Shows that a loop is alive, by the monotonic clock. Clones share it.
#[derive(Clone)]
pub struct Heartbeat {
    start: Instant,
    /// The last beat, in milliseconds after `start`.
    last: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }
}

impl Heartbeat {
    /// Records that the loop is alive now.
    pub fn beat(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// Returns the time since the last beat.
    pub fn silent_for(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }

    /// Waits for an event that may come late or never, and beats meanwhile, because a loop that waits for such an event is
    /// healthy. An event that has to come soon (a write, a query) is awaited without this.
    pub async fn wait<T>(&self, event: impl Future<Output = T>) -> T {
        let mut event = pin!(event);
        loop {
            self.beat();
            if let Ok(value) = tokio::time::timeout(BEAT, &mut event).await {
                self.beat();
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_waits_beats() {
        let old = || Heartbeat { start: Instant::now() - Duration::from_secs(100), ..Heartbeat::default() };
        let (waits, ended, still) = (old(), old(), old());
        assert!(tokio::time::timeout(Duration::ZERO, waits.wait(std::future::pending::<()>())).await.is_err());
        ended.wait(async {}).await;
        assert!(waits.silent_for() < Duration::from_secs(50) && ended.silent_for() < Duration::from_secs(50));
        assert!(still.silent_for() >= Duration::from_secs(100));
    }
}
