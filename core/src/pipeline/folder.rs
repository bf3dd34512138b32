//! Finds the folder of a repository that is the build context.

use super::failure::StageFailure;
use crate::git::{PathEnd, Snapshot};
use crate::model::{ContextPath, FailureClass, RepoName};

/// Returns the folder's path with all links resolved; it is empty for the root.
pub(super) async fn resolve(
    snapshot: &Snapshot,
    repo: &RepoName,
    context: &ContextPath,
) -> Result<Vec<u8>, StageFailure> {
    snapshot.folder(context.as_str().as_bytes()).await?.map_err(|found| {
        let found = match found {
            PathEnd::File { .. } => "it is a file".to_owned(),
            PathEnd::Submodule => "it is a submodule that stays empty".into(),
            PathEnd::BrokenLink(lost) => lost.to_string(),
            PathEnd::Nothing | PathEnd::Folder => "it is not there".into(),
        };
        let message = format!(
            "the context {context} of {repo} is no folder in commit {}: {found}; name a folder of the repository \
             (\"build.context\" of the job, or the setting CONTEXT), or add it",
            snapshot.commit
        );
        StageFailure::new(FailureClass::Dockerfile, message)
    })
}
