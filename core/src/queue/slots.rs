//! Keeps the number of jobs that run at once within what the engines may have together.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// Takes as many of the `concurrency` build slots away as the engines have fewer, and gives them back when the engines
/// have more. A slot in use is taken once it is free. Never returns.
pub(super) async fn follow(slots: &Arc<Semaphore>, concurrency: usize, mut engines: watch::Receiver<Option<usize>>) {
    let mut taken = Vec::new();
    loop {
        let wanted = engines.borrow_and_update().map_or(0, |engines| concurrency.saturating_sub(engines));
        taken.truncate(wanted);
        tokio::select! {
            slot = slots.clone().acquire_owned(), if taken.len() < wanted => taken.extend(slot),
            Ok(()) = engines.changed() => {}
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(slots: &Semaphore, free: usize) {
        let is_so = async {
            while slots.available_permits() != free {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), is_so).await.unwrap();
    }

    #[tokio::test]
    async fn slots_go_and_come_with_the_engines() {
        let slots = Arc::new(Semaphore::new(4));
        let (engines, seen) = watch::channel(None);
        let theirs = slots.clone();
        let _task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            follow(&theirs, 4, seen).await;
        }));
        for (number, free) in [(Some(3), 3), (Some(9), 4), (Some(1), 1), (None, 4), (Some(0), 0), (Some(4), 4)] {
            engines.send_replace(number);
            until(&slots, free).await;
        }
        // A slot that is in use is taken as soon as it is free.
        let used = slots.clone().acquire_many_owned(3).await.unwrap();
        engines.send_replace(Some(2));
        until(&slots, 0).await;
        drop(used);
        until(&slots, 2).await;
    }
}
