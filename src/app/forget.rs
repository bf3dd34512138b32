//! Deletes what is kept for some time only.

use std::time::Duration;

use tokio::time::sleep;

use crate::model::Millis;
use crate::store::Store;

const PAUSE: Duration = Duration::from_secs(3600);
/// Between two batches: others write in between.
const BREATH: Duration = Duration::from_millis(50);

/// Deletes deliveries that are older than 30 days, each hour, in small batches. Until it is dropped.
pub async fn run(store: Store) {
    loop {
        let pause = match store.forget_deliveries(Millis::now()).await {
            Ok(0) => PAUSE,
            Ok(_) => BREATH,
            Err(error) => {
                tracing::warn!(%error, "old deliveries cannot be deleted");
                PAUSE
            }
        };
        sleep(pause).await;
    }
}
