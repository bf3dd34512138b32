//! Deletes rows whose time of retention is over.

use std::time::Duration;

use tokio::time::sleep;

use crate::model::Millis;
use crate::store::{Store, StoreError};

/// Pause after the last batch.
const PAUSE: Duration = Duration::from_secs(3600);
/// Pause between two batches, in which others can write.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Deletes deliveries, heads of refs and names of commits that are older than 30 days, each hour, in small batches. Runs
/// until it is dropped.
pub async fn run(store: Store) {
    loop {
        let pause = match batch(&store).await {
            Ok(0) => PAUSE,
            Ok(_) => BATCH_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "old rows cannot be deleted: trying again in an hour");
                PAUSE
            }
        };
        sleep(pause).await;
    }
}

async fn batch(store: &Store) -> Result<u64, StoreError> {
    let now = Millis::now();
    Ok(store.delete_old_deliveries(now).await?
        + store.delete_old_heads(now).await?
        + store.delete_old_tags(now).await?)
}
