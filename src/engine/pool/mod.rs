//! Several engines as one: the pool watches them, chooses one for each job, and gives up the builds of a dead one.

mod choice;
mod health;
mod member;
mod room;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::advice;
use super::api::engine::Engine;
use super::api::errors::EngineError;
use super::api::kind::ErrorKind;
use super::request::{BuiltImage, ImageBuild};
use super::upkeep::instance::Instance;
use super::upkeep::prune::SpaceLimits;
use crate::disk::Floor;
use crate::model::{ImageRef, LogSink};
use crate::secrets::RegistryAuth;
use choice::{Candidate, choose};
pub use member::PoolStatus;
use member::{EngineHealth, HeldImage, Member, MemberState};

/// Time that a job waits for an engine, which may be restarting. Then the job fails, and is tried again later.
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct PoolConfig {
    pub instance: Instance,
    /// CONCURRENCY: number of jobs that all engines together have.
    pub concurrency: usize,
    pub floor: Floor,
    /// ENGINE_BUDGET, in bytes.
    pub budget: u64,
}

/// The engines of this daemon.
pub struct Pool {
    members: Vec<Arc<Member>>,
    states: Arc<watch::Sender<Vec<MemberState>>>,
    status: Arc<watch::Sender<PoolStatus>>,
    concurrency: usize,
}

/// An engine for one job. The job counts among the engine's jobs until the lease is dropped.
pub struct EngineLease {
    member: Arc<Member>,
    /// Id of the build, once it has begun.
    build: std::sync::OnceLock<String>,
}

impl Pool {
    /// Makes a pool of at least one engine, and watches the engines until `stop`.
    pub fn start(engines: Vec<Engine>, config: PoolConfig, stop: &CancellationToken) -> Arc<Self> {
        let state = |engine: &Engine| MemberState {
            name: engine.name(),
            health: EngineHealth::Unknown,
            full: Some(format!(
                "the disk of the Docker engine at {} was not read yet: jobs wait some seconds for it",
                engine.name()
            )),
            is_full_logged: false,
            running: 0,
            builds: HashMap::new(),
        };
        let states: Vec<_> = engines.iter().map(state).collect();
        let status = Arc::new(watch::Sender::new(PoolStatus::of(&states)));
        let states = Arc::new(watch::Sender::new(states));
        let limits = SpaceLimits { floor: config.floor, budget: config.budget };
        let member = |(index, engine): (usize, Engine)| {
            let member = Arc::new(Member {
                engine: engine.with_instance(config.instance.clone()),
                index,
                states: states.clone(),
                status: status.clone(),
                doubted: Notify::new(),
                released: Notify::new(),
            });
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_health()));
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_room(limits)));
            member
        };
        let members = engines.into_iter().enumerate().map(member).collect();
        Arc::new(Self { members, states, status, concurrency: config.concurrency })
    }

    /// Returns the state of the engines, and its changes.
    pub fn watch(&self) -> watch::Receiver<PoolStatus> {
        self.status.subscribe()
    }

    /// Leases an engine for a job of this repository (`acme/hello`): the one that has its layers, if that engine is
    /// well and not busy. The engine `avoid` is leased only if it is the only one.
    ///
    /// # Errors
    /// No engine is usable, and none becomes so within seconds. The message names the trouble of each.
    pub async fn lease(&self, repo: &str, avoid: Option<&str>) -> Result<EngineLease, EngineError> {
        let mut receiver = self.states.subscribe();
        let taken = async {
            loop {
                receiver.borrow_and_update();
                if let Some(lease) = self.try_lease(repo, avoid) {
                    return lease;
                }
                if receiver.changed().await.is_err() {
                    std::future::pending::<()>().await; // `self` holds the sender, so this is never reached
                }
            }
        };
        let late = |_| EngineError::engine(advice::NO_ENGINE.fill(&[&self.status.borrow().troubles.join("; ")]));
        tokio::time::timeout(LEASE_TIMEOUT, taken).await.map_err(late)
    }

    fn try_lease(&self, repo: &str, avoid: Option<&str>) -> Option<EngineLease> {
        let mut chosen = None;
        self.states.send_if_modified(|states| {
            let usable = || states.iter().enumerate().filter(|(_, state)| state.is_usable());
            let candidates: Vec<_> =
                usable().map(|(index, s)| Candidate { index, name: &s.name, running: s.running }).collect();
            chosen = choose(repo, &candidates, self.concurrency.div_ceil(candidates.len().max(1)), avoid);
            if let Some(index) = chosen {
                states[index].running += 1;
            }
            chosen.is_some()
        });
        Some(EngineLease { member: self.members[chosen?].clone(), build: std::sync::OnceLock::new() })
    }
}

impl EngineLease {
    /// Returns the engine's address.
    pub fn engine(&self) -> String {
        self.member.engine.name()
    }

    /// Builds like [`Engine::build`], and ends at once when the engine is found dead. `names` are all names that the
    /// image will have.
    pub async fn build(
        &self,
        mut build: ImageBuild<'_>,
        names: &[ImageRef],
        log: &dyn LogSink,
    ) -> Result<BuiltImage, EngineError> {
        let id = self.build.get_or_init(|| build.build_id.clone()).clone();
        let held = HeldImage { names: names.to_vec(), id: None };
        self.member.change(|state| state.builds.insert(id.clone(), held));
        if let (Some(instance), Some(image)) = (&self.member.engine.instance, names.first()) {
            build.labels.extend(instance.labels(image));
        }
        let built = self.until_lost(self.member.engine.build(build, log)).await?;
        let image = built.image_id.clone();
        self.member.change(|state| state.builds.get_mut(&id).map(|held| held.id = Some(image)));
        Ok(built)
    }

    /// Fetches like [`Engine::fetch_moved`].
    pub async fn fetch_moved(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<Option<String>, EngineError> {
        self.until_lost(self.member.engine.fetch_moved(image, auth, log)).await
    }

    /// Tags like [`Engine::tag`].
    pub async fn tag(&self, id: &str, image: &ImageRef) -> Result<(), EngineError> {
        self.until_lost(self.member.engine.tag(id, image)).await
    }

    /// Pushes like [`Engine::push`], and ends at once when the engine is found dead.
    pub async fn push(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        self.until_lost(self.member.engine.push(image, auth, log)).await
    }

    async fn until_lost<T>(&self, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        let result = tokio::select! {
            result = work => result,
            lost = self.member.lost() => Err(lost),
        };
        if result.as_ref().is_err_and(|error| error.kind == ErrorKind::Engine) {
            self.member.doubted.notify_one();
        }
        result
    }
}

impl Drop for EngineLease {
    fn drop(&mut self) {
        self.member.change(|state| {
            state.running -= 1;
            self.build.get().map(|id| state.builds.remove(id))
        });
        self.member.released.notify_one();
    }
}
