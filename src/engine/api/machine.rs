use std::path::PathBuf;

use hyper::Method;
use serde::Deserialize;

use super::connect::Host;
use super::engine::Engine;
use super::errors::EngineError;
use crate::model::Millis;

/// What the engine says of the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Where images and layers are, on that machine.
    pub data_root: PathBuf,
    pub clock: Millis,
}

impl Engine {
    /// Asks `/info`, which takes an engine some milliseconds.
    pub async fn machine(&self) -> Result<Machine, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            docker_root_dir: PathBuf,
            system_time: String,
        }
        let info: Info = self.host.json(Method::GET, "/info").await?;
        let clock = info.system_time.parse().map_err(|e| {
            EngineError::engine(format!(
                "the Docker engine says that it is {:?}, which is no time: {e}",
                info.system_time
            ))
        })?;
        Ok(Machine { data_root: info.docker_root_dir, clock })
    }

    /// Its folder of images and layers if that is on a disk of this machine, where its room can be seen: not of an
    /// engine on another one, or outside of our container.
    pub async fn folder(&self) -> Result<Option<PathBuf>, EngineError> {
        let Host::Unix(_) = self.host else { return Ok(None) };
        Ok(Some(self.machine().await?.data_root).filter(|folder| folder.is_dir()))
    }
}
