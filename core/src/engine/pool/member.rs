//! One engine of the pool, and what is known about it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use crate::disk::Disk;
use crate::engine::advice::{self, with_cure};
use crate::engine::api::engine::Engine;
use crate::engine::api::kind::ErrorKind;
use crate::engine::containers::kept::KeepLimits;
use crate::engine::upkeep::lingering::UnfinishedBuild;
use crate::engine::upkeep::prune::SpaceLimits;
use crate::model::{Builder, Cordon, EngineCondition, EngineDisk, EngineJob, EngineState, ImageRef};

/// The result of the last ping of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum EngineHealth {
    /// The engine was not pinged yet.
    Unknown,
    Well,
    /// The engine cannot be reached, for this reason. Its builds are not given up, because their connections break by
    /// themselves if it is dead.
    Away(String, ErrorKind),
    /// The engine accepts requests and answers none. Its builds are given up.
    Silent(String),
}

/// Facts about an engine.
#[derive(Debug)]
pub(in crate::engine) struct MemberState {
    pub name: String,
    pub health: EngineHealth,
    /// Version and builder, once the engine has answered.
    pub version: Option<(String, Builder)>,
    pub cordon: Option<Cordon>,
    /// Number of jobs that the engine may have at once; `None` for an even share of CONCURRENCY, which may be exceeded.
    pub slots: Option<usize>,
    /// The message that its disk has too little room, or that its disk was not read yet.
    pub full: Option<String>,
    /// True if the log says that its disk is full.
    pub is_full_logged: bool,
    /// Room on its disk at the last look, if the disk is on this machine.
    pub disk: Option<Disk>,
    /// Number of slots that are taken.
    pub used: usize,
    /// Number of these that ended jobs hold, because their builds go on in the engine.
    pub lingering: usize,
    /// Jobs that have a lease of it.
    pub jobs: Vec<EngineJob>,
    /// Number of kept containers of tests, at the last look.
    pub kept: usize,
    /// Images of jobs, by the id of the build.
    pub builds: HashMap<String, HeldImage>,
}

/// An image that a job must not lose before it is pushed.
#[derive(Debug)]
pub(in crate::engine) struct HeldImage {
    pub names: Vec<ImageRef>,
    /// Id of the image once it is built. It may have no name yet.
    pub id: Option<String>,
}

impl MemberState {
    /// Makes the state of an engine that was not asked yet.
    pub(super) fn new(name: String, slots: Option<usize>, cordon: Option<Cordon>) -> Self {
        let full = format!("the disk of the Docker engine at {name} was not read yet: jobs wait some seconds for it");
        Self {
            name,
            health: EngineHealth::Unknown,
            version: None,
            cordon,
            slots,
            full: Some(full),
            is_full_logged: false,
            disk: None,
            used: 0,
            lingering: 0,
            jobs: Vec::new(),
            kept: 0,
            builds: HashMap::new(),
        }
    }

    /// Returns true if the engine could run a job, whether it is cordoned or not.
    pub(super) fn is_well(&self) -> bool {
        self.health == EngineHealth::Well && self.full.is_none()
    }

    /// Returns true if a job can have the engine, once it has a free slot.
    pub(super) fn is_usable(&self) -> bool {
        self.is_well() && self.cordon.is_none()
    }

    /// Returns true if the engine has as many jobs as it may have. All engines together may have `concurrency`, which only
    /// builds that outlive their jobs exceed.
    pub(super) fn is_busy(&self, concurrency: usize) -> bool {
        let most = self.slots.or((self.lingering > 0).then_some(concurrency));
        most.is_some_and(|most| self.used >= most)
    }

    /// Returns what is shown of the engine. `share` is the number of slots of an engine without a number of its own.
    pub(super) fn show(&self, share: usize, limits: &SpaceLimits) -> EngineState {
        EngineState {
            name: self.name.clone(),
            version: self.version.as_ref().map(|(version, _)| version.clone()),
            builder: self.version.as_ref().map(|(_, builder)| *builder),
            condition: match self.health {
                EngineHealth::Unknown => EngineCondition::Unknown,
                EngineHealth::Away(..) => EngineCondition::Away,
                EngineHealth::Silent(_) => EngineCondition::Hangs,
                EngineHealth::Well if self.full.is_some() => EngineCondition::Full,
                EngineHealth::Well => EngineCondition::Well,
            },
            trouble: self.trouble(),
            cordon: self.cordon.clone(),
            slots: self.slots.unwrap_or(share),
            used: self.used,
            jobs: self.jobs.clone(),
            kept: self.kept,
            disk: EngineDisk {
                free: self.disk.map(|disk| disk.free),
                floor: limits.floor.bytes,
                budget: limits.budget,
            },
        }
    }

    /// Returns true if the engine is away for something that the operator has to mend.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.health, EngineHealth::Away(_, ErrorKind::Access))
    }

    fn trouble(&self) -> Option<String> {
        match &self.health {
            EngineHealth::Unknown => {
                Some(format!("the Docker engine at {} was not pinged yet: jobs wait some seconds for it", self.name))
            }
            EngineHealth::Away(message, _) | EngineHealth::Silent(message) => Some(message.clone()),
            EngineHealth::Well => self.full.clone(),
        }
    }

    fn cordoned(&self) -> Option<String> {
        let Cordon { since, .. } = self.cordon.as_ref()?;
        Some(with_cure(&advice::CORDONED, &[&self.name, since]))
    }
}

/// The state of all engines, as other modules see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// True if a job can have an engine.
    pub usable: bool,
    /// Number of jobs that the usable engines may have together; `None` where the engines have no numbers of slots.
    pub slots: Option<usize>,
    /// True if no engine is usable, and one of them lacks nothing but room on its disk.
    pub is_full: bool,
    /// One line for each engine in trouble.
    pub troubles: Vec<String>,
}

impl PoolStatus {
    pub(super) fn of(states: &[MemberState]) -> Self {
        let usable = states.iter().any(MemberState::is_usable);
        let lacks_room = |state: &MemberState| state.health == EngineHealth::Well && state.full.is_some();
        Self {
            usable,
            is_full: !usable && states.iter().any(|state| state.cordon.is_none() && lacks_room(state)),
            slots: states.iter().filter(|state| state.is_usable()).map(|state| state.slots).sum(),
            troubles: states.iter().flat_map(|state| state.trouble().into_iter().chain(state.cordoned())).collect(),
        }
    }
}

/// One engine of the pool.
pub(in crate::engine) struct Member {
    pub engine: Engine,
    /// Index of its state among `states`.
    pub index: usize,
    pub states: Arc<watch::Sender<Vec<MemberState>>>,
    pub status: Arc<watch::Sender<PoolStatus>>,
    /// KEEP_CONTAINERS
    pub keep: KeepLimits,
    /// Wakes the health check because a job had trouble with the engine.
    pub doubted: Notify,
    /// Wakes the check of the disk because a job has ended.
    pub released: Notify,
    /// Bytes of our images and of the build cache, and the time of that answer.
    pub usage: Mutex<Option<(Instant, u64)>>,
}

impl Member {
    /// Ends a build that may go on without its job, and then frees its slot.
    pub(super) async fn end_build(self: Arc<Self>, build: UnfinishedBuild) {
        if self.engine.outlives_clients().await {
            self.change(|state| state.lingering += 1);
            self.engine.end_build(&build).await;
            self.change(|state| state.lingering -= 1);
        }
        self.change(|state| state.used -= 1);
    }

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
