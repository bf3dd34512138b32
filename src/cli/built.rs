use std::collections::BTreeSet;

use crate::client::{ApiClient, JobSearch, RemoteJob};
use crate::model::{BuildOptions, RepoName, Status};

/// Number of the newest jobs of a commit that are looked at.
const LOOKED_AT: u32 = 100;
/// Shortest beginning of a commit's id that the server looks for.
const SHORTEST: usize = 4;

/// Returns the job that has pushed the image of a commit, else the one that is to push it. Jobs with options of their own
/// count for nothing, because they made another image. Nor does a beginning that fits several commits.
pub async fn find(client: &ApiClient, repo: &RepoName, commit: &str) -> anyhow::Result<Option<RemoteJob>> {
    if commit.len() < SHORTEST || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let (repository, commit) = (Some(repo.to_string()), Some(commit.to_ascii_lowercase()));
    let mut jobs = client.jobs(&JobSearch { limit: LOOKED_AT, repository, commit, ..JobSearch::default() }).await?;
    if jobs.iter().filter_map(|job| job.resolved_commit.as_ref()).collect::<BTreeSet<_>>().len() > 1 {
        return Ok(None);
    }
    jobs.retain(is_plain);
    let pushed = jobs.iter().position(|job| job.status == Status::Success && job.digest.is_some());
    Ok(pushed.or_else(|| jobs.iter().position(|job| !job.is_over())).map(|at| jobs.swap_remove(at)))
}

/// True for a job without options that decide about the image.
fn is_plain(job: &RemoteJob) -> bool {
    let options = job.context.build_options();
    options.is_ok_and(|options| BuildOptions { pull: None, no_cache: None, ..options } == BuildOptions::default())
}
