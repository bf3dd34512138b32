//! Several engines as one: the pool watches them, chooses one for each job, and gives up the builds of a dead one. An
//! engine that an operator has cordoned takes no new job.

mod choice;
mod health;
pub(super) mod member;
mod room;
mod usage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::advice;
use super::api::engine::Engine;
use super::api::errors::EngineError;
use super::api::kind::ErrorKind;
use super::containers::Containers;
use super::containers::kept::{CopiedPath, KeepLimits, NoCopy};
use super::request::{BuiltImage, ImageBuild};
use super::upkeep::instance::Instance;
use super::upkeep::instance::JOB_LABEL;
use super::upkeep::lingering::UnfinishedBuild;
use super::upkeep::prune::SpaceLimits;
use crate::disk::Floor;
use crate::model::{Cordon, EngineJob, EngineState, ImageRef, JobId, LogSink, Millis, PinnedImage};
use crate::secrets::RegistryAuth;
use choice::{Candidate, choose};
pub use member::PoolStatus;
use member::{HeldImage, Member, MemberState};

/// Time that a job waits for an engine, which may be restarting. Then the job fails, and is tried again later.
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct PoolConfig {
    pub instance: Instance,
    /// CONCURRENCY: number of jobs that all engines together have.
    pub concurrency: usize,
    /// Engines that take no new job, by name.
    pub cordons: BTreeMap<String, Cordon>,
    pub floor: Floor,
    /// ENGINE_BUDGET, in bytes.
    pub budget: u64,
    /// KEEP_CONTAINERS
    pub keep: KeepLimits,
}

/// The engines of this daemon.
pub struct Pool {
    members: Vec<Arc<Member>>,
    states: Arc<watch::Sender<Vec<MemberState>>>,
    status: Arc<watch::Sender<PoolStatus>>,
    concurrency: usize,
    limits: SpaceLimits,
}

/// Reason why a job has no engine.
#[derive(Debug)]
pub enum LeaseError {
    /// Every engine that could run the job is cordoned: the job has to wait in the queue.
    Cordoned,
    /// No engine answers or has room.
    Failed(EngineError),
}

/// Result of one look for an engine.
enum Search {
    Found(EngineLease),
    /// Engines could run the job, and have as many jobs as they may have.
    Busy,
    Cordoned,
    /// No engine could run the job.
    Nothing,
}

/// An engine for one job. The job counts among the engine's jobs until the lease is dropped.
pub struct EngineLease {
    member: Arc<Member>,
    job: JobId,
    /// True while the job takes a slot.
    has_slot: AtomicBool,
    /// Id of the build, once it has begun.
    build: OnceLock<String>,
    /// The last build, while its end was not seen.
    unfinished: Mutex<Option<UnfinishedBuild>>,
}

impl Pool {
    /// Makes a pool of at least one engine, and watches the engines until `stop`.
    pub fn start(engines: Vec<Engine>, mut config: PoolConfig, stop: &CancellationToken) -> Arc<Self> {
        let mut state =
            |engine: &Engine| MemberState::new(engine.name(), engine.most_jobs, config.cordons.remove(&engine.name()));
        let states: Vec<_> = engines.iter().map(&mut state).collect();
        let status = Arc::new(watch::Sender::new(PoolStatus::of(&states)));
        let states = Arc::new(watch::Sender::new(states));
        let limits = SpaceLimits { floor: config.floor, budget: config.budget };
        let member = |(index, engine): (usize, Engine)| {
            let member = Arc::new(Member {
                engine: engine.with_instance(config.instance.clone()),
                index,
                states: states.clone(),
                status: status.clone(),
                keep: config.keep,
                doubted: Notify::new(),
                released: Notify::new(),
                usage: Default::default(),
            });
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_health()));
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_room(limits)));
            member
        };
        let members = engines.into_iter().enumerate().map(member).collect();
        Arc::new(Self { members, states, status, concurrency: config.concurrency, limits })
    }

    /// Returns the state of the engines, and its changes.
    pub fn watch(&self) -> watch::Receiver<PoolStatus> {
        self.status.subscribe()
    }

    /// Returns the state of each engine.
    pub fn states(&self) -> Vec<EngineState> {
        let states = self.states.borrow();
        let share = self.concurrency.div_ceil(states.len().max(1));
        states.iter().map(|state| state.show(share, &self.limits)).collect()
    }

    /// Opens a path in the container of a job's test on the engine of this name.
    pub async fn copy_out(&self, engine: &str, job: JobId, path: &str) -> Result<CopiedPath, NoCopy> {
        let member = self.members.iter().find(|member| member.engine.name() == engine).ok_or(NoCopy::Container)?;
        member.engine.copy_out(job, path).await
    }

    /// Has the engine of this name take no new job, or with `None` take jobs again. Jobs that have it are left alone.
    pub fn set_cordon(&self, name: &str, cordon: Option<Cordon>) {
        let index = self.states.borrow().iter().position(|state| state.name == name);
        if let Some(index) = index {
            self.members[index].change(|state| state.cordon = cordon);
        }
    }

    /// Leases an engine for this job: the one that has the layers of its repository, if that engine is well and not busy.
    /// The engine `avoid` is leased only if it is the only one. Waits while the engines have as many jobs as they may have.
    ///
    /// # Errors
    /// The engines that could run the job are cordoned; or no engine is usable, and none becomes so within seconds. The
    /// message names the trouble of each.
    pub async fn lease(&self, id: JobId, repository: &str, avoid: Option<&str>) -> Result<EngineLease, LeaseError> {
        let mut receiver = self.states.subscribe();
        let mut end = None;
        loop {
            receiver.borrow_and_update();
            end = match self.search(id, repository, avoid) {
                Search::Found(lease) => return Ok(lease),
                Search::Cordoned => return Err(LeaseError::Cordoned),
                Search::Busy => None,
                Search::Nothing => end.or(Some(Instant::now() + LEASE_TIMEOUT)),
            };
            let late = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The channel cannot be closed, because `self` holds its sender.
                _ = receiver.changed() => {}
                () = late => {
                    let troubles = self.status.borrow().troubles.join("; ");
                    let is_refused = self.states.borrow().iter().all(MemberState::is_refused);
                    let kind = if is_refused { ErrorKind::Access } else { ErrorKind::Engine };
                    return Err(LeaseError::Failed(EngineError::new(kind, advice::NO_ENGINE.fill(&[&troubles]))));
                }
            }
        }
    }

    fn search(&self, id: JobId, repository: &str, avoid: Option<&str>) -> Search {
        let mut chosen = None;
        let mut none = Search::Nothing;
        self.states.send_if_modified(|states| {
            let usable: Vec<_> = states.iter().enumerate().filter(|(_, state)| state.is_usable()).collect();
            let share = self.concurrency.div_ceil(usable.len().max(1));
            let free = usable.iter().filter(|(_, state)| !state.is_busy(self.concurrency));
            let candidates: Vec<_> = free
                .map(|(index, state)| Candidate {
                    index: *index,
                    name: &state.name,
                    used: state.used,
                    share: state.slots.unwrap_or(share),
                })
                .collect();
            chosen = choose(repository, &candidates, avoid);
            if !usable.is_empty() {
                none = Search::Busy;
            } else if states.iter().any(MemberState::is_well) {
                none = Search::Cordoned;
            }
            if let Some(index) = chosen {
                states[index].used += 1;
                states[index].jobs.push(EngineJob { id, repository: repository.into(), since: Millis::now() });
            }
            chosen.is_some()
        });
        let Some(index) = chosen else { return none };
        Search::Found(EngineLease {
            member: self.members[index].clone(),
            job: id,
            has_slot: true.into(),
            build: OnceLock::new(),
            unfinished: Mutex::default(),
        })
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
        *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(UnfinishedBuild::new(&id, build.network));
        let built = self.until_lost(self.member.engine.build(build, log)).await;
        let mut unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        match &built {
            Err(error) if error.kind == ErrorKind::Engine => {
                unfinished.iter_mut().for_each(|build| build.is_cut_off = error.is_cut_off);
            }
            _ => *unfinished = None,
        }
        drop(unfinished);
        let built = built?;
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

    /// Pulls an image that the engine lacks.
    pub async fn fetch_missing(
        &self,
        image: &PinnedImage,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<(), EngineError> {
        self.until_lost(self.member.engine.fetch_missing(image, auth, log)).await
    }

    /// Finds a cache like [`Engine::cache_source`]. An engine that is found dead has none, as the build then finds out, too.
    pub async fn cache_source(
        &self,
        images: &[ImageRef],
        auth: Option<&RegistryAuth>,
        has_inline_cache: bool,
        log: &dyn LogSink,
    ) -> Option<String> {
        let found = async { Ok(self.member.engine.cache_source(images, auth, has_inline_cache, log).await) };
        self.until_lost(found).await.ok().flatten()
    }

    /// Looks for files like [`Engine::files_with_attributes`].
    pub async fn files_with_attributes(&self, image: &str, most: usize) -> Result<Vec<String>, EngineError> {
        self.until_lost(self.member.engine.files_with_attributes(image, most)).await
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

    /// Gives the job's slot to another job, because this one only waits. The engine keeps the image.
    pub fn free_slot(&self) {
        if self.has_slot.swap(false, Relaxed) {
            self.member.change(|state| state.used -= 1);
        }
    }

    /// Returns true for an engine with BuildKit, whatever BUILDER says.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn has_buildkit(&self) -> Result<bool, EngineError> {
        self.until_lost(async { Ok(self.member.engine.info().await?.buildkit) }).await
    }

    /// Returns the path of the engine's socket on its machine.
    pub fn socket(&self) -> String {
        self.member.engine.socket()
    }

    /// Returns the labels of an image of this name, by which the daemon knows its images.
    pub fn image_labels(&self, image: &ImageRef) -> Vec<(String, String)> {
        let of_instance = self.member.engine.instance.iter().flat_map(|instance| instance.labels(image));
        of_instance.chain([(JOB_LABEL.to_owned(), self.job.to_string())]).collect()
    }

    /// Keeps images of these names until the lease ends, beside those that were built.
    pub fn hold(&self, names: &[ImageRef]) {
        let id = self.build.get_or_init(|| self.job.to_string()).clone();
        self.member.change(|state| {
            let held = state.builds.entry(id).or_insert_with(|| HeldImage { names: Vec::new(), id: None });
            held.names.extend_from_slice(names);
        });
    }

    /// Returns the id of the image that has this name.
    pub async fn image_id(&self, image: &ImageRef) -> Result<String, EngineError> {
        self.until_lost(self.member.engine.image_id(image)).await
    }

    /// Returns the containers that this job runs on the engine.
    pub fn containers(&self) -> Containers {
        Containers::new(self.member.clone(), self.job)
    }

    async fn until_lost<T>(&self, work: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        self.member.until_lost(work).await
    }
}

impl Drop for EngineLease {
    fn drop(&mut self) {
        let unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (unfinished, Handle::try_current()) {
            // The slot stays taken until the build is over.
            (Some(build), Ok(runtime)) if self.has_slot.swap(false, Relaxed) => {
                runtime.spawn(self.member.clone().end_build(build));
            }
            _ => self.free_slot(),
        }
        self.member.change(|state| {
            state.jobs.retain(|job| job.id != self.job);
            self.build.get().map(|id| state.builds.remove(id))
        });
        self.member.released.notify_one();
    }
}
