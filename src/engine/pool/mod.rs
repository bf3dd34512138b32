//! Several engines as one: which of them are well, which one a job gets, what happens when one goes and when it comes
//! back.

mod choice;
mod watching;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::disk::Floor;
use crate::engine::Engine;
use crate::engine::api::errors::{EngineError, ErrorKind};
use crate::engine::build::{BuildRequest, Built};
use crate::engine::upkeep::prune::Limits;
use crate::engine::upkeep::sweep::Owner;
use crate::model::{ImageRef, LogSink};
use crate::secrets::RegistryAuth;
use choice::{Candidate, choose};

/// So long a job waits for an engine that is just being restarted; then it fails, and is tried again later.
const WAIT: Duration = Duration::from_secs(10);

pub struct PoolConfig {
    pub owner: Owner,
    /// CONCURRENCY: how many jobs all engines together have.
    pub concurrency: usize,
    pub floor: Floor,
    /// ENGINE_BUDGET, bytes.
    pub budget: u64,
}

/// How an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    /// It was not asked yet.
    Unknown,
    Well,
    /// It cannot be reached, and why. What runs there may go on: if it is dead, the connections break by themselves.
    Away(String),
    /// It takes requests and answers none, and why. What runs there is given up.
    Silent(String),
}

/// What is known of an engine.
#[derive(Debug)]
struct State {
    name: String,
    health: Health,
    /// Why its disk has too little room; also before it was looked at.
    full: Option<String>,
    /// The log says that it has.
    warned: bool,
    /// Jobs that have it.
    running: usize,
    /// By the build.
    builds: HashMap<String, Held>,
}

/// What a job has in an engine, and must not lose before it is pushed.
#[derive(Debug)]
struct Held {
    names: Vec<ImageRef>,
    /// The image itself, once it is built: it may have no name yet.
    image: Option<String>,
}

impl State {
    fn is_usable(&self) -> bool {
        self.health == Health::Well && self.full.is_none()
    }

    fn trouble(&self) -> Option<String> {
        match &self.health {
            Health::Unknown => Some(format!("the Docker engine at {} was not asked yet", self.name)),
            Health::Away(why) | Health::Silent(why) => Some(why.clone()),
            Health::Well => self.full.clone(),
        }
    }
}

/// What matters to others of all engines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Engines {
    /// A job can have one.
    pub usable: bool,
    /// Each by its name: can a job have it?
    pub each: Vec<(String, bool)>,
    /// What is wrong with each that has trouble, a line each.
    pub troubles: Vec<String>,
}

impl Engines {
    fn of(states: &[State]) -> Self {
        Self {
            usable: states.iter().any(State::is_usable),
            each: states.iter().map(|state| (state.name.clone(), state.is_usable())).collect(),
            troubles: states.iter().filter_map(State::trouble).collect(),
        }
    }
}

/// One of the engines.
struct Member {
    engine: Engine,
    /// Its place among the states.
    index: usize,
    states: Arc<watch::Sender<Vec<State>>>,
    seen: Arc<watch::Sender<Engines>>,
    /// Somebody had trouble with it.
    doubt: Notify,
    /// A job has ended there.
    used: Notify,
}

/// The engines of a node.
pub struct Pool {
    members: Vec<Arc<Member>>,
    states: Arc<watch::Sender<Vec<State>>>,
    seen: Arc<watch::Sender<Engines>>,
    concurrency: usize,
}

/// An engine for one job; it counts as busy until this is dropped.
pub struct EngineLease {
    member: Arc<Member>,
    /// Set once it builds.
    build: std::sync::OnceLock<String>,
}

impl Pool {
    /// At least one engine. They are watched until `stop`.
    pub fn start(engines: Vec<Engine>, config: PoolConfig, stop: &CancellationToken) -> Arc<Self> {
        let state = |engine: &Engine| State {
            name: engine.name(),
            health: Health::Unknown,
            full: Some(format!("the disk of the Docker engine at {} was not looked at yet", engine.name())),
            warned: false,
            running: 0,
            builds: HashMap::new(),
        };
        let states: Vec<_> = engines.iter().map(state).collect();
        let seen = Arc::new(watch::Sender::new(Engines::of(&states)));
        let states = Arc::new(watch::Sender::new(states));
        let limits = Limits { floor: config.floor, budget: config.budget };
        let member = |(index, engine): (usize, Engine)| {
            let member = Arc::new(Member {
                engine: engine.with_owner(config.owner.clone()),
                index,
                states: states.clone(),
                seen: seen.clone(),
                doubt: Notify::new(),
                used: Notify::new(),
            });
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_health()));
            tokio::spawn(stop.clone().run_until_cancelled_owned(member.clone().watch_room(limits)));
            member
        };
        let members = engines.into_iter().enumerate().map(member).collect();
        Arc::new(Self { members, states, seen, concurrency: config.concurrency })
    }

    /// How the engines are, and how they will be.
    pub fn watch(&self) -> watch::Receiver<Engines> {
        self.seen.subscribe()
    }

    /// An engine for a job of this repository (`acme/hello`): the one that its layers are on, if that is well and not
    /// busy, and not `avoid` if there is another.
    ///
    /// # Errors
    /// None is well, and none comes back within seconds; what is wrong with each.
    pub async fn lease(&self, repo: &str, avoid: Option<&str>) -> Result<EngineLease, EngineError> {
        let mut receiver = self.states.subscribe();
        let taken = async {
            loop {
                receiver.borrow_and_update();
                if let Some(lease) = self.try_lease(repo, avoid) {
                    return lease;
                }
                if receiver.changed().await.is_err() {
                    std::future::pending::<()>().await; // the pool is held by `self`
                }
            }
        };
        let late =
            |_| EngineError::engine(format!("no engine can build now: {}", self.seen.borrow().troubles.join("; ")));
        tokio::time::timeout(WAIT, taken).await.map_err(late)
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

impl Member {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) {
        self.states.send_modify(|states| {
            change(&mut states[self.index]);
        });
        // Looked at under the lock of `seen`, so that the last of several that change is not overtaken.
        self.seen.send_if_modified(|seen| {
            let now = Engines::of(&self.states.borrow());
            let is_new = *seen != now;
            *seen = now;
            is_new
        });
    }
}

impl EngineLease {
    /// The engine's address.
    pub fn engine(&self) -> String {
        self.member.engine.name()
    }

    /// As [`Engine::build`], and ends at once when the engine is found dead. `names` are all that the image will have.
    pub async fn build(
        &self,
        mut build: BuildRequest<'_>,
        names: &[ImageRef],
        log: &dyn LogSink,
    ) -> Result<Built, EngineError> {
        let id = self.build.get_or_init(|| build.build_id.clone()).clone();
        let held = Held { names: names.to_vec(), image: None };
        self.member.change(|state| state.builds.insert(id.clone(), held));
        if let (Some(owner), Some(image)) = (&self.member.engine.owner, names.first()) {
            build.labels.extend(owner.labels(image));
        }
        let built = self.until_lost(self.member.engine.build(build, log)).await?;
        let image = built.image_id.clone();
        self.member.change(|state| state.builds.get_mut(&id).map(|held| held.image = Some(image)));
        Ok(built)
    }

    /// As [`Engine::tag`].
    pub async fn tag(&self, id: &str, image: &ImageRef) -> Result<(), EngineError> {
        self.until_lost(self.member.engine.tag(id, image)).await
    }

    /// As [`Engine::push`], and ends at once when the engine is found dead.
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
            self.member.doubt.notify_one();
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
        self.member.used.notify_one();
    }
}
