//! Tests of the wire that totem's clients know, row by row of the recorded one.

use serde_json::json;

use super::*;
use crate::model::StageStatus;

const JOB: &str = "application/vnd.sh.melt.cdp.if.job.v1+json";

#[tokio::test]
async fn a_job_is_made_with_the_originals_defaults() {
    let server = server(|_| {}).await;
    let body = r#"{"owner":"acme","repo":"hello","branch":"feature/x","commit":"1234","realm":"dev"}"#;
    for media_type in
        ["application/json", "application/vnd.sh.melt.cdp.if.job-create.v1+json", "Application/JSON; charset=utf-8"]
    {
        let request = server.as_role("build", "POST", "/job").header("content-type", media_type);
        let answer = send(request.body(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("content-type"), JOB);
        assert_eq!(answer.header("link"), r#"</_schema/job>; rel="describedBy""#);
        let job = answer.json();
        assert_eq!(
            job["context"],
            json!({"owner": "acme", "repo": "hello", "branch": "feature/x", "commit": "1234", "github": true,
                "dockerRepoBase": "127.0.0.1:5555/totem", "tag": "1234", "realm": "dev"})
        );
        assert_eq!(job["image"], "127.0.0.1:5555/totem/acme-hello:1234");
        assert_eq!((&job["status"], &job["results"]), (&json!("pending"), &json!({})));
        assert_eq!((&job["startTime"], &job["endTime"]), (&json!(null), &json!(null)));
        let shown = server.get(&format!("/job/{}", job["id"].as_str().unwrap())).await;
        assert_eq!((shown.status, shown.json()), (200, job));
        assert_eq!((shown.header("content-type"), shown.header("link")), (JOB, r#"</_schema/job>; rel="describedBy""#));
    }
}

#[tokio::test]
async fn names_of_options_in_the_wrong_place_are_kept_and_warned_of() {
    let server = server(|_| {}).await;
    let body = r#"{"owner":"acme","repo":"hello","target":"prod","build":{"dockerFile":"x"}}"#;
    let answer = server.post("/job", body).await;
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    let why = "is kept and not followed: the options of a build stand under build";
    assert_eq!(warnings, [format!("299 - \"target {why}\""), format!("299 - \"build.dockerFile {why}\"")]);
    assert_eq!(answer.json()["context"]["target"], "prod");
    assert_eq!(answer.json()["context"]["build"], json!({"dockerFile": "x"}));
}

#[tokio::test]
async fn a_name_with_a_slash_is_told_as_that() {
    let server = server(|_| {}).await;
    for (body, property, name) in [
        (r#"{"owner":"acme/hello","repo":"hello"}"#, "owner", "acme/hello"),
        (r#"{"owner":"acme","repo":"acme/hello"}"#, "repo", "acme/hello"),
    ] {
        let answer = server.post("/job", body).await;
        let violation = &answer.json()["message"][0];
        assert_eq!((answer.status, &violation["path"]), (400, &json!(format!("#/{property}"))));
        let message = format!("{property} has a '/' in it, which no name has: {name}; send owner and repo apart");
        assert_eq!(violation["message"], json!(message));
    }
}

#[tokio::test]
async fn a_packed_body_makes_a_job() {
    let server = server(|_| {}).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, br#"{"owner":"acme","repo":"hello"}"#).unwrap();
    let packed = packed.finish().unwrap();
    for (encoding, status) in [("gzip", 201), ("identity", 400), ("br", 415)] {
        let request = server.as_role("build", "POST", "/job").header("content-type", "application/json");
        let answer = send(request.header("content-encoding", encoding).body(packed.clone())).await;
        assert_eq!(answer.status, status, "{encoding}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_finished_job_has_results_times_and_a_digest() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let job = server.claim().await;
    let mut stages = Stages::pending();
    for stage in &mut stages.0 {
        stage.status = StageStatus::Success;
        (stage.exit_code, stage.start, stage.end) = (Some(0), now(), now());
    }
    server.finish(&job, Status::Success, stages).await;
    let job = server.get(&format!("/job/{id}")).await.json();
    assert_eq!((&job["status"], &job["digest"]), (&json!("success"), &json!("sha256:1234")));
    assert_eq!((&job["attempt"], &job["resolvedCommit"]), (&json!(1), &json!("a".repeat(40))));
    for name in ["clone", "checkout", "build", "push"] {
        let stage = &job["results"][name];
        assert_eq!((&stage["status"], &stage["exitCode"]), (&json!("success"), &json!(0)));
        assert!(stage["killSignal"].is_null() && stage["startTime"].is_string() && stage["endTime"].is_string());
    }
    assert!(job["startTime"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_failed_job_keeps_the_later_stages_pending() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let job = server.claim().await;
    let mut stages = Stages::pending();
    stages.0[0].status = StageStatus::Failure;
    (stages.0[0].exit_code, stages.0[0].error) = (Some(128), Some("no such branch".into()));
    server.finish(&job, Status::Failure, stages).await;
    let job = server.get(&format!("/job/{id}")).await.json();
    assert_eq!((&job["status"], &job["cause"]), (&json!("failure"), &json!("the branch x does not exist")));
    assert_eq!(job["results"]["clone"]["exitCode"], 128);
    assert_eq!(job["results"]["clone"]["err"]["message"], "no such branch");
    assert_eq!(job["results"]["push"], json!({"status": "pending"}));
}

#[tokio::test]
async fn errors_are_the_recorded_ones() {
    let server = server(|_| {}).await;
    let refused = |answer: Answer, status, code: &str, message: &str| {
        assert_eq!(answer.error(), (status, code.into(), message.into()));
        assert_eq!(answer.header("content-type"), "application/json");
    };
    for path in ["/job/nope", "/job/nope/log"] {
        refused(server.get(path).await, 404, "ResourceNotFound", "Unable to locate job with id: nope");
    }
    let unknown = JobId::new();
    for path in [format!("/job/{unknown}"), format!("/job/{unknown}/log"), format!("/job/{unknown}/log?follow=1")] {
        let message = format!("Unable to locate job with id: {unknown}");
        refused(server.get(&path).await, 404, "ResourceNotFound", &message);
    }
    assert_eq!(server.post(&format!("/job/{unknown}/cancel"), "").await.status, 404);
    refused(server.get("/nothing?x=1").await, 404, "ResourceNotFound", "/nothing does not exist");
    assert_eq!(server.get("/job/%ff").await.status, 404);
    assert_eq!(server.get("/_schema/%ff").await.status, 404);

    let answer = send(server.request("DELETE", "/job")).await;
    assert_eq!(answer.header("allow"), "GET, POST");
    refused(answer, 405, "MethodNotAllowedError", "DELETE is not allowed");
    assert_eq!(send(server.request("PUT", "/hooks/github")).await.header("allow"), "POST");

    let answer = server.post("/job", r#"{"owner":"acme"}"#).await;
    let violation = json!([{"code": "OBJECT_REQUIRED", "message": "Missing required property: repo", "path": "#/",
        "params": {"property": "repo"}}]);
    assert_eq!((answer.status, answer.json()), (400, json!({"code": "InvalidContent", "message": violation})));
    let answer = server.post("/job", r#"{"owner":1,"repo":"hello"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["message"][0]["message"], "invalid type: integer (expected string)");
    assert_eq!(answer.json()["message"][0]["path"], "#/owner");

    let answer = server.post("/job", r#"{"owner":"acme","repo":"hello","tag":"feature/x"}"#).await;
    assert_eq!((answer.status, &answer.json()["message"][0]["path"]), (400, &json!("#/tag")));
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());

    for media_type in ["application/json", "application/vnd.sh.melt.cdp.if.job-create.v1+json"] {
        let request = server.as_role("build", "POST", "/job").header("content-type", media_type);
        let (status, code, message) = send(request.body("{b")).await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidContent"));
        assert!(message.starts_with("Invalid JSON: "), "{message}");
    }
    let (status, code, _) = server.get("/_schema/nope").await.error();
    assert_eq!((status, code.as_str()), (404, "ResourceNotFound"));
    let form = server.as_role("build", "POST", "/job").header("content-type", "text/plain");
    assert_eq!(send(form.body(r#"{"owner":"acme","repo":"hello"}"#)).await.status, 415);
}

#[tokio::test]
async fn the_list_is_a_bare_array_and_comes_in_pages() {
    let server = server(|_| {}).await;
    let empty = server.get("/job").await;
    assert_eq!((empty.status, empty.json()), (200, json!([])));
    assert_eq!(empty.header("content-type"), "application/vnd.sh.melt.cdp.if.job-list.v1+json");
    assert_eq!(empty.header("link"), r#"</_schema/job-list>; rel="describedBy""#);

    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.job().await.to_string());
    }
    ids.reverse();
    let listed = |answer: &Answer| {
        let jobs = answer.json();
        jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&server.get("/job").await), ids);
    let (mut path, mut seen) = ("/job?limit=2".to_owned(), Vec::new());
    loop {
        let answer = server.get(&path).await;
        seen.push(listed(&answer));
        let link = answer.header("link").to_owned();
        assert!(link.starts_with(r#"</_schema/job-list>; rel="describedBy""#));
        match link.split_once(", <").and_then(|(_, next)| next.split_once(r#">; rel="next""#)) {
            Some((next, "")) => path = next.into(),
            _ => break,
        }
    }
    assert_eq!(seen, [&ids[..2], &ids[2..4], &ids[4..]]);
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=x", "limit=1&limit=2"] {
        assert_eq!(server.get(&format!("/job?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(server.get("/job?_=1").await.status, 200);
}

#[tokio::test]
async fn schemas_describe_what_is_sent() {
    let server = server(|_| {}).await;
    let root = send(server.request("GET", "/")).await;
    assert_eq!((root.status, root.json()), (200, json!({})));
    assert_eq!(root.header("link"), r#"</_schema/ROOT>; rel="describedBy""#);
    for name in ["ROOT", "job", "job-list", "job-create", "github-hook"] {
        let schema = send(server.request("GET", &format!("/_schema/{name}"))).await;
        assert_eq!((schema.status, schema.header("content-type")), (200, "application/schema+json"));
        assert_eq!(schema.json()["$schema"], "http://json-schema.org/draft-04/schema");
    }
    let rels = |name: &'static str| {
        let server = &server;
        async move {
            let schema = send(server.request("GET", &format!("/_schema/{name}"))).await.json();
            let links = schema["links"].as_array().unwrap().clone();
            links.iter().map(|link| link["rel"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(rels("ROOT").await, ["list-jobs", "create-job", "github-hook"]);
    assert_eq!(rels("job").await, ["parent", "job", "job-log", "cancel-job", "rebuild-job"]);
    // Every name in a job is in its schema.
    let id = server.job().await;
    let job = server.get(&format!("/job/{id}")).await.json();
    let schema = send(server.request("GET", "/_schema/job")).await.json();
    for name in job.as_object().unwrap().keys() {
        assert!(schema["properties"].get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_job_is_cancelled_once() {
    let server = server(|_| {}).await;
    let (first, second) = (server.job().await, server.job().await);
    assert_eq!(server.claim().await.id, first);
    let running = server.post(&format!("/job/{first}/cancel"), "").await;
    assert_eq!((running.status, &running.json()["status"]), (200, &json!("running")));
    assert_eq!(running.json()["cancelRequested"], true);
    let pending = server.post(&format!("/job/{second}/cancel"), "").await;
    assert_eq!((pending.status, &pending.json()["status"]), (200, &json!("failure")));
    assert_eq!(pending.json()["cancelled"], true);
    let again = server.post(&format!("/job/{second}/cancel"), "").await.error();
    assert_eq!(again, (409, "ConflictError".into(), "The job has ended already: cancelled".into()));
}
