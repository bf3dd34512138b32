//! Removes containers of tests that the daemon left behind when it was killed, or that an engine kept while it was away.

use std::collections::HashMap;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::engine::api::connect::SMALL_REQUEST;
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::engine::upkeep::instance::{CONTAINER_JOB_LABEL, KEPT_LABEL};

/// The used part of a container in `GET /containers/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TestContainer {
    pub id: String,
    /// Names with a `/` before each.
    names: Vec<String>,
    pub labels: HashMap<String, String>,
    /// Seconds since the epoch.
    pub created: i64,
    /// `running`, `exited` and so on.
    state: String,
}

impl TestContainer {
    /// Returns the job. The container of an image that somebody made of ours inherits its labels, and not its name.
    fn job(&self) -> Option<&str> {
        let job = self.labels.get(CONTAINER_JOB_LABEL)?;
        self.names.iter().any(|name| name.trim_start_matches('/').starts_with(job.as_str())).then_some(job)
    }

    pub fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.trim_start_matches('/') == name)
    }

    /// Returns true if the container stays after its test, which has ended.
    pub fn is_kept(&self) -> bool {
        // Podman calls one that has ended `stopped` until it has cleaned up after it.
        let has_ended = ["exited", "stopped"].contains(&&*self.state);
        self.labels.get(KEPT_LABEL).is_some_and(|kept| kept == "1") && has_ended && self.job().is_some()
    }
}

impl Engine {
    /// Removes the containers of this instance's jobs that `is_live` does not know, but for those that are kept, with their anonymous volumes, and
    /// returns their number.
    pub(in crate::engine) async fn remove_strays(&self, is_live: impl Fn(&str) -> bool) -> Result<usize, EngineError> {
        let Some(instance) = &self.instance else { return Ok(0) };
        let mut removed = 0;
        for container in self.test_containers(&instance.container_filter()).await? {
            if container.is_kept() || container.job().is_none_or(&is_live) {
                continue;
            }
            removed += usize::from(self.remove(&format!("/containers/{}?force=1&v=1", container.id)).await?);
        }
        removed += self.remove_stray_projects(&is_live).await?;
        Ok(removed)
    }

    /// Returns the containers with this label, also those in which nothing runs.
    pub(super) async fn test_containers(&self, label: &str) -> Result<Vec<TestContainer>, EngineError> {
        let filters = json!({ "label": [label] }).to_string();
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("filters", &filters).finish();
        self.json(Method::GET, &format!("/containers/json?all=1&{query}")).await
    }

    /// Ends what runs in a container. One in which nothing runs is no error.
    pub(super) async fn kill(&self, id: &str) -> Result<(), EngineError> {
        match self.ask(Method::POST, &format!("/containers/{id}/kill"), SMALL_REQUEST).await {
            Err(e) if matches!(e.status, Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND)) => Ok(()),
            killed => killed.map(drop),
        }
    }
}
