//! Commit statuses: `POST /repos/{owner}/{repo}/statuses/{sha}` of GitHub's API
//! (<https://docs.github.com/en/rest/commits/statuses>).

mod api;
mod app;
mod limit;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Certificate, Method, StatusCode, Url};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::status::CommitStatus;
use crate::model::{Job, JobId, RepoName};
use crate::notify::NotifyConfig;
use crate::notify::send_error::Failure;
use crate::store::{NewNotification, Notification};
use api::{Answer, Api};
use app::App;

pub(in crate::notify) const CHANNEL: &str = "github";
/// Of all that one status takes: a token for it, redirects, the status.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Who sets the statuses.
pub enum GitHubAccess {
    /// GITHUB_TOKEN
    Token(Zeroizing<String>),
    /// GITHUB_APP_ID, GITHUB_PRIVATE_KEY and GITHUB_INSTALLATION_ID
    App { id: String, private_key: Zeroizing<String>, installation: Option<String> },
}

pub struct GitHubConfig {
    /// GITHUB_API
    pub api: Url,
    /// BASE_URL, without a `/` at its end: where a job is shown.
    pub base_url: String,
    pub access: GitHubAccess,
    /// Authorities of the API's certificate beside the system's.
    pub authorities: Vec<Certificate>,
}

/// What is wrong with a setting.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    #[error("GITHUB_API is a http:// address beyond this machine: a token goes by https alone")]
    InTheClear,
    #[error("GITHUB_TOKEN has a character that no token has")]
    Token,
    #[error("GITHUB_APP_ID={0:?} is no App's id: it must be the number, or the client id, of the App's settings page")]
    AppId(String),
    #[error(
        "GITHUB_INSTALLATION_ID={0:?} is no installation's id: it must be the number at the end of its page's address"
    )]
    Installation(String),
    #[error("GITHUB_PRIVATE_KEY cannot be used: {0}; give the PEM file that GitHub made for the App")]
    Key(&'static str),
    #[error("GITHUB_API cannot be asked: {0}")]
    Client(#[from] reqwest::Error),
}

enum Auth {
    Token(Zeroizing<String>),
    App(App),
}

/// GitHub's API, for one token or App.
pub struct GitHub {
    pub(super) api: Api,
    auth: Auth,
    pub(super) base_url: String,
}

impl GitHub {
    pub fn new(config: GitHubConfig) -> Result<Self, GitHubError> {
        let auth = match config.access {
            GitHubAccess::Token(token) if !token.bytes().all(|b| b.is_ascii_graphic()) => {
                return Err(GitHubError::Token);
            }
            GitHubAccess::Token(token) => Auth::Token(token),
            GitHubAccess::App { id, private_key, installation } => Auth::App(App::new(id, &private_key, installation)?),
        };
        Ok(Self { api: Api::new(&config.api, config.authorities)?, auth, base_url: config.base_url })
    }

    async fn set(&self, job: JobId, status: &CommitStatus) -> Result<(), Failure> {
        let repo = status.repo()?;
        let path = format!("/repos/{}/{}/statuses/{}", repo.owner(), repo.name(), status.sha);
        let body = json!({
            "state": status.state,
            "context": status.context,
            "description": status.description,
            "target_url": self.target(job),
        });
        let answer = self.call(&repo, Method::POST, &path, Some(&body)).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(&repo, &answer)) }
    }

    /// Where a job is shown.
    pub(super) fn target(&self, job: JobId) -> String {
        format!("{}/job/{job}", self.base_url)
    }

    /// A call with this repository's token; once more with a new one if that was refused.
    pub(super) async fn call(
        &self,
        repo: &RepoName,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let app = match &self.auth {
            Auth::Token(token) => {
                let answer = self.api.call(method, path, token, body).await?;
                return match answer.status {
                    StatusCode::UNAUTHORIZED => Err(Failure::permanent(
                        "GitHub does not know GITHUB_TOKEN, or no longer: set a valid one and start again",
                    )),
                    _ => Ok(answer),
                };
            }
            Auth::App(app) => app,
        };
        let mut old = None;
        for _ in 0..2 {
            let token = app.token(&self.api, repo, old.as_ref()).await?;
            let answer = self.api.call(method.clone(), path, &token, body).await?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            old = Some(token);
        }
        Err(Failure::permanent("GitHub refuses the token that it has just given to the App: see its settings page"))
    }
}

/// Its status, for a job that has begun or ended, if GitHub has the commit.
pub(in crate::notify) fn rows(config: &NotifyConfig, job: &Job) -> Vec<NewNotification> {
    let Some(github) = &config.github else { return Vec::new() };
    let row = |status: CommitStatus| NewNotification {
        channel: CHANNEL,
        destination: github.api.host().to_owned(),
        lane: status.lane(),
        replaces: true,
        body: json!(status).to_string(),
    };
    CommitStatus::of(job).map(row).into_iter().collect()
}

pub(in crate::notify) async fn send(config: &NotifyConfig, notification: &Notification) -> Result<(), Failure> {
    let Some(github) = &config.github else {
        return Err(Failure::permanent("neither GITHUB_TOKEN nor GITHUB_APP_ID is set any more"));
    };
    let status: CommitStatus = serde_json::from_str(&notification.body)
        .map_err(|error| Failure::permanent(format!("its row is damaged: {error}")))?;
    let set = github.set(notification.job, &status);
    tokio::time::timeout(TIMEOUT, set).await.unwrap_or_else(|_| {
        let error = format!("GitHub did not answer within {} s", TIMEOUT.as_secs());
        Err(Failure { error, permanent: false, retry_after: None })
    })
}

/// What to do about an answer to a call for this repository that is no success.
pub(super) fn refused(repo: &RepoName, answer: &Answer) -> Failure {
    let (status, said) = (answer.status, answer.message());
    let repo = format!("{}/{}", repo.owner(), repo.name());
    Failure::permanent(match status {
        StatusCode::NOT_FOUND => format!(
            "{repo} is not there for our token: check its name, and that the token may write its commit statuses or \
             the App is installed on it"
        ),
        StatusCode::FORBIDDEN => format!(
            "our token may not set statuses of {repo} ({said}): it needs the scope repo:status, an App or a \
             fine-grained token \"Commit statuses: write\""
        ),
        StatusCode::UNPROCESSABLE_ENTITY if said.contains("maximum number of statuses") => {
            format!("GitHub takes at most 1,000 statuses of a commit and context ({said}): push another commit")
        }
        _ => format!("GitHub answered {status} for {repo}: {said}"),
    })
}
