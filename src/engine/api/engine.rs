//! One Docker engine, and the calls that are too small for a file of their own.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hyper::Method;
use serde::Deserialize;

use super::connect::{Host, invalid, no_body, request};
use super::errors::EngineError;
use crate::engine::buildkit::sync_slots::Slots;
use crate::engine::upkeep::sweep::Owner;
use crate::model::ImageRef;

/// The first API version with `POST /build?version=2` (Docker 18.09).
const BUILDKIT_API: (u32, u32) = (1, 39);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    pub api_version: String,
    pub buildkit: bool,
}

/// What matters here of `GET /version`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::engine) struct Version {
    pub(super) version: String,
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) platform: Platform,
    #[serde(default)]
    pub(super) components: Vec<Component>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Platform {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Component {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
}

impl Version {
    /// Podman has the same API, and an own builder behind it.
    pub(in crate::engine) fn is_podman(&self) -> bool {
        self.components.iter().any(|part| part.name.starts_with("Podman"))
    }

    pub(in crate::engine) fn info(&self) -> EngineInfo {
        let number = |text: &str| text.parse::<u32>().ok();
        let api = self.api_version.split_once('.').and_then(|(major, minor)| number(major).zip(number(minor)));
        let buildkit = api.is_some_and(|api| api >= BUILDKIT_API) && self.os == "linux" && !self.is_podman();
        EngineInfo { version: self.version.clone(), api_version: self.api_version.clone(), buildkit }
    }
}

/// Which of an engine's builders is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// BuildKit where the engine has it and takes sessions, else the classic one.
    Auto,
    Buildkit,
    Classic,
}

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
    pub(in crate::engine) builder: Builder,
    pub(in crate::engine) slots: Slots,
    /// How many builds the classic builder got because no session came through.
    pub(in crate::engine) fallbacks: AtomicU64,
    /// Set once the engine was seen to have BuildKit.
    pub(in crate::engine) has_buildkit: AtomicBool,
    /// Tells what we make in the engine from what others do.
    pub(in crate::engine) owner: Option<Owner>,
}

impl Engine {
    pub fn new(host: Host) -> Self {
        Self {
            host,
            builder: Builder::Auto,
            slots: Slots::default(),
            fallbacks: AtomicU64::new(0),
            has_buildkit: AtomicBool::new(false),
            owner: None,
        }
    }

    pub fn with_builder(self, builder: Builder) -> Self {
        Self { builder, ..self }
    }

    /// Marks what is made as this owner's.
    pub fn with_owner(self, owner: Owner) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Its address, as DOCKER_HOST has it.
    pub fn name(&self) -> String {
        self.host.to_string()
    }

    /// That it answers at all: the least that can be asked of it.
    pub(in crate::engine) async fn ping(&self) -> Result<(), EngineError> {
        let request = request(Method::GET, "/_ping").body(no_body()).map_err(invalid)?;
        self.host.send(request).await?.accepted().await.map(drop)
    }

    /// Asks the engine what it is, and gives the builder that it is used with; an error if it does not answer or has
    /// not the builder that was asked for.
    pub async fn check(&self) -> Result<Builder, EngineError> {
        let info = self.info().await?;
        self.has_buildkit.store(info.buildkit, Relaxed);
        match self.builder {
            Builder::Classic => Ok(Builder::Classic),
            _ if info.buildkit => Ok(Builder::Buildkit),
            Builder::Auto => Ok(Builder::Classic),
            Builder::Buildkit => Err(EngineError::engine(format!(
                "the engine at {} ({}) has no BuildKit: use Docker 18.09 or newer on Linux, or set BUILDER=auto",
                self.host, info.version
            ))),
        }
    }

    pub(in crate::engine) async fn builder_now(&self) -> Result<Builder, EngineError> {
        match self.builder {
            Builder::Classic => Ok(Builder::Classic),
            _ if self.has_buildkit.load(Relaxed) => Ok(Builder::Buildkit),
            _ => self.check().await,
        }
    }

    /// Asks the engine what it is; an error if it does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(self.version().await?.info())
    }

    pub(in crate::engine) async fn version(&self) -> Result<Version, EngineError> {
        self.host.json(Method::GET, "/version").await
    }

    /// Removes the tag, and the image if nothing else uses it. That it is not there is no error.
    pub async fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let path = format!("/images/{image}");
        match self.host.json::<serde_json::Value>(Method::DELETE, &path).await {
            Err(e) if e.message.contains("No such image") => Ok(()),
            result => result.map(|_| ()),
        }
    }
}
