use serde::{Deserialize, Serialize};

use super::{CommitId, JobId};

/// A name that a job's image was to get in the registry, and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagResult {
    /// `registry/path:tag`
    pub name: String,
    /// `sha256:…` of the manifest that this job pushed there; None if it pushed none.
    pub digest: Option<String>,
    /// The commit that keeps the tag: a newer push of the same ref, or a newer request, has set it, or the tag is its id.
    #[serde(default, deserialize_with = "CommitId::deserialize_stored")]
    pub kept: Option<CommitId>,
}

/// A branch or tag of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoRef {
    /// `owner/repo` in lower case.
    pub repository: String,
    /// `refs/heads/…` or `refs/tags/…`
    pub git_ref: String,
}

/// The image that a tag was given last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagHolder {
    pub commit: CommitId,
    /// The ref whose job set the tag. None if the job had none, or if the tag was set before this was kept.
    pub git_ref: Option<RepoRef>,
    pub job: Option<JobId>,
    /// The Dockerfile, target, arguments and platform, in words.
    pub recipe: Option<String>,
    /// True if another commit can get the tag, because the tag does not name its commit.
    pub moving: bool,
    /// True if a rebuild, or a request for this tag by name, set it.
    pub named: bool,
}

/// A push of a ref, as its webhook told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub before: CommitId,
    pub after: CommitId,
}
