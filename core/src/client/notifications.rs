use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{ApiClient, ClientError, Millis};

/// A notification as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteNotification {
    pub id: String,
    pub job: String,
    pub channel: String,
    pub host: Option<String>,
    /// `due`, `sent`, `replaced` or `dead`.
    pub state: String,
    pub attempts: u32,
    pub create_time: Millis,
    pub next_time: Option<Millis>,
    pub end_time: Option<Millis>,
    pub error: Option<String>,
}

impl ApiClient {
    /// Lists notifications, newest first, at most 1,000. A state or a job narrows the list.
    pub async fn notifications(
        &self,
        limit: u32,
        state: Option<&str>,
        job: Option<&str>,
    ) -> Result<Vec<RemoteNotification>, ClientError> {
        let filters = [("state", state), ("job", job)];
        let filters: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        self.json(self.request(Method::GET, &["notifications"]).query(&[("limit", limit)]).query(&filters)).await
    }

    /// Has a dead notification sent again.
    pub async fn replay_notification(&self, id: &str) -> Result<RemoteNotification, ClientError> {
        self.json(self.request(Method::POST, &["notifications", id, "replay"])).await
    }
}
