use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::{CommitId, Dialect, FailureClass, Job, RepoName, Status};
use crate::notify::send_error::SendError;
use crate::store::NewNotification;

/// The channel's name in the outbox, the metrics and the API.
pub(super) const CHANNEL: &str = "github";
/// The longest description, in characters. GitHub refuses a longer one.
const LONGEST_DESCRIPTION: usize = 140;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CommitState {
    Pending,
    Success,
    /// The commit is at fault.
    Failure,
    /// The job ended without a verdict on the commit.
    Error,
}

/// The status of a commit; the body of an outbox row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommitStatus {
    /// `owner/name`
    pub repo: String,
    /// 40 hexadecimal digits.
    pub sha: String,
    pub state: CommitState,
    pub context: String,
    pub description: String,
}

impl CommitStatus {
    /// Returns the status that a job gives its commit. `None` for a job that is not running yet, that is not of GitHub,
    /// or whose commit is unknown, because GitHub answers 422 to a status of a tag object. GitHub has no repositories of
    /// SHA-256.
    pub fn of(job: &Job) -> Option<Self> {
        let context = &job.context;
        let repo = RepoName::new(&context.owner, &context.repo).ok().filter(|_| context.github)?;
        let sha = job.known_commit().filter(CommitId::is_sha1)?;
        let (state, description) = verdict(job)?;
        let repo = format!("{}/{}", repo.owner(), repo.name());
        Some(Self {
            sha: sha.to_string(),
            state,
            context: match job.dialect {
                Dialect::Totem | Dialect::Generator => "image-factory".into(),
                Dialect::Conveyor => "container/docker".into(),
                Dialect::ComposeCi => format!("[{repo} CI]"),
            },
            description: shorten(&description),
            repo,
        })
    }

    pub fn repo(&self) -> Result<RepoName, SendError> {
        RepoName::parse(&self.repo).map_err(|error| SendError::permanent(error.to_string()))
    }

    /// Returns the lane of this commit and context, in which a later status replaces an earlier one.
    pub fn lane(&self) -> String {
        format!("{CHANNEL} {} {} {}", self.repo.to_ascii_lowercase(), self.sha, self.context)
    }

    /// Returns the outbox row for the API at this host.
    pub fn row(&self, host: &str) -> NewNotification {
        NewNotification {
            channel: CHANNEL,
            destination: host.to_owned(),
            lane: self.lane(),
            replaces: true,
            body: json!(self).to_string(),
        }
    }
}

fn verdict(job: &Job) -> Option<(CommitState, String)> {
    let cause = job.cause.as_deref();
    Some(match job.status {
        Status::Pending => return None,
        Status::Running => (CommitState::Pending, "The image is being built.".into()),
        Status::Success => (CommitState::Success, format!("Image built in {}.", duration(job))),
        Status::Cancelled => match &job.superseded_by {
            Some(newer) => (CommitState::Error, format!("superseded by {newer}")),
            None => (CommitState::Error, cause.unwrap_or("cancelled").to_owned()),
        },
        Status::Failure => {
            let is_spared = job.class.is_some_and(FailureClass::spares_commit);
            let state = if is_spared { CommitState::Error } else { CommitState::Failure };
            let parts = [job.class.map(FailureClass::as_str), cause].into_iter().flatten().collect::<Vec<_>>();
            (state, if parts.is_empty() { "The build failed.".into() } else { parts.join(": ") })
        }
    })
}

/// Formats how long a job ran as Go does, in whole seconds: `1h0m5s`, `1m2s`, `0s`.
fn duration(job: &Job) -> String {
    let seconds = job.took().unwrap_or_default().as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// Returns one line of at most as many characters as GitHub takes.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_DESCRIPTION) {
        None => line,
        Some(_) => line.chars().take(LONGEST_DESCRIPTION - 1).chain(['…']).collect(),
    }
}
