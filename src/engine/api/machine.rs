//! The machine that an engine runs on.

use std::path::PathBuf;

use hyper::Method;
use serde::Deserialize;

use super::connect::Host;
use super::engine::Engine;
use super::errors::EngineError;
use crate::model::Millis;

/// Facts that the engine reports about the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Folder of images and layers on that machine.
    pub data_root: PathBuf,
    pub clock: Millis,
}

impl Engine {
    /// Asks `/info`, which takes an engine some milliseconds.
    pub async fn machine(&self) -> Result<Machine, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct MachineInfo {
            docker_root_dir: PathBuf,
            system_time: String,
        }
        let info: MachineInfo = self.json(Method::GET, "/info").await?;
        let clock = info.system_time.parse().map_err(|e| {
            EngineError::engine(format!(
                "the Docker engine reports the time {:?}, which is not valid: {e}",
                info.system_time
            ))
        })?;
        Ok(Machine { data_root: info.docker_root_dir, clock })
    }

    /// Returns the engine's folder of images and layers if it is on a disk of this machine, because only then its free
    /// space can be read. An engine on another machine, or outside of our container, has no such folder.
    pub async fn folder(&self) -> Result<Option<PathBuf>, EngineError> {
        let Host::Unix(_) = self.host else { return Ok(None) };
        Ok(Some(self.machine().await?.data_root).filter(|folder| folder.is_dir()))
    }
}
