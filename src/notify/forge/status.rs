use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{CommitId, Dialect, FailureClass, Job, RepoName, Status};
use crate::notify::send_error::Failure;

/// GitHub cuts nothing: it refuses a longer one.
const LONGEST_DESCRIPTION: usize = 140;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Pending,
    Success,
    /// The commit's fault.
    Failure,
    /// Nobody knows whether the commit is good.
    Error,
}

/// What is told of a job; the body of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommitStatus {
    /// `owner/name`
    pub repo: String,
    /// 40 hexadecimal digits.
    pub sha: String,
    pub state: State,
    pub context: String,
    pub description: String,
}

impl CommitStatus {
    /// GitHub has no repositories of SHA-256. None for a job that does not run yet, that is not GitHub's, or whose commit is not known: GitHub answers 422 to a
    /// status of a tag object.
    pub fn of(job: &Job) -> Option<Self> {
        let context = &job.context;
        let repo = RepoName::new(&context.owner, &context.repo).ok().filter(|_| context.github)?;
        let sha = job.known_commit().filter(CommitId::is_sha1)?;
        let (state, description) = outcome(job)?;
        let repo = format!("{}/{}", repo.owner(), repo.name());
        Some(Self {
            sha: sha.to_string(),
            state,
            context: match job.dialect {
                Dialect::Totem | Dialect::Generator => "image-factory".into(),
                Dialect::Conveyor => "container/docker".into(),
                Dialect::ComposeCi => format!("[{repo} CI]"),
            },
            description: cut(&description),
            repo,
        })
    }

    pub fn repo(&self) -> Result<RepoName, Failure> {
        RepoName::parse(&self.repo).map_err(|error| Failure::permanent(error.to_string()))
    }

    /// What comes later in it takes the place of what came before.
    pub fn lane(&self) -> String {
        format!("{} {} {} {}", super::github::CHANNEL, self.repo.to_ascii_lowercase(), self.sha, self.context)
    }
}

fn outcome(job: &Job) -> Option<(State, String)> {
    let cause = job.cause.as_deref();
    Some(match job.status {
        Status::Pending => return None,
        Status::Running => (State::Pending, "The image is being built.".into()),
        Status::Success => (State::Success, format!("Image built in {}.", took(job))),
        Status::Cancelled => match &job.superseded_by {
            Some(newer) => (State::Error, format!("superseded by {newer}")),
            None => (State::Error, cause.unwrap_or("cancelled").to_owned()),
        },
        Status::Failure => {
            let is_ours = |class: FailureClass| class.is_infrastructure() || class == FailureClass::RegistryAuth;
            let state = if job.class.is_some_and(is_ours) { State::Error } else { State::Failure };
            let said = [job.class.map(FailureClass::as_str), cause].into_iter().flatten().collect::<Vec<_>>();
            (state, if said.is_empty() { "The build failed.".into() } else { said.join(": ") })
        }
    })
}

/// As Go writes a duration of whole seconds: `1h0m5s`, `1m2s`, `0s`.
fn took(job: &Job) -> String {
    let took = job.end.zip(job.start).map_or(Duration::ZERO, |(end, start)| end.since(start));
    let seconds = took.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// One line of as many characters as GitHub takes.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_DESCRIPTION) {
        None => line,
        Some(_) => line.chars().take(LONGEST_DESCRIPTION - 1).chain(['…']).collect(),
    }
}
