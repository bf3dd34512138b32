//! Snapshots of what goes over the wire. Ids and times are made constant.

use regex::Regex;
use serde_json::json;

use super::*;
use crate::model::StageStatus;

const HEADERS: [&str; 9] = [
    "content-type",
    "link",
    "allow",
    "www-authenticate",
    "retry-after",
    "content-range",
    "accept-ranges",
    "cache-control",
    "x-image-factory-duplicate",
];

/// The requests of a client and their answers.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    async fn add(&mut self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let path = request.url().path();
        let query = request.url().query().map_or_else(String::new, |query| format!("?{query}"));
        self.0 += &format!("{} {path}{query}\n", request.method());
        let answer = send(RequestBuilder::from_parts(reqwest::Client::new(), request)).await;
        self.0 += &format!("{}\n", answer.status);
        for name in HEADERS.iter().filter(|name| !answer.header(name).is_empty()) {
            self.0 += &format!("{name}: {}\n", answer.header(name));
        }
        let body = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) => serde_json::to_string_pretty(&body).unwrap(),
            Err(_) => answer.text(),
        };
        self.0 += &format!("{body}\n\n");
        answer
    }

    /// Returns the transcript with constant ids and times.
    fn constant(self) -> String {
        let id = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
        let time = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").unwrap();
        time.replace_all(&id.replace_all(&self.0, "[id]"), "[time]").into_owned()
    }
}

#[tokio::test]
async fn the_answers_about_jobs() {
    let server = server(|_| {}).await;
    let mut seen = Transcript::default();
    let new = server.as_role("build", "POST", "/job").header("content-type", "application/json");
    let body = json!({"owner": "Acme", "repo": "hello", "branch": "feature/x", "commit": "1234", "realm": {"a": 1},
        "build": {"dockerfile": "web/Dockerfile", "buildArgs": {"A": "1"}}});
    let id = seen.add(new.body(body.to_string())).await.json()["id"].as_str().unwrap().to_owned();
    let job = server.claim().await;
    let mut stages = Stages::pending();
    (stages.0[0].status, stages.0[0].exit_code) = (StageStatus::Success, Some(0));
    (stages.0[1].status, stages.0[1].exit_code) = (StageStatus::Failure, Some(128));
    stages.0[1].error = Some("no such branch".into());
    server.finish(&job, Status::Failure, stages).await;
    let get = |path: String| server.as_role("read", "GET", &path);
    seen.add(get(format!("/job/{id}"))).await;
    seen.add(server.as_role("build", "POST", &format!("/job/{id}/rebuild"))).await;
    seen.add(get("/job?limit=1&status=failure".into())).await;
    seen.add(get("/job?limit=1".into())).await;
    seen.add(get(format!("/job/{id}/log"))).await;
    insta::assert_snapshot!(seen.constant());
}

#[tokio::test]
async fn the_answers_to_what_is_refused() {
    let server = server(|config| config.hook_secret = None).await;
    let mut seen = Transcript::default();
    let id = server.job().await;
    let unknown = JobId::new();
    for (role, method, path) in [
        ("", "GET", "/job".to_owned()),
        ("read", "POST", "/job".into()),
        ("build", "POST", format!("/notifications/{unknown}/replay")),
        ("admin", "POST", format!("/notifications/{unknown}/replay")),
        ("build", "POST", format!("/deliveries/{unknown}/replay")),
        ("read", "GET", "/deliveries/x".into()),
        ("read", "GET", format!("/job/{unknown}")),
        ("build", "POST", format!("/job/{id}/rebuild")),
        ("read", "GET", "/job?branch=x".into()),
        ("read", "GET", "/job?status=done".into()),
        ("read", "GET", "/job?limit=0".into()),
        ("read", "GET", "/job?cursor=x".into()),
        ("read", "GET", "/job?limit=1&limit=2".into()),
        ("read", "GET", "/notifications?state=lost".into()),
        ("read", "GET", "/_schema/nope".into()),
        ("read", "GET", "/nothing".into()),
        ("read", "DELETE", "/job".into()),
        ("", "POST", "/hooks/github".into()),
    ] {
        seen.add(server.as_role(role, method, &path)).await;
    }
    seen.add(server.as_role("read", "GET", &format!("/job/{id}/log")).header("range", "bytes=7-")).await;
    seen.add(server.as_role("build", "POST", "/job").header("content-type", "text/plain").body("{}")).await;
    for body in [
        json!({"owner": "acme"}),
        json!({"owner": 1, "repo": "hello", "github": "yes", "tag": "feature/x"}),
        json!({"owner": "acme", "repo": "hello\0", "branch": "b".repeat(5000)}),
        json!({"owner": "acme", "repo": "hello", "x": "x".repeat(20000)}),
        json!({"owner": "acme", "repo": "hello", "build": {"image": "quay.io/acme/site"}}),
        json!({"owner": "acme", "repo": "hello", "dockerRepoBase": "q.io/other"}),
        json!({"owner": "acme", "repo": "hello", "build": {"buildArgs": {"A": SECRET}}}),
        json!([]),
    ] {
        let request = server.as_role("build", "POST", "/job").header("content-type", "application/json");
        seen.add(request.body(body.to_string())).await;
    }
    assert_eq!(server.post(&format!("/job/{id}/cancel"), "").await.status, 200);
    seen.add(server.as_role("build", "POST", &format!("/job/{id}/cancel"))).await;
    server.store.close().await;
    seen.add(server.as_role("read", "GET", "/ready")).await;
    insta::assert_snapshot!(seen.constant());
}
