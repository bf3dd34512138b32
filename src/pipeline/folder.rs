//! The folder of a repository that is the build context.

use super::stage::Failed;
use crate::git::{NoFolder, Snapshot};
use crate::model::{ContextPath, FailureClass, RepoName};

/// The folder's path without links; empty for the root.
pub(super) async fn of(snapshot: &Snapshot, repo: &RepoName, context: &ContextPath) -> Result<Vec<u8>, Failed> {
    snapshot.folder(context.as_str().as_bytes()).await?.map_err(|why| {
        let shown = |path: &[u8]| String::from_utf8_lossy(path).escape_debug().to_string();
        let (what, path) = match &why {
            NoFolder::Missing(path) => ("is not there", path),
            NoFolder::File(path) => ("is a file", path),
            NoFolder::Submodule(path) => ("is a submodule that stays empty", path),
            NoFolder::Outside(path) => ("leads out of the repository", path),
            NoFolder::Circle(path) => ("leads through more than 40 links", path),
        };
        let message = format!(
            "the context {context} of {repo} is no folder in commit {}: {} {what}; name a folder of the repository \
             (\"context\" of the job, or the setting CONTEXT), or add it",
            snapshot.commit,
            shown(path)
        );
        Failed::new(FailureClass::Dockerfile, message)
    })
}
