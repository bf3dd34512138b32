use std::time::Duration;

use super::{
    CommitId, CommitSpec, Destination, Dialect, FailureClass, JobContext, JobId, JobSource, Millis, Origin, RepoCase,
    RepoName, Stages, Status, TagResult,
};

/// A job that is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub context: JobContext,
    pub source: JobSource,
    pub image: String,
    /// Image that the store takes instead if another Dockerfile of the repository has the first one; see [`Destination`].
    pub alternative_image: Option<String>,
    /// The repository's own image name, without a tag, if it is not the one of IMAGE_NAME, which another repository has.
    pub own_name: Option<String>,
    pub origin: Origin,
    pub dialect: Dialect,
    /// Ref that was pushed, or that the job was found to count for: `refs/heads/…` or `refs/tags/…`.
    pub git_ref: Option<String>,
    /// Commit that this ref named before the push.
    pub before: Option<CommitId>,
    /// Jobs of higher priority run first. Only the server's own rules set it.
    pub priority: i64,
    pub rebuild_of: Option<JobId>,
    /// True if the request named the tag, so that the tag moves whatever it names now.
    pub tag_named: bool,
    /// True if the commit is the `after` of a signed push, or what the job built that is rebuilt, so that it is built even
    /// if no branch or tag reaches it any more. No request's body sets it, and no answer shows it.
    pub pushed: bool,
    /// True if an admin asked for the job, so that its commit is built even if no branch or tag reaches it.
    pub any_commit: bool,
    /// True if an admin asked for the job, so that it may set the tags of protected refs.
    pub by_admin: bool,
    /// True if the sender says that the push moved its ref to a commit that does not follow the former one.
    pub forced: bool,
    /// Default branch of the repository, as the webhook of a push named it.
    pub default_branch: Option<String>,
    /// Name of the token that asked for the job, or the sender of the push; `None` if nobody did.
    pub created_by: Option<String>,
    /// True if the store refuses the job while another one makes the same image of the same commit of its repository.
    pub exclusive: bool,
}

impl NewJob {
    /// Returns a job that totem's API asked for.
    pub fn new(context: JobContext, image: String) -> Self {
        Self {
            context,
            source: JobSource::Git,
            image,
            alternative_image: None,
            own_name: None,
            origin: Origin::Api,
            dialect: Dialect::Totem,
            git_ref: None,
            before: None,
            priority: 0,
            rebuild_of: None,
            tag_named: false,
            pushed: false,
            any_commit: false,
            by_admin: false,
            forced: false,
            default_branch: None,
            created_by: None,
            exclusive: false,
        }
    }

    /// Returns such a job, with the image that the settings give it.
    pub fn bound_for(context: JobContext, to: Destination) -> Self {
        Self { alternative_image: to.alternative, ..Self::new(context, to.image) }
    }
}

/// A stored job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    /// [`JobSource::key`] of the job: of its repository, by the rule for case that the store had when the job was made.
    pub repository: String,
    pub context: JobContext,
    pub source: JobSource,
    pub image: String,
    /// See [`NewJob`].
    pub own_name: Option<String>,
    pub status: Status,
    /// Number of times that the job was claimed.
    pub attempt: u32,
    pub stages: Stages,
    /// Full id of the commit, once it is resolved.
    pub resolved_commit: Option<CommitId>,
    /// `sha256:…` of the manifest in the registry.
    pub digest: Option<String>,
    /// Reason why the job failed or was cancelled, in one line.
    pub cause: Option<String>,
    /// Kind of that reason. For a pending or running job, the kind of the reason that ended its last attempt.
    pub class: Option<FailureClass>,
    /// Number of attempts that infrastructure ended.
    pub failures: u32,
    /// Number of attempts that ended because an operator drained their engine.
    pub moves: u32,
    /// Number of times that a signal ended the daemon while the job was [exposed](JobProgress::is_exposed).
    pub kills: u32,
    /// Engine of the last attempt.
    pub engine: Option<String>,
    pub origin: Origin,
    pub dialect: Dialect,
    /// See [`NewJob`], as for the fields below that have no text.
    pub git_ref: Option<String>,
    pub before: Option<CommitId>,
    pub priority: i64,
    pub rebuild_of: Option<JobId>,
    /// Commit of the newer job that took the place of this one.
    pub superseded_by: Option<CommitId>,
    /// Names of the image, the job's own first; empty before the push stage.
    pub tags: Vec<TagResult>,
    pub tag_named: bool,
    pub pushed: bool,
    pub any_commit: bool,
    pub by_admin: bool,
    pub forced: bool,
    pub default_branch: Option<String>,
    pub created_by: Option<String>,
    pub cancel_requested: bool,
    /// Name of the token that asked for the end of the job.
    pub cancelled_by: Option<String>,
    /// Time at which a pending job that rests may be claimed again.
    pub rests_until: Option<Millis>,
    /// Time since which the job waits for a secret that is stored and cannot be used.
    pub held_since: Option<Millis>,
    pub created: Millis,
    /// Start of the present attempt, or of the last one; `None` while the job is to run again.
    pub start: Option<Millis>,
    /// Start of the first attempt. `None` in jobs that ran before this was stored.
    pub first_start: Option<Millis>,
    pub end: Option<Millis>,
}

impl Job {
    /// Returns a job that nobody has run yet.
    pub fn pending(new: NewJob, case: RepoCase) -> Self {
        Self {
            id: JobId::new(),
            repository: new.source.key(&new.context, case),
            image: new.image,
            own_name: new.own_name,
            context: new.context,
            source: new.source,
            status: Status::Pending,
            attempt: 0,
            stages: Stages::default(),
            resolved_commit: None,
            digest: None,
            cause: None,
            class: None,
            failures: 0,
            moves: 0,
            kills: 0,
            engine: None,
            origin: new.origin,
            dialect: new.dialect,
            git_ref: new.git_ref,
            before: new.before,
            priority: new.priority,
            rebuild_of: new.rebuild_of,
            superseded_by: None,
            tags: Vec::new(),
            tag_named: new.tag_named,
            pushed: new.pushed,
            any_commit: new.any_commit,
            by_admin: new.by_admin,
            forced: new.forced,
            default_branch: new.default_branch,
            created_by: new.created_by,
            cancel_requested: false,
            cancelled_by: None,
            rests_until: None,
            held_since: None,
            created: Millis::now(),
            start: None,
            first_start: None,
            end: None,
        }
    }

    /// Returns the repository whose secrets the job has; `None` for a Dockerfile that came without one, or for a name that
    /// no repository can have.
    pub fn repo(&self) -> Option<RepoName> {
        let JobContext { owner, repo, .. } = &self.context;
        RepoName::new(owner, repo).ok().filter(|_| self.source == JobSource::Git)
    }

    /// Returns the time from the start of the first attempt to the end of an ended job. The pauses between attempts count.
    pub fn took(&self) -> Option<Duration> {
        Some(self.end?.since(self.first_start.or(self.start)?))
    }

    /// True for a success of which nothing was pushed, because that was asked for. A test of compose-ci's API may succeed
    /// without an image.
    pub fn is_dry_run(&self) -> bool {
        let needs_image = || {
            let options = self.context.build_options().unwrap_or_default();
            self.dialect != Dialect::ComposeCi || options.dry_run == Some(true)
        };
        self.status == Status::Success && self.digest.is_none() && needs_image()
    }

    /// Returns the id that is known to be a commit's: the resolved one, or the new head of a branch, as a push reported it.
    /// An id that a tag's push or a request names may be a tag object's, so it is not known before it is resolved.
    pub fn known_commit(&self) -> Option<CommitId> {
        let of_branch = || self.git_ref.as_ref().is_some_and(|git_ref| git_ref.starts_with("refs/heads/"));
        let pushed = || match CommitSpec::parse(&self.context.commit) {
            Ok(CommitSpec::Full(id)) if of_branch() => Some(id),
            _ => None,
        };
        self.resolved_commit.clone().or_else(pushed)
    }
}

/// Progress of a running job.
#[derive(Debug, Clone, Default)]
pub struct JobProgress {
    pub stages: Stages,
    pub resolved_commit: Option<CommitId>,
    /// Ref that the job counts for, once it is known.
    pub git_ref: Option<String>,
    /// Engine that the job has, once it has one.
    pub engine: Option<String>,
    pub tags: Vec<TagResult>,
    /// True while the job is in clone or checkout, or sends its context, where its commit decides what the daemon does.
    pub is_exposed: bool,
}

impl Job {
    /// The number of deaths of the daemon after which a job that was exposed at each of them is exposed alone.
    pub const SUSPECT: u32 = 2;

    /// True if the job may be what kills the daemon, so that no other job is exposed while this one is.
    pub fn is_suspect(&self) -> bool {
        self.kills >= Self::SUSPECT
    }

    /// True if the daemon was killed while no other job was exposed.
    pub fn is_killer(&self) -> bool {
        self.kills > Self::SUSPECT
    }
}

/// Result of an attempt at a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A terminal status.
    pub status: Status,
    pub stages: Stages,
    pub resolved_commit: Option<CommitId>,
    pub digest: Option<String>,
    pub cause: Option<String>,
    /// `None` for a success.
    pub class: Option<FailureClass>,
    /// Newer commit because of which the job was cancelled.
    pub superseded_by: Option<CommitId>,
    pub tags: Vec<TagResult>,
}
