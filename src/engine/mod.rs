//! A Docker engine: builds from a Git tree, pushes, and what belongs to it.

mod build;
mod connect;
mod doctor;
mod errors;
mod filesync;
mod filter;
mod follow;
mod glob;
mod grpc;
mod lines;
mod machine;
mod packet;
mod pattern;
mod progress;
mod push;
mod session;
mod slots;
mod tar;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::Method;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::model::ImageRef;

pub use build::{BuildRequest, Built};
pub use connect::Host;
pub use doctor::EngineReport;
pub use errors::{EngineError, ErrorKind};
pub use filesync::SyncStats;
pub use machine::Machine;

use slots::Slots;

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
struct Version {
    version: String,
    api_version: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    platform: Platform,
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
    #[serde(default)]
    version: String,
}

impl Version {
    /// Podman has the same API, and an own builder behind it.
    fn is_podman(&self) -> bool {
        self.components.iter().any(|part| part.name.starts_with("Podman"))
    }

    fn info(&self) -> EngineInfo {
        let number = |text: &str| text.parse::<u32>().ok();
        let api = self.api_version.split_once('.').and_then(|(major, minor)| number(major).zip(number(minor)));
        let buildkit = api.is_some_and(|api| api >= BUILDKIT_API) && self.os == "linux" && !self.is_podman();
        EngineInfo { version: self.version.clone(), api_version: self.api_version.clone(), buildkit }
    }
}

/// One Docker engine.
pub struct Engine {
    host: Host,
    slots: Slots,
    fallbacks: AtomicU64,
    /// Set once the engine was seen to have BuildKit.
    has_buildkit: OnceCell<()>,
}

impl Engine {
    pub fn new(host: Host) -> Self {
        Self { host, slots: Slots::default(), fallbacks: AtomicU64::new(0), has_buildkit: OnceCell::new() }
    }

    /// Asks the engine what it is; an error if it does not answer.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(self.version().await?.info())
    }

    async fn version(&self) -> Result<Version, EngineError> {
        self.host.json(Method::GET, "/version").await
    }

    async fn wants_buildkit(&self) -> Result<(), EngineError> {
        let ask = async || match self.info().await? {
            EngineInfo { buildkit: true, .. } => Ok(()),
            EngineInfo { version, .. } => Err(EngineError::engine(format!(
                "the engine at {} ({version}) has no BuildKit: use Docker 18.09 or newer on Linux",
                self.host
            ))),
        };
        self.has_buildkit.get_or_try_init(ask).await.copied()
    }

    /// Removes the tag, and the image if nothing else uses it. That it is not there is no error.
    pub async fn remove_image(&self, image: &ImageRef) -> Result<(), EngineError> {
        let path = format!("/images/{image}");
        match self.host.json::<serde_json::Value>(Method::DELETE, &path).await {
            Err(e) if e.message.contains("No such image") => Ok(()),
            result => result.map(|_| ()),
        }
    }

    /// How many builds were sent as a tar since the start.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Relaxed)
    }
}
