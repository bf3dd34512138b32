//! The folder of a repository that is the build context.

use super::failure::StageFailure;
use crate::git::{PathEnd, Snapshot};
use crate::model::{ContextPath, FailureClass, RepoName};

/// The folder's path without links; empty for the root.
pub(super) async fn of(snapshot: &Snapshot, repo: &RepoName, context: &ContextPath) -> Result<Vec<u8>, StageFailure> {
    snapshot.folder(context.as_str().as_bytes()).await?.map_err(|found| {
        let what = match found {
            PathEnd::File { .. } => "it is a file".to_owned(),
            PathEnd::Submodule => "it is a submodule that stays empty".into(),
            PathEnd::BrokenLink(lost) => lost.to_string(),
            PathEnd::Nothing | PathEnd::Folder => "it is not there".into(),
        };
        let message = format!(
            "the context {context} of {repo} is no folder in commit {}: {what}; name a folder of the repository \
             (\"context\" of the job, or the setting CONTEXT), or add it",
            snapshot.commit
        );
        StageFailure::new(FailureClass::Dockerfile, message)
    })
}
