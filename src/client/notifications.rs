use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Client, ClientError, Millis};

/// A notification as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    pub id: String,
    pub job: String,
    pub channel: String,
    pub host: Option<String>,
    /// due, sent, replaced or dead
    pub state: String,
    pub attempts: u32,
    pub create_time: Millis,
    pub next_time: Option<Millis>,
    pub end_time: Option<Millis>,
    pub error: Option<String>,
}

impl Client {
    /// Newest first, at most 1,000; of one state or one job if that is said.
    pub async fn notifications(
        &self,
        limit: u32,
        state: Option<&str>,
        job: Option<&str>,
    ) -> Result<Vec<Notification>, ClientError> {
        let wanted = [("state", state), ("job", job)];
        let wanted: Vec<_> = wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        self.json(self.request(Method::GET, &["notifications"]).query(&[("limit", limit)]).query(&wanted)).await
    }

    /// Has a dead one sent again.
    pub async fn replay_notification(&self, id: &str) -> Result<Notification, ClientError> {
        self.json(self.request(Method::POST, &["notifications", id, "replay"])).await
    }
}
