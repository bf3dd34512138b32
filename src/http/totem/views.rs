//! A job as totem's clients know it, with the fields that are new.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::model::{
    CommitId, FailedStep, FailureClass, Job, JobContext, JobId, Millis, StageRecord, StageStatus, Stages, Status,
    TagResult, WaitReason,
};

pub const JOB: &str = "application/vnd.sh.melt.cdp.if.job.v1+json";
const JOB_LINK: &str = r#"</_schema/job>; rel="describedBy""#;
pub const JOB_LIST: &str = "application/vnd.sh.melt.cdp.if.job-list.v1+json";
pub const JOB_CREATE: &str = "application/vnd.sh.melt.cdp.if.job-create.v1+json";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView<'a> {
    id: JobId,
    context: &'a JobContext,
    image: &'a str,
    /// A cancelled job is a `failure` here, because totem has no such status.
    status: &'static str,
    results: Results<'a>,
    start_time: Option<Millis>,
    end_time: Option<Millis>,
    // The fields below are new; totem did not have them.
    create_time: Millis,
    attempt: u32,
    resolved_commit: Option<&'a CommitId>,
    digest: Option<&'a str>,
    cause: Option<&'a str>,
    class: Option<FailureClass>,
    advice: Option<&'static str>,
    cancelled: bool,
    cancel_requested: bool,
    origin: &'static str,
    priority: i64,
    rebuild_of: Option<JobId>,
    superseded_by: Option<&'a CommitId>,
    tags: &'a [TagResult],
    created_by: Option<&'a str>,
    cancelled_by: Option<&'a str>,
    first_start_time: Option<Millis>,
    waiting_for: Option<WaitReason>,
    dry_run: bool,
    /// True if the branch in `context` is the default on the wire, and the job is about a commit alone; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    branch_left_out: bool,
    /// Text of the Dockerfile that came with the request; absent from a job of a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    dockerfile: Option<&'a str>,
}

impl<'a> JobView<'a> {
    /// Returns the view of a job that waits for this.
    pub fn waiting((job, waiting_for): (&'a Job, Option<WaitReason>)) -> Self {
        Self { waiting_for, ..Self::from(job) }
    }
}

impl<'a> From<&'a Job> for JobView<'a> {
    fn from(job: &'a Job) -> Self {
        Self {
            id: job.id,
            context: &job.context,
            image: &job.image,
            status: if job.status == Status::Cancelled { "failure" } else { job.status.as_str() },
            results: Results(&job.stages),
            start_time: job.start,
            end_time: job.end,
            create_time: job.created,
            attempt: job.attempt,
            resolved_commit: job.resolved_commit.as_ref(),
            digest: job.digest.as_deref(),
            cause: job.cause.as_deref(),
            class: job.class,
            // A job that is retried needs nobody to act, so the advice comes with its end.
            advice: job.class.filter(|_| job.status.is_terminal()).map(FailureClass::advice),
            cancelled: job.status == Status::Cancelled,
            cancel_requested: job.cancel_requested,
            origin: job.origin.as_str(),
            priority: job.priority,
            rebuild_of: job.rebuild_of,
            superseded_by: job.superseded_by.as_ref(),
            tags: &job.tags,
            created_by: job.created_by.as_deref(),
            cancelled_by: job.cancelled_by.as_deref(),
            first_start_time: job.first_start.or(job.start),
            waiting_for: None,
            dry_run: job.is_dry_run(),
            branch_left_out: job.context.counted_branch().is_none(),
            dockerfile: job.source.dockerfile(),
        }
    }
}

struct Results<'a>(&'a Stages);

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for stage in &self.0.0 {
            map.serialize_entry(stage.name.as_str(), &StageView::from(stage))?;
        }
        map.end()
    }
}

/// One stage. Before it begins it is `{"status":"pending"}`; `exitCode` and `killSignal` come with its end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StageView<'a> {
    status: &'static str,
    #[serde(flatten)]
    end: Option<StageEnd<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Millis>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StageEnd<'a> {
    exit_code: Option<i32>,
    kill_signal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<StageError<'a>>,
}

/// The error of a stage. totem's Node wrote `killed`, `code` and `signal`; the message is ours.
#[derive(Serialize)]
struct StageError<'a> {
    message: &'a str,
    killed: bool,
    code: Option<i32>,
    signal: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a FailedStep>,
}

impl<'a> From<&'a StageRecord> for StageView<'a> {
    fn from(stage: &'a StageRecord) -> Self {
        let (status, ended, failed) = match stage.status {
            StageStatus::Pending => ("pending", false, false),
            StageStatus::Running => ("running", false, false),
            StageStatus::Success => ("success", true, false),
            StageStatus::Failure | StageStatus::Cancelled => ("failure", true, true),
        };
        let killed = stage.status == StageStatus::Cancelled;
        let message = stage.error.as_deref().unwrap_or(if killed { "cancelled" } else { "failed" });
        let err = failed.then_some(StageError {
            message,
            killed,
            code: stage.exit_code,
            signal: None,
            step: stage.step.as_ref(),
        });
        Self {
            status,
            end: ended.then_some(StageEnd { exit_code: stage.exit_code, kill_signal: None, err }),
            start_time: stage.start.map(Millis),
            end_time: stage.end.map(Millis),
        }
    }
}

/// Answers with one job, and why it is pending.
pub async fn waiting_job(api: &ApiState, status: StatusCode, job: &Job) -> Result<Response, ApiError> {
    let view = JobView::waiting((job, api.queue.wait_reason(job).await?));
    json(status, JOB, JOB_LINK, &view)
}

/// Answers a webhook with its job, without looking why that is pending.
pub fn job(status: StatusCode, job: &Job) -> Result<Response, ApiError> {
    json(status, JOB, JOB_LINK, &JobView::from(job))
}

/// Answers with a media type that has a schema.
pub fn json(
    status: StatusCode,
    media_type: &'static str,
    link: &str,
    value: &impl Serialize,
) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| ApiError::Internal(format!("writing JSON: {error}")))?;
    of_type(status, media_type, link, body.into())
}

/// Answers with the JSON of such a media type.
pub fn of_type(status: StatusCode, media_type: &'static str, link: &str, body: Body) -> Result<Response, ApiError> {
    let link = HeaderValue::from_str(link).map_err(|error| ApiError::Internal(format!("the Link header: {error}")))?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type)), (header::LINK, link)];
    Ok((status, headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NewJob, StageName};
    use serde_json::{Value, json};

    fn sample(status: Status, stages: Stages) -> Job {
        let body = br#"{"owner":"acme","repo":"hello"}"#;
        let destinations = crate::http::testing::destinations("127.0.0.1:5555/totem");
        let context = super::super::request::read(body, &destinations).unwrap().context;
        let to = destinations.of(&context).unwrap();
        Job { status, stages, ..Job::pending(NewJob::bound_for(context, to), crate::model::RepoCase::default()) }
    }

    fn written(job: &Job) -> Value {
        serde_json::to_value(JobView::from(job)).unwrap()
    }

    #[test]
    fn a_new_job_begins_like_the_recorded_one() {
        let job = sample(Status::Pending, Stages::default());
        let text = serde_json::to_string(&JobView::from(&job)).unwrap();
        let recorded = format!(
            r#"{{"id":"{}","context":{{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"127.0.0.1:5555/totem","tag":"HEAD"}},"image":"127.0.0.1:5555/totem/acme-hello:HEAD","status":"pending","results":{{}},"startTime":null,"endTime":null,"#,
            job.id
        );
        assert!(text.starts_with(&recorded), "{text}");
    }

    #[test]
    fn stages_are_shown_as_far_as_they_are() {
        let mut stages = Stages::pending();
        let ends = [(StageStatus::Success, Some(0), None), (StageStatus::Failure, Some(128), Some("no such branch"))];
        for (stage, (status, exit_code, error)) in stages.0.iter_mut().zip(ends) {
            *stage = StageRecord { exit_code, status, error: error.map(str::to_owned), end: Some(1), ..stage.clone() };
        }
        stages.get_mut(StageName::Build).unwrap().status = StageStatus::Running;
        assert_eq!(
            written(&sample(Status::Failure, stages))["results"],
            json!({
                "clone": {"status": "success", "exitCode": 0, "killSignal": null, "endTime": "1970-01-01T00:00:00.001Z"},
                "checkout": {"status": "failure", "exitCode": 128, "killSignal": null,
                    "err": {"message": "no such branch", "killed": false, "code": 128, "signal": null},
                    "endTime": "1970-01-01T00:00:00.001Z"},
                "build": {"status": "running"},
                "push": {"status": "pending"},
            })
        );
    }

    #[test]
    fn a_cancelled_job_is_a_failure_that_says_so() {
        let job = written(&sample(Status::Cancelled, Stages::default()));
        assert_eq!((&job["status"], &job["cancelled"]), (&json!("failure"), &json!(true)));
    }

    #[test]
    fn a_class_comes_with_advice_once_the_job_has_ended() {
        for (status, advice) in [(Status::Pending, None), (Status::Failure, Some(FailureClass::OutOfMemory.advice()))] {
            let class = Some(FailureClass::OutOfMemory);
            let job = written(&Job { class, ..sample(status, Stages::default()) });
            assert_eq!((&job["class"], job["advice"].as_str()), (&json!("out-of-memory"), advice));
        }
        let job = written(&sample(Status::Success, Stages::default()));
        assert_eq!((&job["class"], &job["advice"]), (&Value::Null, &Value::Null));
    }
}
