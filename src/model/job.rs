use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    BadOption, BuildOptions, CommitId, CommitSpec, Destination, Dialect, FailureClass, Millis, Origin, RepoCase,
    TagResult,
};

/// A job's id: a UUIDv7, so that ids sort by the time of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    #[allow(clippy::new_without_default, reason = "every call makes another id")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is to be built, as the sender gave it: **not validated**. The wire form is totem's
/// `context` object; names that we do not know are kept and echoed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobContext {
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub commit: String,
    pub github: bool,
    pub docker_repo_base: String,
    pub tag: String,
    /// The sender named no branch: `branch` is the wire's default, and counts for nothing beside a commit's id. Never
    /// shown; what is stored has no `branch` then.
    #[serde(skip)]
    pub branch_left_out: bool,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl JobContext {
    /// The branch on totem's wire when a sender names none.
    pub const BRANCH: &str = "develop";

    /// Reads what [`JobContext::stored`] wrote.
    pub fn read(stored: &str) -> Result<Self, serde_json::Error> {
        let mut context: Map<String, Value> = serde_json::from_str(stored)?;
        let branch_left_out = !context.contains_key("branch");
        if branch_left_out {
            context.insert("branch".into(), Self::BRANCH.into());
        }
        Ok(Self { branch_left_out, ..serde_json::from_value(context.into())? })
    }

    /// Its JSON, with what the sender gave.
    pub fn stored(&self) -> Result<String, serde_json::Error> {
        let mut context = serde_json::to_value(self)?;
        if let Some(context) = context.as_object_mut().filter(|_| self.branch_left_out) {
            context.remove("branch");
        }
        serde_json::to_string(&context)
    }

    /// Returns the identity of the repository, as [`RepoName::key`](super::RepoName::key) does for a name that is valid.
    pub fn repository(&self, case: RepoCase) -> String {
        case.key(&format!("{}/{}", self.owner, self.repo))
    }

    /// How the image is to be built, from `extra`.
    ///
    /// # Errors
    /// Every option that cannot be used.
    pub fn build_options(&self) -> Result<BuildOptions, Vec<BadOption>> {
        BuildOptions::read(&self.extra)
    }

    /// The names of `extra` that are no options of the build: the caller's own, which are only passed on.
    pub fn callers_own(&self) -> Map<String, Value> {
        let own = self.extra.iter().filter(|(name, _)| !BuildOptions::NAMES.contains(&name.as_str()));
        own.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// A job's state. `Success`, `Failure` and `Cancelled` are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pending,
    Running,
    Success,
    Failure,
    Cancelled,
}

impl Status {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Cancelled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Pending, Self::Running, Self::Success, Self::Failure, Self::Cancelled]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no job status"))
    }
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A node took it.
    Claim,
    /// Its node stopped or lost it: it runs again from the start.
    Requeue,
    Finish(Status),
    /// A user cancelled it while it waited. A running one is told, and finishes as cancelled.
    Cancel,
}

/// An event that does not fit the state that the job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} cannot take {event:?}", .status.as_str())]
pub struct Conflict {
    pub status: Status,
    pub event: Event,
}

/// The whole state machine of a job.
pub fn transition(status: Status, event: Event) -> Result<Status, Conflict> {
    match (status, event) {
        (Status::Pending, Event::Claim) => Ok(Status::Running),
        (Status::Pending, Event::Cancel) => Ok(Status::Cancelled),
        (Status::Running, Event::Requeue) => Ok(Status::Pending),
        (Status::Running, Event::Finish(end)) if end.is_terminal() => Ok(end),
        _ => Err(Conflict { status, event }),
    }
}

/// The stages of a job, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    Clone,
    Checkout,
    Build,
    Push,
}

impl StageName {
    pub const ALL: [Self; 4] = [Self::Clone, Self::Checkout, Self::Build, Self::Push];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Checkout => "checkout",
            Self::Build => "build",
            Self::Push => "push",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageStatus {
    Pending,
    Running,
    Success,
    Failure,
    Cancelled,
}

impl StageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a stage is. `exit_code` is that of the program that the stage ran (0 on success, Git's
/// or the Dockerfile step's own on failure, else 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: StageName,
    pub status: StageStatus,
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    /// Milliseconds since the epoch.
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// The records of a job's stages; empty before the job is first claimed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stages(pub Vec<StageRecord>);

impl Job {
    /// A job that nobody has run yet.
    pub fn pending(new: NewJob, case: RepoCase) -> Self {
        Self {
            id: JobId::new(),
            repository: new.context.repository(case),
            image: new.image,
            context: new.context,
            status: Status::Pending,
            attempt: 0,
            stages: Stages::default(),
            resolved_commit: None,
            digest: None,
            cause: None,
            class: None,
            failures: 0,
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
            forced: new.forced,
            cancel_requested: false,
            created: Millis::now(),
            start: None,
            end: None,
        }
    }

    /// The id that is known to be a commit's: the one that was found, or the new head of a branch, as a push told it. The
    /// id that a tag's push or a request names may be a tag object's, so it is not known before it is found.
    pub fn known_commit(&self) -> Option<CommitId> {
        let of_branch = || self.git_ref.as_ref().is_some_and(|git_ref| git_ref.starts_with("refs/heads/"));
        let pushed = || match CommitSpec::parse(&self.context.commit) {
            Ok(CommitSpec::Full(id)) if of_branch() => Some(id),
            _ => None,
        };
        self.resolved_commit.clone().or_else(pushed)
    }
}

impl Stages {
    /// Every stage, pending.
    pub fn pending() -> Self {
        let record = |name| StageRecord {
            name,
            status: StageStatus::Pending,
            exit_code: None,
            error: None,
            start: None,
            end: None,
        };
        Self(StageName::ALL.map(record).into())
    }

    /// The record of `name`, which is there in every list but the empty one.
    pub fn get_mut(&mut self, name: StageName) -> Option<&mut StageRecord> {
        self.0.iter_mut().find(|s| s.name == name)
    }
}

/// A job to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    pub context: JobContext,
    pub image: String,
    /// As in [`Destination`]: the store chooses between the two.
    pub alternative_image: Option<String>,
    pub origin: Origin,
    pub dialect: Dialect,
    /// `refs/heads/…` or `refs/tags/…`: the ref that was pushed, or that the job was found to count for.
    pub git_ref: Option<String>,
    /// The commit that this ref named before the push.
    pub before: Option<CommitId>,
    /// The higher ones run first. Only the server's own rules set it.
    pub priority: i64,
    pub rebuild_of: Option<JobId>,
    /// The request named the tag, so the tag moves whatever it names now.
    pub tag_named: bool,
    /// The commit is the `after` of a signed push, or what the job built that is rebuilt, so it is built even if no branch
    /// or tag reaches it any more. No request's body sets it, and no answer shows it.
    pub pushed: bool,
    /// An admin asked for it, so its commit is built even if no branch or tag reaches it.
    pub any_commit: bool,
    /// The push moved its ref to a commit that does not follow the former one, as the sender says.
    pub forced: bool,
}

impl NewJob {
    /// One that was asked for by totem's API.
    pub fn new(context: JobContext, image: String) -> Self {
        Self {
            context,
            image,
            alternative_image: None,
            origin: Origin::Api,
            dialect: Dialect::Totem,
            git_ref: None,
            before: None,
            priority: 0,
            rebuild_of: None,
            tag_named: false,
            pushed: false,
            any_commit: false,
            forced: false,
        }
    }

    /// The same, with an image that the settings gave it.
    pub fn bound_for(context: JobContext, to: Destination) -> Self {
        Self { alternative_image: to.alternative, ..Self::new(context, to.image) }
    }
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    /// [`RepoName::key`](super::RepoName::key) of its repository, by the rule that the store had when it was made.
    pub repository: String,
    pub context: JobContext,
    pub image: String,
    pub status: Status,
    /// How often the job was claimed; 0 before the first time.
    pub attempt: u32,
    pub stages: Stages,
    /// The full id of the commit that was built, once it is known.
    pub resolved_commit: Option<CommitId>,
    /// `sha256:…` of the manifest in the registry.
    pub digest: Option<String>,
    /// Why the job failed or was cancelled, in one line.
    pub cause: Option<String>,
    /// What kind of thing that is. Of a pending or running job: what ended its last attempt.
    pub class: Option<FailureClass>,
    /// How many of its attempts infrastructure ended.
    pub failures: u32,
    /// The engine of its last attempt.
    pub engine: Option<String>,
    pub origin: Origin,
    pub dialect: Dialect,
    /// `refs/heads/…` or `refs/tags/…`: the ref that was pushed, or that the job was found to count for.
    pub git_ref: Option<String>,
    /// The commit that this ref named before the push.
    pub before: Option<CommitId>,
    pub priority: i64,
    pub rebuild_of: Option<JobId>,
    /// The commit of the newer job that took its place.
    pub superseded_by: Option<CommitId>,
    /// The image's names, the job's own first; empty before the push stage.
    pub tags: Vec<TagResult>,
    /// As in [`NewJob`].
    pub tag_named: bool,
    /// As in [`NewJob`].
    pub pushed: bool,
    /// As in [`NewJob`].
    pub any_commit: bool,
    /// As in [`NewJob`].
    pub forced: bool,
    pub cancel_requested: bool,
    pub created: Millis,
    pub start: Option<Millis>,
    pub end: Option<Millis>,
}

/// The progress of a running job.
#[derive(Debug, Clone, Default)]
pub struct JobProgress {
    pub stages: Stages,
    pub resolved_commit: Option<CommitId>,
    /// The ref that it counts for, once that is known.
    pub git_ref: Option<String>,
    /// The engine that it has, once it has one.
    pub engine: Option<String>,
    /// As in [`Job`].
    pub tags: Vec<TagResult>,
}

/// What the pipeline made of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A terminal status.
    pub status: Status,
    pub stages: Stages,
    pub resolved_commit: Option<CommitId>,
    pub digest: Option<String>,
    pub cause: Option<String>,
    /// None if it is a success.
    pub class: Option<FailureClass>,
    /// The newer commit because of which it was cancelled.
    pub superseded_by: Option<CommitId>,
    /// As in [`Job`].
    pub tags: Vec<TagResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_state_takes_nothing() {
        for status in [Status::Success, Status::Failure, Status::Cancelled] {
            for event in [Event::Claim, Event::Requeue, Event::Cancel, Event::Finish(Status::Success)] {
                assert_eq!(transition(status, event), Err(Conflict { status, event }));
            }
        }
    }

    #[test]
    fn a_job_runs_to_an_end_or_again() {
        assert_eq!(transition(Status::Pending, Event::Claim), Ok(Status::Running));
        assert_eq!(transition(Status::Running, Event::Requeue), Ok(Status::Pending));
        assert_eq!(transition(Status::Running, Event::Finish(Status::Failure)), Ok(Status::Failure));
        assert!(transition(Status::Running, Event::Finish(Status::Pending)).is_err());
        assert!(transition(Status::Running, Event::Claim).is_err());
    }

    #[test]
    fn what_is_stored_has_no_branch_that_nobody_named() {
        let sent = r#"{"owner":"a","repo":"b","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"t","z":[1]}"#;
        let named = JobContext::read(sent).unwrap();
        assert!(!named.branch_left_out && JobContext::read(&named.stored().unwrap()).unwrap() == named);
        let left_out = JobContext { branch_left_out: true, ..named };
        let stored = left_out.stored().unwrap();
        assert!(!stored.contains("branch"), "{stored}");
        assert_eq!(JobContext::read(&stored).unwrap(), left_out);
        assert_eq!(serde_json::to_string(&left_out).unwrap(), sent);
    }

    #[test]
    fn ids_sort_by_time_and_read_both_forms() {
        let id = JobId::new();
        assert_eq!(id.to_string().replace('-', "").parse::<JobId>().unwrap(), id);
        assert!("nope".parse::<JobId>().is_err());
    }
}
