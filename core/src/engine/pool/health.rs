//! Watches whether an engine answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::member::{EngineHealth, Member, MemberState};
use crate::engine::advice;
use crate::engine::api::errors::EngineError;
use crate::engine::api::kind::ErrorKind;
use crate::model::Backoff;

/// Interval of the pings. An engine that stops answering is noticed after at most one interval and two
/// [`PING_TIMEOUT`], which is 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Time limit of a ping. A busy engine answers in milliseconds too, because a ping takes no lock and reads no disk.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of unanswered pings in a row that mean more than a short delay. A single ping that finds no engine is enough,
/// because the engine may have restarted by the next one, and leftovers of its death are removed only when it returns.
const MISSES: u32 = 2;
/// Pauses between the pings of an engine that does not answer.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Time limit of each request to an engine that answers again, because it may have just started.
const RETURN_TIMEOUT: Duration = Duration::from_secs(20);

impl Member {
    /// Pings the engine for ever.
    pub(super) async fn watch_health(self: Arc<Self>) {
        let (mut misses, mut pauses) = (0, 0);
        loop {
            let pinged = self.ping().await;
            let was_well = self.read(|state| state.health == EngineHealth::Well);
            match pinged {
                Ok(()) if was_well => misses = 0,
                Ok(()) => {
                    misses = 0;
                    let health = self.check_returned().await;
                    self.set_health(health);
                }
                Err(trouble) => {
                    misses += 1;
                    if !was_well || misses == MISSES || matches!(trouble, EngineHealth::Away(..)) {
                        self.set_health(trouble);
                    }
                }
            }
            let is_well = misses == 0 && self.read(|state| state.health == EngineHealth::Well);
            let wait = if is_well { PING_INTERVAL } else { BACKOFF.pause(pauses) };
            pauses = if is_well { 0 } else { pauses.saturating_add(1) };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.doubted.notified() => {}
            }
        }
    }

    async fn ping(&self) -> Result<(), EngineHealth> {
        // ssh may need seconds to connect; that is no silence of the engine.
        self.engine.reach().await.map_err(|error| self.away(error))?;
        match timeout(PING_TIMEOUT, self.engine.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.away(error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> EngineHealth {
        EngineHealth::Silent(advice::HANGS.fill(&[&self.engine.name()]))
    }

    fn away(&self, error: EngineError) -> EngineHealth {
        let message = match error.names_engine {
            true => error.message,
            false => format!("the Docker engine at {}: {}", self.engine.name(), error.message),
        };
        EngineHealth::Away(message, error.kind)
    }

    /// Checks an engine that answers again: whether it can build. It also removes what dead builds left there.
    async fn check_returned(&self) -> EngineHealth {
        let (version, builder) = match timeout(RETURN_TIMEOUT, self.engine.check()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.away(error),
            Err(_) => return self.silent(),
        };
        self.change(|state| state.version = Some((version, builder)));
        let name = self.engine.name();
        // Processes of two engines are found on one machine.
        let is_live = |build: &str| self.states.borrow().iter().any(|state| state.builds.contains_key(build));
        match timeout(RETURN_TIMEOUT, self.engine.remove_leftovers(is_live)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!("engine {name}: removed {removed} leftovers of builds that died"),
            Ok(Err(error)) => tracing::warn!("engine {name}: leftovers of builds that died are not removed: {error}"),
            Err(_) => tracing::warn!("engine {name}: leftovers of builds that died are not removed: it took too long"),
        }
        let is_live = |job: &str| self.read(|state| state.jobs.iter().any(|live| live.id.to_string() == job));
        match timeout(RETURN_TIMEOUT, self.engine.remove_strays(is_live)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!("engine {name}: removed {removed} containers of tests that died"),
            Ok(Err(error)) => tracing::warn!("engine {name}: containers of tests that died are not removed: {error}"),
            Err(_) => tracing::warn!("engine {name}: containers of tests that died are not removed: it took too long"),
        }
        tracing::info!("engine {name}: ready, builds by {builder}");
        EngineHealth::Well
    }

    fn set_health(&self, health: EngineHealth) {
        let is_new = self.read(|state| state.health != health);
        if let (true, EngineHealth::Away(message, _) | EngineHealth::Silent(message)) = (is_new, &health) {
            tracing::warn!("engine {}: {message}", self.engine.name());
        }
        self.change(|state| state.health = health);
    }

    /// Returns the result of `work`, or an error at once when the engine is found dead.
    pub(in crate::engine) async fn until_lost<T>(
        &self,
        work: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let result = tokio::select! {
            result = work => result,
            lost = self.lost() => Err(lost),
        };
        if result.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Engine | ErrorKind::Access)) {
            self.doubted.notify_one();
        }
        result
    }

    /// Waits until the engine is found to answer nothing, and returns the error for its builds.
    pub(super) async fn lost(&self) -> EngineError {
        let mut receiver = self.states.subscribe();
        let is_silent = |states: &Vec<MemberState>| matches!(states[self.index].health, EngineHealth::Silent(_));
        // The channel cannot be closed, because `self` holds its sender.
        let _ = receiver.wait_for(is_silent).await;
        EngineError::engine(advice::GIVEN_UP.fill(&[&self.engine.name()]))
    }
}
