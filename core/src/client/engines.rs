use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApiClient, ClientError, Millis};

/// An engine as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteEngine {
    pub index: usize,
    pub name: String,
    pub version: Option<String>,
    pub builder: Option<String>,
    pub health: String,
    pub trouble: Option<String>,
    pub cordon_time: Option<Millis>,
    pub cordoned_by: Option<String>,
    pub draining: bool,
    pub slots: usize,
    pub used_slots: usize,
    pub jobs: Vec<RemoteEngineJob>,
    pub disk: RemoteEngineDisk,
}

/// A job that has the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteEngineJob {
    pub id: String,
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub stage: Option<String>,
    pub since: Millis,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteEngineDisk {
    pub free_bytes: Option<u64>,
    pub floor_bytes: u64,
    pub our_bytes: Option<u64>,
    pub budget_bytes: u64,
}

impl ApiClient {
    pub async fn engines(&self) -> Result<Vec<RemoteEngine>, ClientError> {
        self.json(self.request(Method::GET, &["engines"])).await
    }

    pub async fn cordon(&self, engine: &str) -> Result<RemoteEngine, ClientError> {
        self.json(self.request(Method::POST, &["engines", engine, "cordon"])).await
    }

    pub async fn uncordon(&self, engine: &str) -> Result<RemoteEngine, ClientError> {
        self.json(self.request(Method::POST, &["engines", engine, "uncordon"])).await
    }

    /// Cordons the engine, and with `now` puts its jobs back into the queue.
    pub async fn drain(&self, engine: &str, now: bool) -> Result<RemoteEngine, ClientError> {
        let body = json!({ "now": now });
        self.json(self.request(Method::POST, &["engines", engine, "drain"]).json(&body)).await
    }
}
