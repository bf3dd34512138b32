//! Watches an engine: whether it answers, and whether its disk has room.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Health, Held, Member, State};
use crate::disk;
use crate::engine::EngineError;
use crate::engine::upkeep::prune::Limits;
use crate::engine::upkeep::sweep::repository;
use crate::model::{Backoff, ImageRef};

/// An engine that stops answering is noticed after at most [`EVERY`] and two of [`ANSWER`], which is 5 s. One that is
/// busy still answers a ping in milliseconds: it takes no lock and no disk.
const EVERY: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);
/// So many pings without an answer in a row, and it is not a moment's trouble. One that finds no engine is enough: it may
/// be there again at the next, and what died with it is swept only when it comes back.
const MISSES: u32 = 2;
/// The pauses between pings of an engine that does not answer.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// For what an engine is asked when it answers again: it may have just started.
const COME_BACK: Duration = Duration::from_secs(20);
/// How often a disk here is looked at, which costs microseconds.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is tried again to make room, and how often an engine elsewhere is asked what we take: either may cost it
/// seconds.
const TRY: Duration = Duration::from_secs(60);

impl Member {
    /// Pings it, for ever.
    pub(super) async fn watch_health(self: Arc<Self>) {
        let (mut misses, mut pauses) = (0, 0);
        loop {
            let pinged = self.ping().await;
            let was_well = self.see(|state| state.health == Health::Well);
            match pinged {
                Ok(()) if was_well => misses = 0,
                Ok(()) => {
                    misses = 0;
                    let health = self.come_back().await;
                    self.set_health(health);
                }
                Err(trouble) => {
                    misses += 1;
                    if !was_well || misses == MISSES || matches!(trouble, Health::Away(_)) {
                        self.set_health(trouble);
                    }
                }
            }
            let is_well = misses == 0 && self.see(|state| state.health == Health::Well);
            let wait = if is_well { EVERY } else { BACKOFF.pause(pauses) };
            pauses = if is_well { 0 } else { pauses.saturating_add(1) };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.doubt.notified() => {}
            }
        }
    }

    async fn ping(&self) -> Result<(), Health> {
        match timeout(ANSWER, self.engine.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.away(error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Health {
        Health::Silent(format!("the Docker engine at {} hangs: it does not answer", self.engine.name()))
    }

    fn away(&self, error: EngineError) -> Health {
        let name = self.engine.name();
        Health::Away(match error.message.contains(&name) {
            true => error.message,
            false => format!("the Docker engine at {name}: {}", error.message),
        })
    }

    /// It answers: is it one that can build, and what did dead builds leave there?
    async fn come_back(&self) -> Health {
        let builder = match timeout(COME_BACK, self.engine.check()).await {
            Ok(Ok(builder)) => builder,
            Ok(Err(error)) => return self.away(error),
            Err(_) => return self.silent(),
        };
        let name = self.engine.name();
        let is_live = |build: &str| self.see(|state| state.builds.contains_key(build));
        match timeout(COME_BACK, self.engine.sweep(is_live)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(swept)) => tracing::info!("engine {name}: removed {swept} leftovers of builds that died"),
            Ok(Err(error)) => tracing::warn!("engine {name}: leftovers of builds that died are not removed: {error}"),
            Err(_) => tracing::warn!("engine {name}: leftovers of builds that died are not removed: it took too long"),
        }
        tracing::info!("engine {name}: ready, builds by {builder}");
        Health::Well
    }

    fn set_health(&self, health: Health) {
        let is_new = self.see(|state| state.health != health);
        if let (true, Health::Away(why) | Health::Silent(why)) = (is_new, &health) {
            tracing::warn!("engine {}: {why}", self.engine.name());
        }
        self.change(|state| state.health = health);
    }

    /// Sees to it that its disk has room, for ever.
    pub(super) async fn watch_room(self: Arc<Self>, limits: Limits) {
        let mut receiver = self.states.subscribe();
        loop {
            if receiver.wait_for(|states| states[self.index].health == Health::Well).await.is_err() {
                return;
            }
            let Ok(folder) = self.engine.folder().await else {
                sleep(LOOK).await;
                continue;
            };
            let mut tried = None;
            while self.see(|state| state.health == Health::Well) {
                self.look(folder.as_deref(), &limits, &mut tried).await;
                tokio::select! {
                    () = sleep(if folder.is_some() { LOOK } else { TRY }) => {}
                    () = self.used.notified(), if folder.is_some() => {}
                }
            }
        }
    }

    async fn look(&self, folder: Option<&Path>, limits: &Limits, tried: &mut Option<Instant>) {
        let disk = folder.map(disk::look).and_then(Result::ok);
        if let Some(disk) = disk {
            if limits.floor.holds(&disk) {
                *tried = None;
                return self.set_full(None);
            }
            if self.see(|state| state.full.is_none()) {
                let (name, floor) = (self.engine.name(), limits.floor);
                let why = format!("the disk of the Docker engine at {name} has {disk}, jobs wait below {floor}");
                self.change(|state| state.full = Some(why));
            }
        } else {
            self.set_full(None);
        }
        if tried.is_some_and(|at: Instant| at.elapsed() < TRY) {
            return;
        }
        *tried = Some(Instant::now());
        let is_in_use = |what: &str| {
            let Ok(tag) = ImageRef::parse(what) else { return true };
            let is_it = |name: &ImageRef| name.tag() == tag.tag() && repository(name) == repository(&tag);
            let is_held = |held: &Held| held.image.as_deref() == Some(what) || held.names.iter().any(is_it);
            self.see(|state| state.builds.values().any(is_held))
        };
        match self.engine.make_room(folder, limits, is_in_use).await {
            Ok(full) => self.set_full(full),
            // What is known of its disk stands.
            Err(error) => tracing::warn!("engine {}: no room can be made: {error}", self.engine.name()),
        }
    }

    fn set_full(&self, full: Option<String>) {
        let was = self.see(|state| (state.full.is_some(), state.warned));
        match &full {
            Some(why) if !was.1 => tracing::warn!("{why}"),
            None if was.1 => tracing::info!("engine {}: its disk has room again", self.engine.name()),
            _ => {}
        }
        if was != (false, false) || full.is_some() {
            self.change(|state| {
                state.warned = full.is_some();
                state.full = full;
            });
        }
    }

    pub(super) fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.states.borrow()[self.index])
    }

    /// Returns when the engine is found to answer nothing: an error for its builds.
    pub(super) async fn lost(&self) -> EngineError {
        let mut receiver = self.states.subscribe();
        let is_silent = |states: &Vec<State>| matches!(states[self.index].health, Health::Silent(_));
        // It cannot be closed: `self` holds it.
        let _ = receiver.wait_for(is_silent).await;
        EngineError::engine(format!("the Docker engine at {} hangs: it is given up", self.engine.name()))
    }
}
