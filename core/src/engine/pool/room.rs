//! Watches the disk of an engine, and makes room there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::member::{EngineHealth, HeldImage, Member};
use crate::disk;
use crate::engine::upkeep::instance::full_repository;
use crate::engine::upkeep::prune::SpaceLimits;
use crate::model::ImageRef;

/// Interval at which a disk of this machine is read, which costs microseconds.
const DISK_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which room is made again, and at which an engine on another machine is asked for its usage. Each may
/// cost the engine seconds.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

impl Member {
    /// Keeps room on the engine's disk for ever.
    pub(super) async fn watch_room(self: Arc<Self>, limits: SpaceLimits) {
        let mut receiver = self.states.subscribe();
        loop {
            if receiver.wait_for(|states| states[self.index].health == EngineHealth::Well).await.is_err() {
                return;
            }
            let Ok(folders) = self.engine.folders().await else {
                sleep(DISK_INTERVAL).await;
                continue;
            };
            let (mut pruned, mut looked) = (None, None);
            while self.read(|state| state.health == EngineHealth::Well) {
                self.check_room(&folders, &limits, &mut pruned).await;
                if looked.is_none_or(|at: Instant| at.elapsed() >= PRUNE_INTERVAL) {
                    self.prune_kept().await;
                    looked = Some(Instant::now());
                }
                tokio::select! {
                    () = sleep(if folders.is_empty() { PRUNE_INTERVAL } else { DISK_INTERVAL }) => {}
                    () = self.released.notified(), if !folders.is_empty() => {}
                }
            }
        }
    }

    /// Removes kept containers of tests, and counts the others.
    pub(in crate::engine) async fn prune_kept(&self) {
        match self.engine.prune_kept(&self.keep).await {
            Ok(kept) if self.read(|state| state.kept != kept) => self.change(|state| state.kept = kept),
            Ok(_) => {}
            Err(error) => tracing::warn!("engine {}: kept containers are not looked at: {error}", self.engine.name()),
        }
    }

    async fn check_room(&self, folders: &[PathBuf], limits: &SpaceLimits, pruned: &mut Option<Instant>) {
        let disk = disk::measure_fullest(folders, &limits.floor).ok().flatten().map(|(_, disk)| disk);
        if self.read(|state| state.disk != disk) {
            self.change(|state| state.disk = disk);
        }
        if let Some(disk) = disk {
            if limits.floor.holds(&disk) {
                *pruned = None;
                return self.set_full(None);
            }
            if self.read(|state| state.full.is_none()) {
                let (name, floor) = (self.engine.name(), limits.floor);
                let message = format!("the disk of the Docker engine at {name} has {disk}, jobs wait below {floor}");
                self.change(|state| state.full = Some(message));
            }
        } else {
            self.set_full(None);
        }
        if pruned.is_some_and(|at: Instant| at.elapsed() < PRUNE_INTERVAL) {
            return;
        }
        *pruned = Some(Instant::now());
        let is_in_use = |image: &str| {
            let Ok(tag) = ImageRef::parse(image) else { return true };
            let is_same = |name: &ImageRef| name.tag() == tag.tag() && full_repository(name) == full_repository(&tag);
            let is_held = |held: &HeldImage| held.id.as_deref() == Some(image) || held.names.iter().any(is_same);
            self.read(|state| state.builds.values().any(is_held))
        };
        match self.engine.make_room(folders, limits, is_in_use).await {
            Ok(full) => self.set_full(full),
            // The last known state of the disk stays.
            Err(error) => tracing::warn!("engine {}: room cannot be made: {error}", self.engine.name()),
        }
    }

    fn set_full(&self, full: Option<String>) {
        let (was_full, was_logged) = self.read(|state| (state.full.is_some(), state.is_full_logged));
        match &full {
            Some(message) if !was_logged => tracing::warn!("{message}"),
            None if was_logged => tracing::info!("engine {}: its disk has room again", self.engine.name()),
            _ => {}
        }
        if was_full || was_logged || full.is_some() {
            self.change(|state| {
                state.is_full_logged = full.is_some();
                state.full = full;
            });
        }
    }
}
