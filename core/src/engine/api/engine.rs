//! One Docker engine: what it is, which of its builders is used, and the calls that are too small for a file.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};

use super::connect::{Host, invalid, no_body, request};
use super::errors::EngineError;
use super::version::{EngineInfo, EngineKind};
use crate::engine::advice::{self, with_cure};
use crate::engine::buildkit::sync_slots::SyncSlots;
use crate::engine::upkeep::instance::Instance;
use crate::model::{Builder, ImageRef};
use crate::registry::Registries;

impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "either builder",
            Self::Buildkit => "BuildKit",
            Self::Classic => "the classic builder",
        })
    }
}

/// One Docker engine.
pub struct Engine {
    pub(in crate::engine) host: Host,
    /// `None` before the engine was asked.
    pub(super) kind: Mutex<Option<EngineKind>>,
    pub(in crate::engine) builder: Builder,
    pub(in crate::engine) slots: SyncSlots,
    /// Number of builds that the classic builder got because no session was possible.
    pub(in crate::engine) fallbacks: AtomicU64,
    /// True once a check found BuildKit in the engine.
    pub(in crate::engine) has_buildkit: AtomicBool,
    /// The daemon that marks its images and containers in the engine, to know them later.
    pub(in crate::engine) instance: Option<Instance>,
    /// Number of jobs that it may have at once, if it has a limit of its own.
    pub(in crate::engine) most_jobs: Option<usize>,
    /// The registries whose logins the engine gets.
    pub(in crate::engine) registries: Arc<Registries>,
}

impl Engine {
    pub fn new(host: Host) -> Self {
        Self {
            host,
            kind: Mutex::default(),
            builder: Builder::Auto,
            slots: SyncSlots::default(),
            fallbacks: AtomicU64::new(0),
            has_buildkit: AtomicBool::new(false),
            instance: None,
            most_jobs: None,
            registries: Arc::default(),
        }
    }

    pub fn with_builder(self, builder: Builder) -> Self {
        Self { builder, ..self }
    }

    /// Limits the number of jobs that it has at once.
    pub fn with_slots(self, slots: Option<usize>) -> Self {
        Self { most_jobs: slots, ..self }
    }

    /// Gives out the logins of registries as far as these allow it.
    pub fn with_registries(self, registries: Arc<Registries>) -> Self {
        Self { registries, ..self }
    }

    /// Marks images and containers that are made as this instance's.
    pub fn with_instance(self, instance: Instance) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Returns the address in the form of DOCKER_HOST.
    pub fn name(&self) -> String {
        self.host.to_string()
    }

    /// Connects to the engine's machine, if that needs a connection of its own.
    pub fn host(&self) -> &Host {
        &self.host
    }

    pub(in crate::engine) async fn reach(&self) -> Result<(), EngineError> {
        self.host.reach().await.map(drop)
    }

    /// Sends the smallest request that there is, to learn whether the engine answers.
    pub(in crate::engine) async fn ping(&self) -> Result<(), EngineError> {
        let request = request(Method::GET, "/_ping").body(no_body()).map_err(invalid)?;
        self.host.send(request).await?.accepted().await.map(drop)
    }

    /// Asks the engine for its version, and returns it with the builder that is used.
    ///
    /// # Errors
    /// The engine does not answer, or lacks the builder that the setting names.
    pub async fn check(&self) -> Result<(String, Builder), EngineError> {
        let info = self.info().await?;
        self.has_buildkit.store(info.buildkit, Relaxed);
        let builder = match self.builder {
            Builder::Classic => Builder::Classic,
            _ if info.buildkit => Builder::Buildkit,
            Builder::Auto => Builder::Classic,
            Builder::Buildkit => {
                return Err(EngineError::named_engine(with_cure(&advice::NO_BUILDKIT, &[&self.host, &info.version])));
            }
        };
        Ok((info.version, builder))
    }

    pub(in crate::engine) async fn builder_now(&self) -> Result<Builder, EngineError> {
        match self.builder {
            Builder::Classic => Ok(Builder::Classic),
            _ if self.has_buildkit.load(Relaxed) => Ok(Builder::Buildkit),
            _ => self.check().await.map(|(_, builder)| builder),
        }
    }

    /// Asks the engine for its version and what it can do.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(self.version().await?.info())
    }

    /// Removes the tag, and the image if nothing else uses it. A tag that does not exist is no error.
    pub async fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let path = format!("/images/{image}");
        match self.json::<serde_json::Value>(Method::DELETE, &path).await {
            Err(e) if e.status == Some(StatusCode::NOT_FOUND) => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
