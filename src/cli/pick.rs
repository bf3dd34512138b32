use std::path::Path;

use uuid::Uuid;

use super::UsageError;
use crate::client::{ApiClient, ClientError, JobSearch, RemoteJob};
use crate::git::{self, WorkTree};
use crate::model::RepoName;

/// The shortest beginning of an id that the server takes.
const SHORTEST_ID: usize = 4;

/// Reads the work tree of the current folder. The error says what to name instead.
pub async fn work_tree() -> anyhow::Result<WorkTree> {
    git::work_tree(Path::new("."))
        .await
        .map_err(|error| UsageError(format!("the repository cannot be guessed here: {error}; name OWNER/REPO")).into())
}

/// Returns the repository that the user names, else the work tree's.
pub async fn repository(named: Option<RepoName>) -> anyhow::Result<RepoName> {
    match named {
        Some(repo) => Ok(repo),
        None => Ok(work_tree().await?.repo),
    }
}

/// Finds a job by the beginning of its id, or the newest one of a branch. Without a text the branch is the work tree's.
pub async fn job(client: &ApiClient, text: Option<&str>, repo: Option<RepoName>) -> anyhow::Result<RemoteJob> {
    let mut unknown = None;
    if let Some(id) = text.filter(|text| may_be_id(text)) {
        match client.job(id).await {
            // A branch may be called like the beginning of an id, such as `feed`.
            Err(error @ ClientError::Refused { status: 404, .. }) if id.parse::<Uuid>().is_err() => {
                unknown = Some(error)
            }
            found => return Ok(found?),
        }
    }
    let (repo, branch) = match (text, repo) {
        (Some(branch), Some(repo)) => (repo, branch.to_owned()),
        (text, repo) => match (work_tree().await, unknown) {
            (Err(_), Some(unknown)) => return Err(unknown.into()),
            (tree, _) => {
                let tree = tree?;
                let branch = text.map(str::to_owned).or(tree.branch);
                let branch = branch
                    .ok_or_else(|| UsageError("HEAD is on no branch here: name a branch or a job's id".into()))?;
                (repo.unwrap_or(tree.repo), branch)
            }
        },
    };
    let (repository, of) = (Some(repo.to_string()), Some(branch.clone()));
    let query = JobSearch { limit: 1, repository, branch: of, ..JobSearch::default() };
    let newest = client.jobs(&query).await?.into_iter().next();
    Ok(newest.ok_or(ClientError::NoJobOf { repo: repo.to_string(), branch })?)
}

/// True for text that can begin a job's id: hexadecimal digits, and hyphens between them.
fn may_be_id(text: &str) -> bool {
    text.len() >= SHORTEST_ID && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}
