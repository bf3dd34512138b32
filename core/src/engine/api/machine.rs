//! The machine that an engine runs on.

use std::path::{Path, PathBuf};

use hyper::Method;
use serde::Deserialize;

use super::connect::Host;
use super::engine::Engine;
use super::errors::EngineError;
use crate::model::Millis;

/// Where a containerd listens that is a service of its own. One that dockerd started is below dockerd's folders.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// Its configuration, containerd-config.toml(5), which every user may read.
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Where it keeps its data unless the configuration says otherwise.
const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// Facts that the engine reports about the machine that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Folder of images and layers on that machine.
    pub data_root: PathBuf,
    /// Socket of the engine's containerd; `None` for an engine that does not tell, as Docker before API 1.46 and Podman.
    pub containerd: Option<PathBuf>,
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
        let status = self.driver_status.unwrap_or_default();
        Ok(Machine {
            data_root: self.docker_root_dir,
            containerd: self.containerd.map(|it| it.address),
            has_containerd_store: status.iter().flatten().any(|word| word == "io.containerd.snapshotter.v1"),
            clock,
        })
    }
}

impl Machine {
    /// Returns true if the engine uses the containerd that is a service of its own. `is_there` says whether there is one.
    /// An engine that does not tell takes it by itself then, and has data there if it has containerd keep the images.
    fn uses_service(&self, is_there: bool) -> bool {
        match &self.containerd {
            Some(socket) => socket == Path::new(CONTAINERD_SOCKET),
            None => self.has_containerd_store && is_there,
        }
    }
}

/// Reads from a containerd's configuration where its data are. One that cannot be read counts as empty.
fn containerd_root(config: &str) -> PathBuf {
    #[derive(Deserialize)]
    struct Config {
        root: Option<PathBuf>,
    }
    let config = toml::from_str::<Config>(config).ok();
    let root = config.and_then(|config| config.root).filter(|root| !root.as_os_str().is_empty());
    root.unwrap_or_else(|| CONTAINERD_ROOT.into())
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
        let root = machine
            .uses_service(Path::new(CONTAINERD_SOCKET).exists())
            .then(|| containerd_root(&std::fs::read_to_string(CONTAINERD_CONFIG).unwrap_or_default()));
        let folders = [Some(machine.data_root), root];
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

    /// The answers are those of 28.5 with containerd as a service and with its own, of 26.1 and 20.10, and of Podman.
    #[test]
    fn the_containerd_of_an_engine_is_known() {
        let (service, own) = ("/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock");
        let (store, classic) =
            (json!([["driver-type", "io.containerd.snapshotter.v1"]]), json!([["Backing Filesystem", "extfs"]]));
        for (status, address, has_store, uses) in [
            (&store, json!({ "Address": service }), true, [true, true]),
            (&classic, json!({ "Address": service }), false, [true, true]),
            (&store, json!({ "Address": own }), true, [false, false]),
            (&store, Value::Null, true, [true, false]),
            (&classic, Value::Null, false, [false, false]),
            (&Value::Null, Value::Null, false, [false, false]),
        ] {
            let machine = machine(status.clone(), address);
            assert_eq!(machine.has_containerd_store, has_store, "{machine:?}");
            assert_eq!([true, false].map(|is_there| machine.uses_service(is_there)), uses, "{machine:?}");
        }
    }

    #[test]
    fn containerds_folder_is_read_from_its_configuration() {
        for (config, root) in [
            ("", CONTAINERD_ROOT),
            (
                "version = 2\n[plugins]\n  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/o\"\n",
                CONTAINERD_ROOT,
            ),
            ("version = 3\nroot = '/data/containerd'\nstate = '/run/containerd'\n", "/data/containerd"),
            ("root = \"\"\n", CONTAINERD_ROOT),
            ("root = 1\n", CONTAINERD_ROOT),
            ("no toml", CONTAINERD_ROOT),
        ] {
            assert_eq!(containerd_root(config), Path::new(root), "{config}");
        }
    }
}
