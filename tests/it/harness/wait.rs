use std::time::{Duration, Instant};

/// Asks every 20 ms until `condition` gives a value; panics with `what` when `limit` is over.
/// The only place in the tests that lets time pass.
pub async fn eventually<T>(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    // A condition that takes longer must still let the test's other futures run.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while start.elapsed() < limit {
        tick.tick().await;
        if let Some(value) = condition().await {
            return value;
        }
    }
    panic!("not within {limit:?}: {what}");
}
