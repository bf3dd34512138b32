use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc::Sender;
use zeroize::Zeroizing;

use crate::git::GitError;
use crate::git::errors::{NO_TARBALL, TARBALL_REFUSED, TARBALL_TROUBLE};
use crate::git::lfs::http::{self, LfsClient};
use crate::git::transport::tarball_api::TarballApi;
use crate::model::RepoName;

/// Asks for the tarball of a commit. A redirect is followed; the token goes to the API's server alone.
///
/// # Errors
/// The API cannot be reached, or does not give the tarball.
pub(super) async fn request(
    client: &LfsClient,
    api: &TarballApi,
    repo: &RepoName,
    commit: &str,
) -> Result<Response, GitError> {
    let address = format!("{}/repos/{repo}/tarball/{commit}", api.url.as_str().trim_end_matches('/'));
    let url = address.parse().map_err(|error| GitError::refused(format!("GITHUB_API cannot be used: {error}")))?;
    let authorization = api.token.as_ref().map(|token| Zeroizing::new(format!("Bearer {}", token.as_str())));
    let fixed = [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
    let authorization = authorization.iter().map(|value| ("authorization", value.as_str()));
    let headers = http::headers(fixed.into_iter().chain(authorization))
        .map_err(|_| TARBALL_REFUSED.error(&[&"it has a character that no token has", repo]))?;
    let response = client.send(&url, &headers, None).await?;
    let status = response.status();
    match status {
        StatusCode::OK => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Err(NO_TARBALL.error(&[&commit, repo])),
        _ if is_passing(status, response.headers()) => Err(TARBALL_TROUBLE.error(&[&status, repo])),
        _ => Err(TARBALL_REFUSED.error(&[&status, repo])),
    }
}

/// Returns true if the API may give another answer later. A used-up limit of requests is a 403, too.
fn is_passing(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_used_up = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    http::is_transient_status(status) || headers.contains_key("retry-after") || is_used_up
}

/// Passes the body on, until the receiver has enough.
pub(super) async fn pass_on(mut response: Response, pieces: Sender<Bytes>) -> Result<(), GitError> {
    let url = response.url().clone();
    while let Some(piece) = response.chunk().await.map_err(|error| http::broken(&url, error))? {
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}
