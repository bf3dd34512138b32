use tokio::task::spawn_blocking;

/// Runs work whose time grows with a commit, such as the sorting of its files, on a thread that may block. A million files
/// take seconds, in which a worker of the runtime would renew no lease and answer nobody. Dropping the future leaves the
/// work behind, which ends by itself, because bounds of the commit bound its time.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The daemon ends, and what waits here with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// The runtime of the test has one worker.
    #[tokio::test]
    async fn the_worker_goes_on_meanwhile() {
        let (release, released) = mpsc::channel();
        let work = compute(move || released.recv_timeout(Duration::from_secs(60)));
        let (done, ()) = tokio::join!(work, async move { release.send(7).unwrap() });
        assert_eq!(done, Ok(7));
    }
}
