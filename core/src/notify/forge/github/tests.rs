use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode as Code};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use reqwest::StatusCode;
use std::time::Duration;
use zeroize::Zeroizing;

use super::*;
use crate::model::{Dialect, FailureClass, Job, JobContext, Millis, NewJob, Status};
use crate::notify::forge::status::{CommitState, CommitStatus};

const SHA: &str = "0123456789012345678901234567890123456789";

fn context(commit: &str) -> JobContext {
    let text = format!(
        r#"{{"owner":"Acme","repo":"hello","branch":"develop","commit":"{commit}","github":true,
            "dockerRepoBase":"quay.io/totem","tag":"t"}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn job(status: Status, cause: Option<&str>, class: Option<FailureClass>) -> Job {
    let new = NewJob::new(context("HEAD"), "quay.io/totem/acme-hello:t".into());
    Job {
        status,
        cause: cause.map(str::to_owned),
        class,
        resolved_commit: Some(SHA.parse().unwrap()),
        digest: (status == Status::Success).then(|| "sha256:1".to_owned()),
        start: Some(Millis(0)),
        end: Some(Millis(62_400)),
        ..Job::pending(new, crate::model::RepoCase::default())
    }
}

#[test]
fn a_state_tells_the_commit_s_faults_from_the_operator_s() {
    use FailureClass::*;
    let long = format!("{}ü{}", "a".repeat(126), "b".repeat(40));
    let cut = format!("dockerfile: {}ü…", "a".repeat(126));
    for (status, cause, class, state, description) in [
        (Status::Running, None, None, CommitState::Pending, "The image is being built."),
        // Conveyor has the same text.
        (Status::Success, None, None, CommitState::Success, "Image built in 1m2s."),
        (Status::Failure, Some("step 3\nfailed"), Some(Dockerfile), CommitState::Failure, "dockerfile: step 3 failed"),
        (Status::Failure, Some("no such branch"), Some(Source), CommitState::Failure, "source: no such branch"),
        (Status::Failure, Some("2 of 9"), Some(Test), CommitState::Failure, "test: 2 of 9"),
        (Status::Failure, Some("killed"), Some(OutOfMemory), CommitState::Failure, "out-of-memory: killed"),
        (Status::Failure, Some("too long"), Some(Timeout), CommitState::Failure, "timeout: too long"),
        (Status::Failure, Some("denied"), Some(RegistryAuth), CommitState::Error, "registry-auth: denied"),
        (Status::Failure, Some("it says 503"), Some(Registry), CommitState::Error, "registry: it says 503"),
        (Status::Failure, Some("it is gone"), Some(Engine), CommitState::Error, "engine: it is gone"),
        (Status::Failure, None, Some(LostWorker), CommitState::Error, "lost-worker"),
        (Status::Failure, None, None, CommitState::Failure, "The build failed."),
        (Status::Cancelled, Some("it was cancelled"), Some(Cancelled), CommitState::Error, "it was cancelled"),
        (Status::Failure, Some(&long), Some(Dockerfile), CommitState::Failure, &cut),
    ] {
        let status = CommitStatus::of(&job(status, cause, class)).unwrap();
        assert_eq!((status.state, status.description.as_str()), (state, description));
        assert!(status.description.chars().count() <= 140);
    }
    let newer = "f".repeat(40);
    let superseded =
        Job { superseded_by: Some(newer.parse().unwrap()), ..job(Status::Cancelled, Some("x"), Some(Cancelled)) };
    let status = CommitStatus::of(&superseded).unwrap();
    assert_eq!((status.state, status.description), (CommitState::Error, format!("superseded by {newer}")));
}

#[test]
fn a_lane_is_a_commit_and_a_context() {
    for (dialect, context) in [
        (Dialect::Totem, "image-factory"),
        (Dialect::Generator, "image-factory"),
        (Dialect::Conveyor, "container/docker"),
        (Dialect::ComposeCi, "[Acme/hello CI]"),
    ] {
        let status = CommitStatus::of(&Job { dialect, ..job(Status::Success, None, None) }).unwrap();
        assert_eq!((status.context.as_str(), status.sha.as_str()), (context, SHA));
        assert_eq!(status.lane(), format!("github acme/hello {SHA} {context}"));
    }
    // A branch's new head is a commit. Any other id may be a tag object's until it is resolved.
    let asked = |commit: &str, git_ref: Option<&str>| {
        let git_ref = git_ref.map(str::to_owned);
        let job = Job { resolved_commit: None, git_ref, context: context(commit), ..job(Status::Running, None, None) };
        CommitStatus::of(&job).map(|status| status.sha)
    };
    let (id, branch) = ("AB".repeat(20), Some("refs/heads/develop"));
    assert_eq!(asked(&id, branch), Some("ab".repeat(20)));
    assert_eq!((asked(&id, Some("refs/tags/v1")), asked(&id, None)), (None, None));
    assert_eq!((asked("HEAD", branch), asked("0123456", branch), asked(&"ab".repeat(32), branch)), (None, None, None));

    let status = |change: fn(&mut Job)| {
        let mut job = job(Status::Success, None, None);
        change(&mut job);
        CommitStatus::of(&job)
    };
    assert_eq!(status(|job| job.status = Status::Pending), None);
    assert_eq!(status(|job| job.context.github = false), None);
    assert_eq!(status(|job| job.context.repo = "../../app".into()), None);
}

#[test]
fn durations_are_written_as_in_go() {
    for (millis, text) in [(0, "0s"), (400, "0s"), (59_600, "1m0s"), (3_600_000, "1h0m0s"), (7_384_000, "2h3m4s")] {
        let job = Job { end: Some(Millis(millis)), ..job(Status::Success, None, None) };
        assert_eq!(CommitStatus::of(&job).unwrap().description, format!("Image built in {text}."));
    }
}

#[test]
fn a_response_may_ask_for_a_pause() {
    let now = Millis(1_795_215_567_930);
    let reset = (now.0 / 1000 + 30).to_string();
    let reset = reset.as_str();
    for (status, headers, said, seconds) in [
        (403, vec![("retry-after", "7")], "slow down", Some(7)),
        (429, vec![("retry-after", "7")], "", Some(7)),
        (503, vec![("retry-after", "7")], "", Some(7)),
        (200, vec![("retry-after", "7")], "", None),
        (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)], "", Some(30)),
        // This was the last request that the limit allowed.
        (201, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)], "", Some(30)),
        (201, vec![("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", reset)], "", None),
        // Our clock is two hours behind.
        (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795222767")], "", Some(3600)),
        (403, vec![], "You have exceeded a secondary rate limit.", Some(60)),
        (429, vec![], "", Some(60)),
        (403, vec![], "Resource not accessible by integration", None),
        (404, vec![], "rate limit", None),
    ] {
        let headers = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
        let pause = limit::pause(StatusCode::from_u16(status).unwrap(), &headers, said, now);
        assert_eq!(pause.map(|pause| pause.as_secs()), seconds, "{status} {headers:?} {said:?}");
    }
}

#[test]
fn a_gate_opens_at_the_latest_time() {
    let gate = limit::Gate::default();
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    assert_eq!(gate.closed(now), None);
    gate.close(now + 60 * second);
    gate.close(now + 5 * second);
    assert_eq!(gate.closed(now), Some(60 * second));
    assert_eq!(gate.closed(now + 59 * second), Some(second));
    assert_eq!(gate.closed(now + 60 * second), None);
}

type CannedResponse = Arc<Mutex<(u16, Vec<(&'static str, String)>, &'static str)>>;

async fn respond(Shared(given): Shared<CannedResponse>) -> impl IntoResponse {
    let (status, headers, body) = given.lock().unwrap().clone();
    let headers: HeaderMap = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
    (Code::from_u16(status).unwrap(), headers, body)
}

fn github(api: &str, access: GitHubAccess) -> Result<GitHub, GitHubError> {
    crate::outbound::install_tls_provider();
    let base_url = "https://factory.example".into();
    GitHub::new(GitHubConfig { api: api.parse().unwrap(), base_url, access, authorities: Vec::new() })
}

fn token() -> GitHubAccess {
    GitHubAccess::Token(Zeroizing::new("ghp_secret".into()))
}

#[tokio::test]
async fn permanent_errors_say_what_to_do() {
    let given: CannedResponse = Arc::new(Mutex::new((201, Vec::new(), "{}")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v3/", listener.local_addr().unwrap());
    let app = Router::new().fallback(respond).with_state(given.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let job = job(Status::Success, None, None);
    let status = CommitStatus::of(&job).unwrap();
    let elsewhere = || vec![("location", "https://elsewhere.example/x".to_owned())];
    for (code, headers, body, permanent, words) in [
        (401, vec![], "{}", true, "GitHub does not know GITHUB_TOKEN"),
        (
            403,
            vec![],
            r#"{"message":"Resource not accessible"}"#,
            true,
            "(Resource not accessible): it needs the scope",
        ),
        (404, vec![], r#"{"message":"Not Found"}"#, true, "Acme/hello is not there for our token: check its name"),
        (
            422,
            vec![],
            r#"{"message":"Validation Failed","errors":[{"message":"This SHA and context has reached the maximum number of statuses."}]}"#,
            true,
            "at most 1,000 statuses of a commit and context (Validation Failed This SHA",
        ),
        (422, vec![], r#"{"message":"No commit found for SHA: 0"}"#, true, "Entity for Acme/hello: No commit found"),
        (500, vec![], "oops", false, "GitHub answered 500"),
        (408, vec![], "", false, "GitHub answered 408"),
        (307, elsewhere(), "", false, "redirects to elsewhere.example, which is not given the token"),
        (301, vec![], "", false, "redirects to nowhere"),
        (307, vec![("location", "/again".into())], "", false, "redirects more than 3 times"),
    ] {
        *given.lock().unwrap() = (code, headers, body);
        // Each case has a client of its own, because a limit would hold back the next case.
        let error = github(&url, token()).unwrap().set(job.id, &status).await.unwrap_err();
        assert!(error.message.contains(words), "{code}: {words:?} is not in {:?}", error.message);
        assert_eq!(error.is_permanent, permanent, "{code}");
        assert!(!error.message.contains("ghp_secret"), "{}", error.message);
    }
    // A limit closes the gate for every later call.
    let github = github(&url, token()).unwrap();
    *given.lock().unwrap() = (429, vec![("retry-after", "60".into())], "{}");
    let limited = github.set(job.id, &status).await.unwrap_err();
    *given.lock().unwrap() = (201, vec![], "{}");
    let closed = github.set(job.id, &status).await.unwrap_err();
    for error in [limited, closed] {
        assert!(!error.is_permanent && error.message.contains("rate limit"), "{}", error.message);
        assert!(error.retry_after.is_some_and(|after| after > Duration::from_secs(50)));
    }
}

#[test]
fn a_wrong_setting_is_named() {
    let app = |id: &str, key: &str, installation: Option<&str>| GitHubAccess::App {
        id: id.into(),
        private_key: key.to_owned().into(),
        installation: installation.map(str::to_owned),
    };
    for (api, access, name) in [
        ("http://ghe.example.com/api/v3", token(), "GITHUB_API"),
        ("https://api.github.com", GitHubAccess::Token(Zeroizing::new("two words".into())), "GITHUB_TOKEN"),
        ("https://api.github.com", app("my app", "", None), "GITHUB_APP_ID"),
        ("https://api.github.com", app("1", "", Some("acme")), "GITHUB_INSTALLATION_ID"),
        ("https://api.github.com", app("1", "no key", None), "GITHUB_PRIVATE_KEY"),
    ] {
        let error = github(api, access).err().unwrap().to_string();
        assert!(error.starts_with(name) && !error.contains("two words") && !error.contains("no key"), "{error}");
    }
}

#[test]
fn rows_are_readable_by_later_versions() {
    let body = |job: &Job| CommitStatus::of(job).unwrap().row("api.github.com").body;
    let success = body(&job(Status::Success, None, None));
    let failure = body(&job(Status::Failure, Some("step 3\nfailed"), Some(FailureClass::Dockerfile)));
    insta::assert_snapshot!("github_rows", format!("{success}\n{failure}"));
}
