//! A job whose Dockerfile came with its request. Nothing is cloned and nothing checked out, and both stages are recorded as
//! ones that went well, because readers of a job expect them.

use std::sync::Arc;

use super::Tools;
use super::clone::Fetched;
use super::failure::{JobEnd, StageFailure};
use super::plan::Plan;
use super::stage::StageRunner;
use super::wanted::Wanted;
use crate::git::Snapshot;
use crate::model::{CommitSpec, FailureClass, LogSink, RepoName, StageName, blob_id};
use crate::secrets::Secrets;

/// Plans the job, and makes a tree of its Dockerfile alone.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    text: String,
    runner: &mut StageRunner,
) -> Result<(Fetched, Arc<Snapshot>), JobEnd> {
    let (job, log, began) = (runner.job.clone(), runner.log.clone(), tools.git.last_fetch_number());
    let commit = blob_id(&text);
    runner.resolved_commit = Some(commit.clone());
    runner.skip(StageName::Clone);
    let work = async {
        let repo = RepoName::new(&job.context.owner, &job.context.repo)?;
        let plan = Plan::new(tools, secrets, &job)?;
        let id = commit.as_str().parse().map_err(|e| StageFailure::new(FailureClass::LostWorker, e))?;
        let snapshot = tools.git.snapshot_of_file(plan.dockerfile.as_str(), &text, id);
        log.write(
            format!("{commit}: the Dockerfile of the request, {} bytes, and no other file\n", text.len()).as_bytes(),
        );
        let wanted =
            Wanted { commit: CommitSpec::Full(commit.clone()), branch: None, pushed_ref: None, is_granted: true };
        let (url, git_ref, default_branch, mirror) = (None, None, None, None);
        Ok((Fetched { repo, url, wanted, git_ref, default_branch, mirror, plan, began }, Arc::new(snapshot)))
    };
    runner.stage(StageName::Checkout, "read the Dockerfile of the request", work).await
}
