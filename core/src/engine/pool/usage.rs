//! Asks the engines how much room our images and the build cache take.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::Pool;
use super::member::{EngineHealth, Member};

/// Time for which an answer is kept, because an engine with thousands of images needs seconds for one.
const KEPT: Duration = Duration::from_secs(60);
/// Time limit of the question.
const LIMIT: Duration = Duration::from_secs(10);

impl Pool {
    /// Returns, for each engine, the bytes of our images and of the build cache; `None` for one that does not answer
    /// within seconds.
    pub async fn usage(&self) -> Vec<Option<u64>> {
        join_all(self.members.iter().map(|member| member.ask_usage())).await
    }
}

impl Member {
    async fn ask_usage(&self) -> Option<u64> {
        let ask = async {
            let mut known = self.usage.lock().await;
            if let Some((_, bytes)) = known.filter(|(at, _)| at.elapsed() < KEPT) {
                return Some(bytes);
            }
            let bytes = self.engine.taken().await.ok()?;
            *known = Some((Instant::now(), bytes));
            Some(bytes)
        };
        match self.read(|state| state.health == EngineHealth::Well) {
            true => timeout(LIMIT, ask).await.ok().flatten(),
            false => None,
        }
    }
}
