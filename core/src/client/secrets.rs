use reqwest::Method;
use serde::Deserialize;

use super::{ApiClient, ClientError};

/// The secrets that the server has read; see api.md.
#[derive(Debug, Deserialize)]
pub struct RemoteSecrets {
    /// The place as `secrets check` names it; empty before the first read.
    pub place: String,
    pub secrets: Vec<RemoteSecret>,
    pub trouble: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct RemoteSecret {
    pub name: String,
    pub fingerprint: Option<String>,
    pub valid: bool,
}

impl RemoteSecrets {
    pub fn find(&self, name: &str) -> Option<&RemoteSecret> {
        self.secrets.iter().find(|secret| secret.name == name)
    }
}

impl ApiClient {
    pub async fn secrets(&self) -> Result<RemoteSecrets, ClientError> {
        self.json(self.request(Method::GET, &["secrets"])).await
    }
}
