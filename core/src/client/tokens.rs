use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ApiClient, ClientError, Millis};

/// A token as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteToken {
    pub name: String,
    pub role: String,
    /// Empty: all repositories.
    pub repositories: Vec<String>,
    /// `settings` or `store`.
    pub source: String,
    pub create_time: Option<Millis>,
    pub created_by: Option<String>,
    pub last_use_time: Option<Millis>,
    /// The token itself, in the answer to its making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl ApiClient {
    pub async fn tokens(&self) -> Result<Vec<RemoteToken>, ClientError> {
        self.json(self.request(Method::GET, &["tokens"])).await
    }

    /// Makes a token, which is limited to the repositories if there are any.
    pub async fn add_token(&self, name: &str, role: &str, repositories: &[String]) -> Result<RemoteToken, ClientError> {
        let body = json!({ "name": name, "role": role, "repositories": repositories });
        self.json(self.request(Method::POST, &["tokens"]).json(&body)).await
    }

    pub async fn revoke_token(&self, name: &str) -> Result<RemoteToken, ClientError> {
        self.json(self.request(Method::POST, &["tokens", name, "revoke"])).await
    }
}
