use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::{CommitId, Dialect, FailureClass, Job, JobId, RepoName, Status};
use crate::notify::send_error::SendError;
use crate::store::NewNotification;

/// The channel's name in the outbox, the metrics and the API.
pub(super) const CHANNEL: &str = "github";
/// The context of Conveyor's statuses, which link to the log.
const CONVEYOR_CONTEXT: &str = "container/docker";
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
                Dialect::Conveyor => CONVEYOR_CONTEXT.into(),
                Dialect::ComposeCi => format!("[{repo} CI]"),
            },
            description: shorten(&description),
            repo,
        })
    }

    pub fn repo(&self) -> Result<RepoName, SendError> {
        RepoName::parse(&self.repo).map_err(|error| SendError::permanent(error.to_string()))
    }

    /// Returns the path of the job's page that the status links to.
    pub fn path(&self, job: JobId) -> String {
        match self.context == CONVEYOR_CONTEXT {
            true => format!("/logs/{job}"),
            false => format!("/job/{job}"),
        }
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
    let is_conveyors = job.dialect == Dialect::Conveyor;
    Some(match job.status {
        Status::Pending => return None,
        Status::Running if is_conveyors => (CommitState::Pending, "Image building.".into()),
        Status::Running => (CommitState::Pending, "The image is being built.".into()),
        Status::Success => {
            let took = job.took().unwrap_or_default();
            let took = if is_conveyors { go_duration(took) } else { whole_seconds(took) };
            let pushed = if job.is_dry_run() { " It is not pushed, because this was a dry run." } else { "" };
            // A test by Docker Compose may have no image of its own.
            let done = if job.dialect.has_tests() && job.tags.is_empty() { "Tested" } else { "Image built" };
            (CommitState::Success, format!("{done} in {took}.{pushed}"))
        }
        Status::Cancelled => match &job.superseded_by {
            // Another job, of a protected ref, has made the image of this commit.
            Some(same) if job.resolved_commit.as_ref() == Some(same) => {
                (CommitState::Success, "The commit's image is another job's.".into())
            }
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

/// Formats a duration as Go does, in whole seconds: `1h0m5s`, `1m2s`, `0s`.
fn whole_seconds(took: Duration) -> String {
    go_duration(Duration::from_secs(took.as_secs_f64().round() as u64))
}

/// Formats a duration as Go's `Duration.String` does, in milliseconds: `1h0m5s`, `1m2.345s`, `1.5s`, `345ms`, `0s`.
fn go_duration(took: Duration) -> String {
    let (seconds, millis) = (took.as_secs(), took.subsec_millis());
    let fraction = match millis {
        0 => String::new(),
        _ => format!(".{millis:03}").trim_end_matches('0').to_owned(),
    };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) if millis > 0 => format!("{millis}ms"),
        (0, 0, s) => format!("{s}{fraction}s"),
        (0, m, s) => format!("{m}m{s}{fraction}s"),
        (h, m, s) => format!("{h}h{m}m{s}{fraction}s"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;
    use crate::notify::summary::testing::{job, successful_job};

    #[test]
    fn durations_are_written_as_by_go() {
        for (millis, exact, whole) in [
            (0, "0s", "0s"),
            (7, "7ms", "0s"),
            (1_500, "1.5s", "2s"),
            (62_345, "1m2.345s", "1m2s"),
            (60_020, "1m0.02s", "1m0s"),
            (3_605_100, "1h0m5.1s", "1h0m5s"),
        ] {
            let took = Duration::from_millis(millis);
            assert_eq!((&*go_duration(took), &*whole_seconds(took)), (exact, whole), "{millis}");
        }
    }

    #[test]
    fn a_test_without_an_image_has_no_image_built() {
        let said = |tags| {
            let job = Job { dialect: Dialect::ComposeCi, tags, ..successful_job() };
            CommitStatus::of(&job).unwrap().description.split(" in ").next().unwrap().to_owned()
        };
        assert_eq!([said(vec![]), said(successful_job().tags)], ["Tested", "Image built"]);
    }

    #[test]
    fn the_statuses_of_conveyors_jobs_have_its_words_and_lead_to_the_log() {
        let shown = |job: Job| {
            let status = CommitStatus::of(&Job { dialect: Dialect::Conveyor, ..job }).unwrap();
            let path = status.path(crate::notify::summary::testing::JOB.parse().unwrap());
            format!("{} {:?}: {} ({path})", status.context, status.state, status.description)
        };
        let ran = |job: Job| Job { first_start: Some(Millis(1_000)), end: Some(Millis(63_345)), ..job };
        let shown = [
            Job { status: Status::Running, cause: None, class: None, ..job("acme", "main", "") },
            ran(successful_job()),
            ran(Job { digest: None, ..successful_job() }),
            ran(job("acme", "main", "build: RUN make ended with 2")),
        ]
        .map(shown);
        insta::assert_snapshot!(shown.join("\n"), @"
        container/docker Pending: Image building. (/logs/019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1)
        container/docker Success: Image built in 1m2.345s. (/logs/019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1)
        container/docker Success: Image built in 1m2.345s. It is not pushed, because this was a dry run. (/logs/019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1)
        container/docker Failure: dockerfile: build: RUN make ended with 2 (/logs/019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1)
        ");
    }
}
