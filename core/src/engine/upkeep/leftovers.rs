//! Removes what a build that died with its engine left there, and nothing that others made.
//!
//! When the daemon dies, both builders stop and remove what they made, because their connection ends. When the engine
//! is killed (seen with 20.10 and 26.1), the classic builder leaves the container of its step, which the engine stops
//! at its next start, and that container's volumes. BuildKit leaves the step's processes, see [`super::orphans`]. The
//! images of finished steps are the classic builder's cache, which the next attempt uses. A push leaves its image
//! under its name until a later attempt gives the name to another image.

use std::collections::HashSet;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::instance::EngineImage;
use crate::engine::api::connect::SMALL_REQUEST;
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerDetails {
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    extra_hosts: Option<Vec<String>>,
}

impl Engine {
    /// Removes the containers, images and processes of this instance's builds that `is_live` does not know, and returns
    /// their number. It is called when none of those builds runs.
    pub(in crate::engine) async fn remove_leftovers(
        &self,
        is_live: impl Fn(&str) -> bool,
    ) -> Result<usize, EngineError> {
        let Some(instance) = &self.instance else { return Ok(0) };
        let mut removed = self.kill_orphans().await + self.kill_abandoned(&is_live).await;
        let containers: Vec<Container> = self.json(Method::GET, "/containers/json?all=1").await?;
        for Container { id } in containers {
            // A container may have been removed since it was listed.
            let Ok(details) = self.json::<ContainerDetails>(Method::GET, &format!("/containers/{id}/json")).await
            else {
                continue;
            };
            let hosts = details.host_config.extra_hosts.unwrap_or_default();
            if hosts.iter().filter_map(|host| instance.build_of(host)).any(|build| !is_live(build)) {
                // `v=1` removes the anonymous volumes too.
                removed += usize::from(self.remove(&format!("/containers/{id}?force=1&v=1")).await?);
            }
        }
        let images: Vec<EngineImage> = self.json(Method::GET, "/images/json").await?;
        let ours: Vec<_> = images.iter().filter(|image| instance.owns(image)).collect();
        let named: HashSet<_> = ours.iter().filter(|image| image.tags().next().is_some()).map(|i| i.job()).collect();
        // An image without a name is of an earlier attempt, if a later attempt of the same job has a name.
        for image in ours.iter().filter(|image| image.tags().next().is_none()) {
            if image.job().is_some() && named.contains(&image.job()) {
                removed += usize::from(self.remove(&format!("/images/{}", image.id)).await?);
            }
        }
        Ok(removed)
    }

    /// Removes one object and returns true if it is gone. Objects in use stay.
    pub(in crate::engine) async fn remove(&self, path: &str) -> Result<bool, EngineError> {
        match self.ask(Method::DELETE, path, SMALL_REQUEST).await {
            Ok(_) => Ok(true),
            // The object is gone, is being removed, or is in use.
            Err(e) if matches!(e.status, Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT)) => Ok(false),
            Err(e) if ["No such", "already in progress", "conflict"].iter().any(|part| e.message.contains(part)) => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}
