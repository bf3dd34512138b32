use uuid::Uuid;

use crate::model::{
    CommitId, Dialect, JobContext, JobId, JobSource, NoDestination, Origin, RepoCase, RepoLimits, Role, Status,
};
use crate::store::{NewDelivery, StoreError};

/// The common form of a request for a job.
pub struct Request {
    pub context: JobContext,
    pub source: JobSource,
    pub origin: Origin,
    pub dialect: Dialect,
    /// `refs/heads/…` or `refs/tags/…`: the ref that was pushed.
    pub git_ref: Option<String>,
    /// The commit that the ref named before the push.
    pub before: Option<CommitId>,
    /// The commit is known to have been pushed, so it is built even if no branch or tag reaches it any more.
    pub pushed: bool,
    /// The sender says that the push moved its ref to a commit that does not follow the former one.
    pub forced: bool,
    /// The repository's default branch, as the webhook of a push names it.
    pub default_branch: Option<String>,
    /// The request names the image's tag.
    pub tag_named: bool,
    pub rebuild_of: Option<JobId>,
    /// The commit is built even if no branch or tag reaches it.
    pub any_commit: bool,
    /// The job is refused while another one makes the same image of the same commit.
    pub exclusive: bool,
    /// The webhook delivery that makes the job. A delivery that came before means the job that it made then.
    pub delivery: Option<NewDelivery>,
}

impl Request {
    pub fn new(context: JobContext, origin: Origin, dialect: Dialect) -> Self {
        Self {
            context,
            source: JobSource::Git,
            origin,
            dialect,
            git_ref: None,
            before: None,
            pushed: false,
            forced: false,
            default_branch: None,
            tag_named: false,
            rebuild_of: None,
            any_commit: false,
            exclusive: false,
            delivery: None,
        }
    }
}

/// The party that asks for a job.
#[derive(Debug, Clone, Copy)]
pub enum Requester<'a> {
    /// A forge, whose signature was verified, and the user there who pushed.
    Forge { sender: Option<&'a str> },
    /// A caller of the API, with the name, the role and the limits of the token.
    Caller { name: &'a str, role: Role, limits: &'a RepoLimits },
    /// The sweep for missed pushes.
    Sweep,
}

impl<'a> Requester<'a> {
    /// Returns the name that the job keeps: the token's, or the user's who pushed.
    pub fn person(self) -> Option<&'a str> {
        match self {
            Self::Forge { sender } => sender,
            Self::Caller { name, .. } => Some(name),
            Self::Sweep => None,
        }
    }

    /// Returns the limits of the token if they leave this repository out.
    pub fn limits_without(self, case: RepoCase, repository: &str) -> Option<&'a RepoLimits> {
        match self {
            Self::Caller { limits, .. } if !limits.allow(case, repository) => Some(limits),
            _ => None,
        }
    }

    pub fn is_admin(self) -> bool {
        matches!(self, Self::Caller { role: Role::Admin, .. })
    }

    /// The token's name, for the log.
    pub fn name(&self) -> &str {
        match self {
            Self::Forge { .. } => "a forge",
            Self::Caller { name, .. } => name,
            Self::Sweep => "the sweep for missed pushes",
        }
    }
}

/// Why a request becomes no job.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0} is not built here: ALLOW_REPOS does not name it")]
    Repository(String),
    #[error("the token is for {limits}, not for {repository}")]
    Limited { repository: String, limits: String },
    /// The property `owner` or `repo`, and its value.
    #[error("{0} {1} has a '/' in it")]
    Slash(&'static str, String),
    /// The property `owner`, `repo`, `branch`, `commit` or `tag`, and its value. The branch is that of a push's ref, too.
    #[error("{0} {1:?} has a control character")]
    ControlCharacter(&'static str, String),
    #[error("another dockerRepoBase than the configured one needs the role admin")]
    Base,
    /// The names of the build arguments whose values contain a secret of the daemon.
    #[error("secrets in the build arguments {}", .0.join(", "))]
    SecretArguments(Vec<String>),
    #[error("a secret in the Dockerfile")]
    SecretDockerfile,
    #[error(transparent)]
    Destination(#[from] NoDestination),
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    #[error("there is no delivery {0}")]
    UnknownDelivery(Uuid),
    /// A rebuild of a job that has not ended.
    #[error("the job has not ended yet: {}", .0.as_str())]
    Unfinished(Status),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Returns true if the request has a secret of the daemon.
    pub fn is_about_secret(&self) -> bool {
        matches!(self, Self::SecretArguments(_) | Self::SecretDockerfile)
    }
}
