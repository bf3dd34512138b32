//! The machine that an engine runs on.

use std::path::{Path, PathBuf};

use hyper::Method;
use serde::Deserialize;

use super::connect::Host;
use super::engine::Engine;
use super::errors::EngineError;
use crate::model::Millis;

/// Where a containerd listens that is a service of its own, and keeps its data, unless its configuration says
/// otherwise. One that dockerd started is below dockerd's folders.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// Facts that the engine reports about the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Folder of images and layers on that machine.
    pub data_root: PathBuf,
    /// Folder of a containerd that is a service of its own.
    pub containerd_root: Option<PathBuf>,
    /// True if containerd keeps the images, and not the engine itself.
    pub has_containerd_store: bool,
    pub clock: Millis,
}

/// The used part of `GET /info`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MachineInfo {
    docker_root_dir: PathBuf,
    system_time: String,
    /// Pairs of a name and a value.
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    containerd: Option<Containerd>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Containerd {
    address: PathBuf,
}

impl MachineInfo {
    fn machine(self) -> Result<Machine, EngineError> {
        let clock = self.system_time.parse().map_err(|e| {
            let time = &self.system_time;
            EngineError::engine(format!("the Docker engine reports the time {time:?}, which is not valid: {e}"))
        })?;
        let is_service = self.containerd.is_some_and(|it| it.address == Path::new(CONTAINERD_SOCKET));
        let status = self.driver_status.unwrap_or_default();
        Ok(Machine {
            data_root: self.docker_root_dir,
            containerd_root: is_service.then(|| CONTAINERD_ROOT.into()),
            has_containerd_store: status.iter().flatten().any(|word| word == "io.containerd.snapshotter.v1"),
            clock,
        })
    }
}

impl Engine {
    /// Asks `/info`, which takes an engine some milliseconds.
    pub async fn machine(&self) -> Result<Machine, EngineError> {
        self.json::<MachineInfo>(Method::GET, "/info").await?.machine()
    }

    /// Returns the engine's folders of images and layers that are on disks of this machine, because only then their free
    /// space can be read. An engine on another machine, or outside of our container, has none.
    pub async fn folders(&self) -> Result<Vec<PathBuf>, EngineError> {
        let Host::Unix(_) = self.host else { return Ok(vec![]) };
        let machine = self.machine().await?;
        let folders = [Some(machine.data_root), machine.containerd_root];
        Ok(folders.into_iter().flatten().filter(|folder| folder.is_dir()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn machine(status: Value, containerd: Value) -> Machine {
        let info = json!({ "DockerRootDir": "/var/lib/docker", "SystemTime": "2026-11-29T12:00:00Z",
            "DriverStatus": status, "Containerd": containerd });
        serde_json::from_value::<MachineInfo>(info).unwrap().machine().unwrap()
    }

    /// The answers are those of 28.5 with containerd as a service and with its own, of 20.10, and of Podman.
    #[test]
    fn the_disks_and_the_store_of_an_engine_are_known() {
        let store = json!([["driver-type", "io.containerd.snapshotter.v1"]]);
        let service = machine(store, json!({ "Address": "/run/containerd/containerd.sock" }));
        assert_eq!(service.containerd_root.as_deref(), Some(Path::new("/var/lib/containerd")));
        assert!(service.has_containerd_store && service.data_root == Path::new("/var/lib/docker"));
        for (status, containerd) in [
            (json!([["Backing Filesystem", "extfs"]]), json!({ "Address": "/run/docker/containerd/containerd.sock" })),
            (json!([["Backing Filesystem", "extfs"]]), Value::Null),
            (Value::Null, Value::Null),
        ] {
            let machine = machine(status, containerd);
            assert!(machine.containerd_root.is_none() && !machine.has_containerd_store, "{machine:?}");
        }
    }
}
