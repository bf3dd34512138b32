use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::failure::EtcdFailure;

/// Longest time for an answer. A get takes half a millisecond, so a request that takes longer hangs.
pub const REQUEST: Duration = Duration::from_secs(5);

/// Largest answer in bytes. The range read is shared with other programs, whose keys alone could exceed gRPC's own limit
/// of 4 MiB.
pub const MAX_ANSWER: usize = 64 << 20;

/// Runs a call for [`REQUEST`] at most.
pub async fn within<T>(call: impl Future<Output = T>) -> Result<T, EtcdFailure> {
    timeout(REQUEST, call).await.map_err(|_| {
        EtcdFailure::todo(
            format!("no answer within {} s", REQUEST.as_secs()),
            "does it hang, or are most members of its cluster away?",
        )
    })
}
