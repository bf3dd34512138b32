use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often a loop that only waits shows that it is there.
const BEAT: Duration = Duration::from_secs(5);

/// Shows that a loop goes on, by the monotonic clock. Clones share it.
#[derive(Clone)]
pub struct Heart {
    birth: Instant,
    /// Milliseconds after `birth`.
    last: Arc<AtomicU64>,
}

impl Default for Heart {
    fn default() -> Self {
        Self { birth: Instant::now(), last: Arc::default() }
    }
}

impl Heart {
    pub fn beat(&self) {
        self.last.store(self.birth.elapsed().as_millis() as u64, Relaxed);
    }

    /// Since the last beat.
    pub fn silent_for(&self) -> Duration {
        self.birth.elapsed().saturating_sub(Duration::from_millis(self.last.load(Relaxed)))
    }

    /// Waits for what may come late or never: a loop that waits for it is well. What has to come soon (a write, a query)
    /// is not waited for by this.
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
    async fn it_beats_when_it_is_waited_by() {
        let old = || Heart { birth: Instant::now() - Duration::from_secs(100), ..Heart::default() };
        let (waits, ended, still) = (old(), old(), old());
        assert!(tokio::time::timeout(Duration::ZERO, waits.wait(std::future::pending::<()>())).await.is_err());
        ended.wait(async {}).await;
        assert!(waits.silent_for() < Duration::from_secs(50) && ended.silent_for() < Duration::from_secs(50));
        assert!(still.silent_for() >= Duration::from_secs(100));
    }
}
