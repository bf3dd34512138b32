//! One engine of the pool, and what is known about it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::engine::api::engine::Engine;
use crate::model::ImageRef;

/// The result of the last ping of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineHealth {
    /// The engine was not pinged yet.
    Unknown,
    Well,
    /// The engine cannot be reached, for this reason. Its builds are not given up, because their connections break by
    /// themselves if it is dead.
    Away(String),
    /// The engine accepts requests and answers none. Its builds are given up.
    Silent(String),
}

/// Facts about an engine.
#[derive(Debug)]
pub(super) struct MemberState {
    pub name: String,
    pub health: EngineHealth,
    /// The message that its disk has too little room, or that its disk was not read yet.
    pub full: Option<String>,
    /// True if the log says that its disk is full.
    pub is_full_logged: bool,
    /// Number of jobs that have a lease of it.
    pub running: usize,
    /// Images of jobs, by the id of the build.
    pub builds: HashMap<String, HeldImage>,
}

/// An image that a job must not lose before it is pushed.
#[derive(Debug)]
pub(super) struct HeldImage {
    pub names: Vec<ImageRef>,
    /// Id of the image once it is built. It may have no name yet.
    pub id: Option<String>,
}

impl MemberState {
    pub(super) fn is_usable(&self) -> bool {
        self.health == EngineHealth::Well && self.full.is_none()
    }

    fn trouble(&self) -> Option<String> {
        match &self.health {
            EngineHealth::Unknown => {
                Some(format!("the Docker engine at {} was not pinged yet: jobs wait some seconds for it", self.name))
            }
            EngineHealth::Away(message) | EngineHealth::Silent(message) => Some(message.clone()),
            EngineHealth::Well => self.full.clone(),
        }
    }
}

/// The state of all engines, as other modules see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// True if a job can have an engine.
    pub usable: bool,
    /// The name of each engine, and whether a job can have it.
    pub each: Vec<(String, bool)>,
    /// True if no engine is usable, and one of them lacks nothing but room on its disk.
    pub is_full: bool,
    /// One line for each engine in trouble.
    pub troubles: Vec<String>,
}

impl PoolStatus {
    pub(super) fn of(states: &[MemberState]) -> Self {
        Self {
            usable: states.iter().any(MemberState::is_usable),
            is_full: !states.iter().any(MemberState::is_usable)
                && states.iter().any(|state| state.health == EngineHealth::Well),
            each: states.iter().map(|state| (state.name.clone(), state.is_usable())).collect(),
            troubles: states.iter().filter_map(MemberState::trouble).collect(),
        }
    }
}

/// One engine of the pool.
pub(super) struct Member {
    pub engine: Engine,
    /// Index of its state among `states`.
    pub index: usize,
    pub states: Arc<watch::Sender<Vec<MemberState>>>,
    pub status: Arc<watch::Sender<PoolStatus>>,
    /// Wakes the health check because a job had trouble with the engine.
    pub doubted: Notify,
    /// Wakes the check of the disk because a job has ended.
    pub released: Notify,
}

impl Member {
    pub(super) fn read<T>(&self, read: impl FnOnce(&MemberState) -> T) -> T {
        read(&self.states.borrow()[self.index])
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut MemberState) -> T) {
        self.states.send_modify(|states| {
            change(&mut states[self.index]);
        });
        // The states are read under the lock of `status`, so that of several changes the last one is published last.
        self.status.send_if_modified(|status| {
            let now = PoolStatus::of(&self.states.borrow());
            let is_new = *status != now;
            *status = now;
            is_new
        });
    }
}
