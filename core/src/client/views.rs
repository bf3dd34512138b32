use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{FailureClass, JobContext, Millis, Pull, StageName, StageStatus, Status, TagResult, WaitReason};

/// The answer of `/ready`: whether the server takes jobs, and why it cannot build them yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteReadiness {
    /// `ready` or `degraded`.
    pub status: String,
    pub reasons: Vec<String>,
}

/// A job as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteJob {
    pub id: String,
    pub context: JobContext,
    pub image: String,
    /// A cancelled job has `Failure` here, with `cancelled`.
    pub status: Status,
    pub results: BTreeMap<StageName, Stage>,
    pub start_time: Option<Millis>,
    pub end_time: Option<Millis>,
    pub create_time: Millis,
    /// `None` from a server that has the present attempt's start alone.
    pub first_start_time: Option<Millis>,
    pub attempt: u32,
    pub resolved_commit: Option<String>,
    pub digest: Option<String>,
    pub cause: Option<String>,
    /// `None` from a server that is older than classes.
    pub class: Option<FailureClass>,
    pub advice: Option<String>,
    pub cancelled: bool,
    pub cancel_requested: bool,
    pub origin: Option<String>,
    #[serde(default)]
    pub priority: i64,
    pub rebuild_of: Option<String>,
    pub superseded_by: Option<String>,
    /// Name of the token or of the webhook's sender that made the job; `None` from a server that is older than names.
    pub created_by: Option<String>,
    /// Name of the token that cancelled the job.
    pub cancelled_by: Option<String>,
    #[serde(default)]
    pub tags: Vec<TagResult>,
    /// The reason why the job is pending; `None` from a server that is older than reasons.
    #[serde(default)]
    pub waiting_for: Option<WaitReason>,
    /// True if the branch in `context` means nothing, because the job is about a commit alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub branch_left_out: bool,
    /// Text of the Dockerfile that came with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// True for a success of which nothing was pushed.
    #[serde(default)]
    pub dry_run: bool,
}

impl RemoteJob {
    pub fn is_over(&self) -> bool {
        self.status.is_terminal()
    }

    /// Returns the branch or tag that the job is about; empty if it is about a commit alone.
    pub fn branch(&self) -> &str {
        if self.branch_left_out { "" } else { &self.context.branch }
    }

    /// Returns the time from the start of the first attempt to the job's end, or until now.
    pub fn took(&self, now: Millis) -> Option<Duration> {
        let start = self.first_start_time.or(self.start_time)?;
        Some(self.end_time.unwrap_or(now).since(start))
    }

    /// Returns the stage that runs, or that ended the job.
    pub fn stage(&self) -> Option<StageName> {
        let at = |wanted| self.results.iter().find(|(_, stage)| stage.status == wanted).map(|(&name, _)| name);
        at(StageStatus::Running).or_else(|| at(StageStatus::Failure))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    pub status: StageStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Millis>,
}

/// A webhook delivery as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteDelivery {
    pub id: String,
    pub route: String,
    /// `None` from a server that is older than this field.
    pub forge: Option<String>,
    pub event: String,
    pub delivery_id: Option<String>,
    pub digest: String,
    pub receive_time: Millis,
    pub owner: String,
    pub repo: String,
    pub r#ref: String,
    pub before: Option<String>,
    pub after: String,
    pub job: Option<String>,
    /// The reason why there is no job.
    pub skipped: Option<String>,
    pub repeats: u32,
    pub repeat_time: Option<Millis>,
}

/// The jobs that a list has. Fields that are `None` leave nothing out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JobSearch {
    /// Number of jobs, the newest first, at most 1,000.
    pub limit: u32,
    /// `owner/repo`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// A branch or tag of that repository, which must be given with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The beginning of a commit's id, four digits at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A request for a job. The server chooses each field that is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewRemoteJob {
    pub owner: String,
    pub repo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub build: NewRemoteBuild,
}

/// The options of a build, as [`NewRemoteJob`] has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewRemoteBuild {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_git_dir: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub build_args: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    #[serde(flatten)]
    pub fresh: FreshBuild,
}

/// The options of a build that a rebuild may set, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreshBuild {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
}
