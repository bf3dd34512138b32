//! The webhook of compose-ci, as curl and GitHub call it.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::model::{CommitId, Dialect, RefGlob, RepoName};

const SHA: &str = "5df99b9b0f2b4e4a9cf7c1e7f9a8c6d5e4f3a2b1";
/// The type that curl gives to what follows `-d`.
const FORM: &str = "application/x-www-form-urlencoded";

async fn compose_ci(change: impl FnOnce(&mut HttpConfig), change_policy: impl FnOnce(&mut Rules)) -> Server {
    let open = |config: &mut HttpConfig| {
        config.dialects = Dialects::parse("totem,conveyor,compose-ci").unwrap();
        change(config);
    };
    server_with(open, change_policy).await
}

impl Server {
    async fn call(&self, body: impl Into<reqwest::Body>) -> Answer {
        let path = format!("/?token={CI_TOKEN}");
        send(self.request("POST", &path).header("content-type", FORM).body(body)).await
    }

    async fn report(&self, event: &str, body: &Value) -> Answer {
        let request = self.request("POST", &format!("/any/path?token={CI_TOKEN}")).header("x-github-event", event);
        send(request.header("x-github-delivery", "d1").body(body.to_string())).await
    }
}

fn push(after: &str) -> Value {
    json!({"ref": "refs/heads/main", "before": "1".repeat(40), "after": after, "deleted": false, "forced": true,
        "head_commit": {"id": after, "message": "Say hello"}, "sender": {"login": "ann"},
        "repository": {"full_name": "acme/hello", "default_branch": "main"}})
}

fn id(answer: &Answer) -> JobId {
    assert_eq!((answer.status, answer.header("content-type")), (202, "text/plain; charset=utf-8"), "{}", answer.text());
    let text = answer.text();
    let id = text.strip_suffix('\n').unwrap();
    assert_eq!(id, id.trim());
    id.parse().unwrap()
}

#[tokio::test]
async fn a_push_is_a_job_whose_id_is_the_answer() {
    let server = compose_ci(|_| {}, |_| {}).await;
    let made = id(&server.report("push", &push(SHA)).await);
    let job = server.claim().await;
    assert_eq!((job.id, job.dialect, job.created_by.as_deref()), (made, Dialect::ComposeCi, Some("ann")));
    let context = &job.context;
    assert_eq!((&*job.repository, &*context.branch, &*context.commit), ("acme/hello", "main", SHA));
    assert_eq!((job.git_ref.as_deref(), job.default_branch.as_deref()), (Some("refs/heads/main"), Some("main")));
    assert_eq!(job.before, Some("1".repeat(40).parse::<CommitId>().unwrap()));
    assert!(job.pushed && job.forced && context.github && !job.tag_named);
    assert_eq!(server.get("/deliveries").await.json()[0]["job"], made.to_string());
    let again = server.report("push", &push(SHA)).await;
    assert_eq!((id(&again), again.header("x-image-factory-duplicate")), (made, "true"));

    // A form has the same payload, and any type of a body is taken.
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &push(SHA).to_string()).finish();
    assert_eq!(id(&server.call(form).await), made);
    let delivery = server.get("/deliveries").await.json()[0]["id"].as_str().unwrap().to_owned();
    let replayed = server.post(&format!("/deliveries/{delivery}/replay"), "").await;
    assert_eq!((replayed.status, server.claim().await.dialect), (201, Dialect::ComposeCi));
}

#[tokio::test]
async fn a_call_by_hand_needs_a_commit_alone_and_builds_each_time() {
    let default = |config: &mut HttpConfig| config.default_repo = Some(RepoName::parse("acme/tool").unwrap());
    let only_main = |rules: &mut Rules| {
        rules.selection.branches = vec![RefGlob::parse(RefGlob::BRANCHES, "main").unwrap()];
        rules.allow_repos = vec!["acme".into()];
    };
    let server = compose_ci(default, only_main).await;
    let by_hand = json!({ "after": SHA }).to_string();
    let first = id(&server.call(by_hand.clone()).await);
    assert_ne!(id(&server.call(by_hand).await), first);
    let job = server.claim().await;
    assert_eq!((&*job.repository, &*job.context.commit, job.context.branch_left_out), ("acme/tool", SHA, true));
    assert_eq!(job.git_ref, None);
    server.claim().await;
    id(&server.call(json!({"after": &SHA[..7], "repository": {"full_name": "acme/hello"}}).to_string()).await);
    assert_eq!(server.claim().await.repository, "acme/hello");
}

#[tokio::test]
async fn what_is_no_push_builds_nothing_and_is_accepted() {
    let only_main =
        |rules: &mut Rules| rules.selection.branches = vec![RefGlob::parse(RefGlob::BRANCHES, "main").unwrap()];
    let server = compose_ci(|_| {}, only_main).await;
    let mut deleted = push(&"0".repeat(40));
    let mut answers = vec![server.report("push", &deleted).await];
    deleted["after"] = SHA.into();
    deleted["deleted"] = true.into();
    answers.push(server.call(deleted.to_string()).await);
    answers.push(server.report("ping", &json!({"zen": "x", "hook": {}})).await);
    answers.push(server.report("issue_comment", &json!({})).await);
    answers.push(server.call(json!({"action": "synchronize", "after": SHA}).to_string()).await);
    let mut elsewhere = push(SHA);
    elsewhere["ref"] = "refs/heads/wip".into();
    answers.push(server.report("push", &elsewhere).await);
    for answer in &answers {
        assert_eq!((answer.status, !answer.header("x-image-factory-skipped").is_empty()), (202, true));
    }
    assert!(server.store.claim("test", LEASE).await.unwrap().is_none());
    let texts: Vec<_> = answers.iter().map(Answer::text).collect();
    insta::assert_snapshot!(texts.concat(), @r"
    Nothing is built: the push deleted its branch or tag
    Nothing is built: the push deleted its branch or tag
    Nothing is built: the event is no push of a branch or tag
    Nothing is built: the event is no push of a branch or tag
    Nothing is built: the event is no push of a branch or tag
    Nothing is built: BRANCHES does not name this branch
    ");
}

#[tokio::test]
async fn a_refusal_is_a_line_of_text() {
    let server = compose_ci(|_| {}, |rules| rules.allow_repos = vec!["acme".into()]).await;
    let mut texts = String::new();
    for body in [
        "{b".into(),
        String::new(),
        "payload=%7Bb".into(),
        json!([]).to_string(),
        json!({ "after": SHA }).to_string(),
        json!({"after": SHA, "repository": {}}).to_string(),
        json!({"after": SHA, "repository": {"full_name": "acme"}}).to_string(),
        json!({"repository": {"full_name": "acme/hello"}}).to_string(),
        json!({"after": "main", "repository": {"full_name": "acme/hello"}}).to_string(),
        json!({"after": SHA, "repository": {"full_name": "other/hello"}}).to_string(),
    ] {
        let answer = server.call(body).await;
        texts += &format!("{} {}", answer.status, answer.text());
    }
    insta::assert_snapshot!(texts);
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_the_body_is_read() {
    let server = compose_ci(|_| {}, |_| {}).await;
    let two = format!("/?token={CI_TOKEN}&token={CI_TOKEN}");
    for path in ["/", "/any/path", "/?token", "/?token=", "/?token=wrong", "/health?token=wrong", &two] {
        let answer = send(server.request("POST", path).body(push(SHA).to_string())).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("content-type")), (401, 0, ""), "{path}");
    }
    // The body of this request never comes.
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let head = "POST /?token=wrong HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
}

#[tokio::test]
async fn a_request_goes_to_the_door_that_its_form_names() {
    let server = compose_ci(|_| {}, |_| {}).await;
    let status = async |request: RequestBuilder| send(request.body(push(SHA).to_string())).await.status;
    let token = format!("/x?token={CI_TOKEN}");
    // Conveyor's webhook is unsigned here, which is 403 there.
    assert_eq!(status(server.request("POST", "/x").header("x-github-event", "push")).await, 403);
    assert_eq!(status(server.request("PUT", &token).header("x-github-event", "push")).await, 403);
    assert_eq!(status(server.request("POST", &token).header("x-github-event", "push")).await, 202);
    assert_eq!(status(server.request("POST", &format!("/health?token={CI_TOKEN}"))).await, 202);
    // A route is asked first, and no other method is compose-ci's.
    assert_eq!(status(server.request("POST", &format!("/hooks/github?token={CI_TOKEN}"))).await, 401);
    assert_eq!(status(server.request("PUT", &token)).await, 404);
    assert_eq!(status(server.request("GET", &token)).await, 404);
}

#[tokio::test]
async fn a_ref_with_a_control_character_makes_no_job() {
    let server = compose_ci(|_| {}, |_| {}).await;
    let mut push = push(SHA);
    push["ref"] = json!("refs/heads/a\u{1b}b");
    let answer = server.report("push", &push).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("has a control character"), "{}", answer.text());
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}
