use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::api::{ApiResponse, GitHubApi};
use super::app::App;
use super::config::{GitHubAccess, GitHubConfig, GitHubError};
use crate::model::{JobId, RepoName};
use crate::notify::forge::status::CommitStatus;
use crate::notify::send_error::SendError;

/// The limit for everything that one status takes: its token, redirects, the status itself.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The source of the API's tokens.
enum TokenSource {
    Fixed(Zeroizing<String>),
    App(App),
}

/// GitHub's API with one token or App.
pub struct GitHub {
    api: GitHubApi,
    tokens: TokenSource,
    base_url: String,
}

impl GitHub {
    pub fn new(config: GitHubConfig) -> Result<Self, GitHubError> {
        let tokens = match config.access {
            GitHubAccess::Token(token) if !token.bytes().all(|b| b.is_ascii_graphic()) => {
                return Err(GitHubError::Token);
            }
            GitHubAccess::Token(token) => TokenSource::Fixed(token),
            GitHubAccess::App { id, private_key, installation } => {
                TokenSource::App(App::new(id, &private_key, installation)?)
            }
        };
        Ok(Self { api: GitHubApi::new(&config.api, config.authorities)?, tokens, base_url: config.base_url })
    }

    /// Returns the API's host.
    pub(in crate::notify::forge) fn host(&self) -> &str {
        self.api.host()
    }

    /// Waits until GitHub answers after it did not.
    pub(in crate::notify::forge) async fn recovered(&self) {
        self.api.recovered().await;
    }

    /// Sets a status.
    pub(in crate::notify::forge) async fn set(&self, job: JobId, status: &CommitStatus) -> Result<(), SendError> {
        let set = async {
            let repo = status.repo()?;
            let path = format!("/repos/{}/{}/statuses/{}", repo.owner(), repo.name(), status.sha);
            let body = json!({
                "state": status.state,
                "context": status.context,
                "description": status.description,
                "target_url": self.target(job, status),
            });
            let response = self.call(&repo, Method::POST, &path, Some(&body)).await?;
            if response.status.is_success() { Ok(()) } else { Err(refusal(&repo, &response)) }
        };
        timeout(TIMEOUT, set).await.unwrap_or_else(|_| Err(late()))
    }

    /// Returns whether GitHub shows this status, or that of a later job, or has no such commit and so no use for one.
    pub(in crate::notify::forge) async fn has(&self, job: JobId, status: &CommitStatus) -> Result<bool, SendError> {
        let repo = status.repo()?;
        let path = format!("/repos/{}/{}/commits/{}/status?per_page=100", repo.owner(), repo.name(), status.sha);
        let call = timeout(TIMEOUT, self.call(&repo, Method::GET, &path, None)).await;
        let response = call.map_err(|_| late())??;
        match response.status {
            status if status.is_success() => {}
            StatusCode::UNPROCESSABLE_ENTITY => return Ok(true),
            _ => return Err(refusal(&repo, &response)),
        }
        let mut shown = response.body["statuses"].as_array().into_iter().flatten();
        let shown = shown.find(|shown| shown["context"] == status.context.as_str());
        Ok(shown.is_some_and(|shown| self.is_current(job, status, shown)))
    }

    fn is_current(&self, job: JobId, status: &CommitStatus, shown: &Value) -> bool {
        let target = shown["target_url"].as_str().unwrap_or_default();
        if target == self.target(job, status) {
            return shown["state"] == json!(status.state);
        }
        let path = target.strip_prefix(&self.base_url);
        let other = path.and_then(|path| path.strip_prefix("/job/").or(path.strip_prefix("/logs/"))?.parse().ok());
        // Ids sort by the time at which they were made.
        other.is_some_and(|other: JobId| other > job)
    }

    fn target(&self, job: JobId, status: &CommitStatus) -> String {
        format!("{}{}", self.base_url, status.path(job))
    }

    /// Calls the API with this repository's token, and once more with a new token if GitHub refuses the App's.
    async fn call(
        &self,
        repo: &RepoName,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<ApiResponse, SendError> {
        let app = match &self.tokens {
            TokenSource::Fixed(token) => {
                let response = self.api.call(method, path, token, body).await?;
                return match response.status {
                    StatusCode::UNAUTHORIZED => Err(SendError::permanent(
                        "GitHub does not know GITHUB_TOKEN, or no longer: set a valid one and start again",
                    )),
                    _ => Ok(response),
                };
            }
            TokenSource::App(app) => app,
        };
        let mut refused = None;
        for _ in 0..2 {
            let token = app.token(&self.api, repo, refused.as_ref()).await?;
            let response = self.api.call(method.clone(), path, &token, body).await?;
            if response.status != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            refused = Some(token);
        }
        Err(SendError::permanent("GitHub refuses the token that it has just given to the App: see its settings page"))
    }
}

fn late() -> SendError {
    SendError::transient(format!("GitHub did not answer within {} s", TIMEOUT.as_secs()))
}

/// Explains a response for this repository that is no success, and what to do about it.
fn refusal(repo: &RepoName, response: &ApiResponse) -> SendError {
    let (status, message) = (response.status, response.message());
    let repo = format!("{}/{}", repo.owner(), repo.name());
    SendError::permanent(match status {
        StatusCode::NOT_FOUND => format!(
            "{repo} is not there for our token: check its name, and that the token may write its commit statuses or \
             the App is installed on it"
        ),
        StatusCode::FORBIDDEN => format!(
            "our token may not set statuses of {repo} ({message}): it needs the scope repo:status, an App or a \
             fine-grained token \"Commit statuses: write\""
        ),
        StatusCode::UNPROCESSABLE_ENTITY if message.contains("maximum number of statuses") => {
            format!("GitHub takes at most 1,000 statuses of a commit and context ({message}): push another commit")
        }
        _ => format!("GitHub answered {status} for {repo}: {message}"),
    })
}
