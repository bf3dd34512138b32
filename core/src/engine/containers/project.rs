//! The project that Docker Compose makes in an engine for a job: containers, one-off ones among them, networks and
//! volumes. compose labels all of it with the project's name, which is the job's id.
//!
//! `docker-compose down` is not used. It reads the file again, leaves a running one-off container if it is given no file
//! (seen with 2.40), and is not there when a job was cancelled or its daemon was killed. The labels are there in each case.
//!
//! The commit's files are in a volume of the job's name. compose, which runs in a container, has that volume at the very
//! path at which the engine's machine has it. A relative bind in a compose file, a file among them, is thereby one that
//! the engine finds on its machine, also on one that is not the daemon's. The volume is made before all else and removed
//! last, so a project without a live job is found by it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::VolumeCreateRequest;
use futures_util::future::join_all;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::Containers;
use super::transport::of_bollard;
use crate::engine::api::connect::{Host, SMALL_REQUEST};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::engine::upkeep::instance::CONTAINER_JOB_LABEL;

const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Number of times that the engine is asked whether anything is left, and the pause before each. A network cannot be
/// removed while a container is just being made in it.
const PASSES: usize = 5;
const PASS_PAUSE: Duration = Duration::from_millis(300);
/// Seconds that a container has to end by itself.
const GRACE: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<ListedVolume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedVolume {
    name: String,
    labels: Option<HashMap<String, String>>,
}

impl Containers {
    /// Makes the volume of a project, and returns its path on the engine's machine. What an earlier attempt left is removed.
    /// From now on the project's end is the containers'.
    pub async fn open_project(&self) -> Result<String, EngineError> {
        self.member.until_lost(Box::pin(self.try_open_project())).await
    }

    async fn try_open_project(&self) -> Result<String, EngineError> {
        let (engine, job) = (&self.member.engine, self.job.to_string());
        engine.remove(&format!("/containers/{job}?force=1&v=1")).await?;
        engine.remove_project(&job, false).await?;
        self.made.open_project();
        let labels = engine.instance.iter().flat_map(|instance| instance.container_labels(self.job)).collect();
        let volume = VolumeCreateRequest { name: Some(job), labels: Some(labels), ..Default::default() };
        Ok(self.docker().await?.create_volume(volume).await.map_err(of_bollard)?.mountpoint)
    }
}

impl Engine {
    /// Returns the path of the engine's socket on its machine. An engine that is reached in another way is taken to listen
    /// at Docker's usual path, too.
    pub(in crate::engine) fn socket(&self) -> String {
        match &self.host {
            Host::Unix(path) => path.display().to_string(),
            _ => "/var/run/docker.sock".into(),
        }
    }

    /// Removes a project, and returns how many things it had. With `keep` the volume of the commit's files stays.
    pub(in crate::engine) async fn remove_project(&self, job: &str, keep: bool) -> Result<usize, EngineError> {
        let query = filter(&format!("{PROJECT_LABEL}={job}"));
        let (mut removed, mut trouble) = (0, None);
        for pass in 0..PASSES {
            let containers: Vec<Made> = self.json(Method::GET, &format!("/containers/json?all=1&{query}")).await?;
            let networks: Vec<Made> = self.json(Method::GET, &format!("/networks?{query}")).await?;
            let volumes = self.volumes(&query).await?;
            if containers.is_empty() && networks.is_empty() && volumes.is_empty() {
                trouble = None;
                break;
            }
            if pass > 0 {
                sleep(PASS_PAUSE).await;
            }
            join_all(containers.iter().map(async |Made { id }| {
                // One that does not end by itself is killed with its removal.
                let _ = self.ask(Method::POST, &format!("/containers/{id}/stop?t={GRACE}"), SMALL_REQUEST).await;
            }))
            .await;
            let paths = containers.iter().map(|container| format!("/containers/{}?force=1&v=1", container.id));
            let paths = paths.chain(networks.iter().map(|network| format!("/networks/{}", network.id)));
            for path in paths.chain(volumes.iter().map(|volume| format!("/volumes/{}", volume.name))) {
                match self.remove(&path).await {
                    Ok(is_gone) => removed += usize::from(is_gone),
                    Err(error) => trouble = Some(error),
                }
            }
        }
        if let Some(error) = trouble {
            return Err(error);
        }
        // The container of a kept test has the volume.
        if !keep {
            removed += usize::from(self.remove(&format!("/volumes/{job}")).await?);
        }
        Ok(removed)
    }

    /// Removes the projects of this instance's jobs that `is_live` does not know, and returns how many things they had.
    pub(super) async fn remove_stray_projects(&self, is_live: impl Fn(&str) -> bool) -> Result<usize, EngineError> {
        let Some(instance) = &self.instance else { return Ok(0) };
        let mut removed = 0;
        for volume in self.volumes(&filter(&instance.container_filter())).await? {
            let job = volume.labels.as_ref().and_then(|labels| labels.get(CONTAINER_JOB_LABEL));
            if let Some(job) = job.filter(|job| **job == volume.name && !is_live(job)) {
                removed += self.remove_project(job, false).await?;
            }
        }
        Ok(removed)
    }

    async fn volumes(&self, query: &str) -> Result<Vec<ListedVolume>, EngineError> {
        let found: Volumes = self.json(Method::GET, &format!("/volumes?{query}")).await?;
        Ok(found.volumes.unwrap_or_default())
    }
}

/// Returns the query of a list of what has this label.
fn filter(label: &str) -> String {
    let filters = json!({ "label": [label] }).to_string();
    form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish()
}
