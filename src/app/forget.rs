//! Deletes what is kept for some time only.

use std::time::Duration;

use tokio::time::sleep;

use crate::model::Millis;
use crate::store::{Store, StoreError};

const PAUSE: Duration = Duration::from_secs(3600);
/// Between two batches: others write in between.
const BREATH: Duration = Duration::from_millis(50);

/// Deletes deliveries, heads of refs and names of commits that are older than 30 days, each hour, in small batches. Runs
/// until it is dropped.
pub async fn run(store: Store) {
    loop {
        let pause = match batch(&store).await {
            Ok(0) => PAUSE,
            Ok(_) => BREATH,
            Err(error) => {
                tracing::warn!(%error, "what is old cannot be deleted");
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
