use serde::{Deserialize, Serialize};

use super::{CommitId, JobId};

/// Result of one of the names that a job's image was to get in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagResult {
    /// `registry/path:tag`
    pub name: String,
    /// `sha256:…` of the manifest that this job pushed there; `None` if it pushed none.
    pub digest: Option<String>,
    /// Commit that keeps the tag, because a newer push of the same ref, or a newer request, has set it, or because the tag
    /// is that commit's id.
    #[serde(default, deserialize_with = "CommitId::deserialize_stored")]
    pub kept: Option<CommitId>,
}

/// A branch or tag of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoRef {
    /// `owner/repo`, as `RepoName::key` spells it.
    pub repository: String,
    /// `refs/heads/…` or `refs/tags/…`
    pub git_ref: String,
}

/// The image that a tag was last given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagHolder {
    pub commit: CommitId,
    /// Ref whose job set the tag. `None` if the job had none, or if the tag was set before refs were recorded.
    pub git_ref: Option<RepoRef>,
    pub job: Option<JobId>,
    /// The Dockerfile, target, arguments and platform, in words.
    pub recipe: Option<String>,
    /// True if another commit can get the tag, because the tag does not name its commit.
    pub moving: bool,
    /// True if a rebuild, or a request for this tag by name, set it.
    pub named: bool,
    /// Protected ref whose job set the tag, if one ever did; what an admin sets later leaves it here.
    pub protected_ref: Option<String>,
}

/// Change of a ref from one commit to another, as a webhook reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    pub before: CommitId,
    pub after: CommitId,
}
