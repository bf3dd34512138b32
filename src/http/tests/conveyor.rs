//! Conveyor's API, as its clients use it. The answers are those that were recorded from the program.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;

use super::*;
use crate::http::NoHead;
use crate::model::{LogSink, TagResult};

const SHA: &str = "5df99b9b0f2b4e4a9cf7c1e7f9a8c6d5e4f3a2b1";

impl Server {
    async fn build(&self, body: Value) -> Answer {
        send(self.as_role("build", "POST", "/builds").body(body.to_string())).await
    }

    /// Makes a build of `acme/hello` at `SHA` and claims it.
    async fn building(&self) -> Job {
        let made = self.build(json!({"repository": "acme/hello", "branch": "main", "sha": SHA})).await;
        assert_eq!(made.status, 200, "{}", made.text());
        self.claim().await
    }

    /// Ends a job as a success, with these tags of its image pushed.
    async fn push_image(&self, job: &Job, digest: Option<&str>, tags: &[&str]) {
        let digest = digest.map(str::to_owned);
        let name = job.image.rsplit_once(':').unwrap().0;
        let tag = |tag: &&str| TagResult { name: format!("{name}:{tag}"), digest: digest.clone(), kept: None };
        let outcome = Outcome {
            status: Status::Success,
            stages: Stages::pending(),
            resolved_commit: Some(SHA.parse().unwrap()),
            digest: digest.clone(),
            cause: None,
            class: None,
            superseded_by: None,
            tags: tags.iter().map(tag).collect(),
        };
        self.store.finish(job.id, job.attempt, &outcome).await.unwrap();
        self.logs.end(job.id);
    }

    fn event(&self, event: &str, body: &Value) -> RequestBuilder {
        let body = body.to_string();
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
        let signature = hex::encode(mac.chain_update(&body).finalize().into_bytes());
        // This is what curl says of any body.
        let form = "application/x-www-form-urlencoded";
        let request = self.request("POST", "/").header("x-github-event", event).header("content-type", form);
        request.header("x-hub-signature", format!("sha1={signature}")).body(body)
    }
}

fn is_not_found(answer: &Answer) -> bool {
    answer.status == 404 && answer.text() == "{\"id\":\"not_found\",\"message\":\"resource was not found\"}\n"
}

/// The payload of Conveyor's own test.
fn push(sha: &str) -> Value {
    json!({"ref": "refs/heads/main", "head_commit": {"id": sha}, "repository": {"full_name": "acme/hello"}})
}

#[tokio::test]
async fn a_build_is_made_shown_and_found_by_its_commit() {
    let server = server(|_| {}).await;
    let by_sha = format!("/builds/acme/hello@{SHA}");
    assert!(is_not_found(&server.get(&by_sha).await));
    let made = server.build(json!({"Repository": "acme/hello", "sha": SHA.to_uppercase(), "other": 1})).await;
    assert_eq!((made.status, made.header("content-type")), (200, "text/plain; charset=utf-8"));
    let (id, at) = (made.json()["id"].clone(), made.json()["created_at"].clone());
    let line = |branch: &str, ended: &str, started: &str, state: &str| {
        format!(
            "{{\"branch\":\"{branch}\",\"completed_at\":{ended},\"created_at\":{at},\"id\":{id},\
             \"repository\":\"acme/hello\",\"sha\":\"{SHA}\",\"started_at\":{started},\"state\":\"{state}\"}}\n"
        )
    };
    assert_eq!(made.text(), line("", "null", "null", "pending"));
    let by_id = format!("/builds/{}", id.as_str().unwrap());
    for path in [&by_id, &by_sha, &format!("/builds/Acme/hello@{}", SHA.to_uppercase())] {
        assert_eq!(server.get(path).await.text(), made.text(), "{path}");
    }
    let job = server.claim().await;
    let found = server.get(&by_sha).await;
    assert_eq!((&found.json()["state"], found.json()["started_at"].is_string()), (&"building".into(), true));
    server.finish(&job, Status::Cancelled, Stages::pending()).await;
    // `finish` gives the job another commit, so it is asked for by its id.
    let failed = server.get(&by_id).await.json();
    assert_eq!((&failed["state"], failed["completed_at"].is_string()), (&"failed".into(), true));
    for unknown in ["/builds/x", "/builds/acme/hello", "/builds/acme/hello@main", "/builds/acme/hello@c0ffee"] {
        assert!(is_not_found(&server.get(unknown).await), "{unknown}");
    }
}

#[tokio::test]
async fn a_commit_is_built_once_at_a_time() {
    let server = server(|_| {}).await;
    let body = json!({"repository": "acme/hello", "sha": SHA});
    let made = futures_util::future::join_all((0..8).map(|_| server.build(body.clone()))).await;
    let statuses: Vec<_> = made.iter().map(|answer| answer.status).collect();
    assert_eq!(
        (statuses.iter().filter(|s| **s == 200).count(), statuses.iter().filter(|s| **s == 409).count()),
        (1, 7)
    );
    let refused = made.iter().find(|answer| answer.status == 409).unwrap();
    let text = "{\"id\":\"internal_error\",\"message\":\"a build for this sha is already pending or building\"}\n";
    assert_eq!(refused.text(), text);
    let hook = send(server.event("push", &push(SHA))).await;
    assert_eq!((hook.status, &*hook.text()), (409, "a build for this sha is already pending or building\n"));
    // The same commit of another repository, and of another image of this one, is another build.
    assert_eq!(server.build(json!({"repository": "acme/fork", "sha": SHA})).await.status, 200);
    let web = json!({"owner": "acme", "repo": "hello", "commit": SHA, "build": {"image": "web"}}).to_string();
    assert_eq!(server.post("/job", &web).await.status, 201);

    let job = server.claim().await;
    assert_eq!(server.build(body.clone()).await.status, 409);
    let outcome = Outcome {
        status: Status::Failure,
        stages: Stages::pending(),
        resolved_commit: Some(SHA.parse().unwrap()),
        digest: None,
        cause: None,
        class: None,
        superseded_by: None,
        tags: Vec::new(),
    };
    server.store.finish(job.id, job.attempt, &outcome).await.unwrap();
    let by_sha = format!("/builds/acme/hello@{SHA}");
    assert_eq!(server.get(&by_sha).await.json()["id"], job.id.to_string());
    let again = server.build(body).await;
    assert_eq!(again.status, 200);
    assert_eq!(server.get(&by_sha).await.json()["id"], again.json()["id"]);
    assert_eq!(server.store.jobs(9, None).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_branch_alone_is_its_head() {
    let change = |config: &mut HttpConfig| {
        config.branch_head = Arc::new(|repo, branch| {
            Box::pin(async move {
                match (&*repo.to_string(), &*branch) {
                    ("acme/hello", "f/main") => Ok(Some(SHA.parse().unwrap())),
                    ("acme/hello", _) => Ok(None),
                    ("acme/gone", _) => Err(NoHead::Repository("there is no repository acme/gone".into())),
                    _ => Err(NoHead::Host("the host git.acme.org is unknown".into())),
                }
            })
        });
    };
    let server = server_with(change, |rules| rules.allow_repos = vec!["acme/*".into()]).await;
    let made = server.build(json!({"repository": "acme/hello", "branch": "refs/heads/f/main"})).await.json();
    assert_eq!((&made["sha"], &made["branch"]), (&SHA.into(), &"f/main".into()));
    let job = server.claim().await;
    assert!(job.pushed && job.context.tag == SHA && job.image.ends_with(SHA), "{job:?}");
    for (repository, branch, status, id, message) in [
        ("acme/hello", "nope", 400, "internal_error", "acme/hello has no branch nope"),
        ("acme/gone", "m", 400, "internal_error", "The build cannot be made: there is no repository acme/gone"),
        ("acme/x", "m", 502, "internal_error", "asked for the head of m of acme/x: the host git.acme.org is unknown"),
        ("other/x", "m", 403, "forbidden", "other/x is not built here"),
    ] {
        let refused = server.build(json!({"repository": repository, "branch": branch})).await;
        let body = refused.json();
        assert_eq!((refused.status, &body["id"]), (status, &id.into()), "{body}");
        assert!(body["message"].as_str().unwrap().contains(message), "{body}");
    }
    for broken in ["", "{", "{}", r#"{"repository":"acme/hello"}"#, r#"{"repository":"acme/hello","sha":"c0ffee"}"#] {
        let refused = send(server.as_role("build", "POST", "/builds").body(broken)).await;
        assert_eq!((refused.status, &refused.json()["id"]), (400, &"internal_error".into()), "{broken}");
    }
}

#[tokio::test]
async fn an_artifact_is_the_pushed_image_of_a_success() {
    let server = server(|_| {}).await;
    let by_sha = format!("/artifacts/acme/hello@{SHA}");
    let job = server.building().await;
    let by_id = format!("/artifacts/{}", job.id);
    assert!(is_not_found(&server.get(&by_id).await) && is_not_found(&server.get(&by_sha).await));
    server.push_image(&job, Some("sha256:1234"), &[SHA, "main"]).await;
    let id = job.id;
    let image = format!("127.0.0.1:5555/totem/acme-hello:{SHA}");
    let line = format!("{{\"build\":{{\"id\":\"{id}\"}},\"id\":\"{id}\",\"image\":\"{image}\"}}\n");
    assert_eq!((server.get(&by_id).await.text(), server.get(&by_sha).await.text()), (line.clone(), line));

    // A job of totem's that has another tag has an image by its digest, and one with an image of its own counts for itself alone.
    for (build, found) in [(json!({}), true), (json!({"image": "web"}), false)] {
        let body = json!({"owner": "acme", "repo": "hello", "commit": SHA, "tag": "v1", "build": build});
        assert_eq!(server.post("/job", &body.to_string()).await.status, 201);
        let other = server.claim().await;
        server.push_image(&other, Some("sha256:5678"), &["v1"]).await;
        let artifact = server.get(&format!("/artifacts/{}", other.id)).await.json();
        assert!(artifact["image"].as_str().unwrap().ends_with("@sha256:5678"), "{artifact}");
        assert_eq!(server.get(&by_sha).await.json() == artifact, found);
    }
    // A success without a push has a build and no artifact, and hides no earlier one.
    let pushed = server.get(&by_sha).await.text();
    let dry = server.building().await;
    server.push_image(&dry, None, &[]).await;
    assert!(is_not_found(&server.get(&format!("/artifacts/{}", dry.id)).await));
    assert_eq!(server.get(&by_sha).await.text(), pushed);
    assert_eq!(server.get(&format!("/builds/acme/hello@{SHA}")).await.json()["state"], "succeeded");
}

#[tokio::test]
async fn a_log_is_followed_with_heartbeats_until_the_job_ends() {
    let server = server(|config| config.log_heartbeat = Duration::from_millis(20)).await;
    let job = server.building().await;
    let writer = server.logs.writer(job.id);
    writer.write("Building…\n".as_bytes());
    let mut log = server.as_role("read", "GET", &format!("/logs/{}", job.id)).send().await.unwrap();
    assert_eq!(log.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(log.headers()["x-content-type-options"], "nosniff");
    let mut read = Vec::new();
    while !read.ends_with(b"\0\0") {
        read.extend_from_slice(&log.chunk().await.unwrap().expect("the log ended before its job"));
    }
    writer.write(b"Built\n");
    writer.flush();
    server.push_image(&job, Some("sha256:1234"), &[SHA]).await;
    while let Some(more) = log.chunk().await.unwrap() {
        read.extend_from_slice(&more);
    }
    assert_eq!(String::from_utf8(read).unwrap().replace('\0', ""), "Building…\nBuilt\n");
    let ended = server.get(&format!("/logs/{}", job.id)).await;
    assert_eq!((ended.status, &*ended.text()), (200, "Building…\nBuilt\n"));

    let body = json!({"repository": "acme/hello", "sha": SHA}).to_string();
    let follow = server.as_role("build", "POST", "/builds?follow=1").body(body).send();
    let follow = follow.await.unwrap();
    let job = server.claim().await;
    server.logs.writer(job.id).write(b"Once more\n");
    server.push_image(&job, Some("sha256:1234"), &[SHA]).await;
    assert_eq!(follow.text().await.unwrap().replace('\0', ""), "Once more\n");
}

#[tokio::test]
async fn open_logs_are_those_of_conveyors_jobs_by_their_whole_id() {
    for is_open in [false, true] {
        let server = server(|config| config.open_logs = is_open).await;
        let totems = server.job().await;
        let job = server.claim().await;
        server.finish(&job, Status::Success, Stages::pending()).await;
        let conveyors = server.building().await;
        server.push_image(&conveyors, None, &[]).await;
        let status = async |path: String| send(server.request("GET", &path)).await.status;
        assert_eq!(status(format!("/logs/{}", conveyors.id)).await, if is_open { 200 } else { 401 });
        let beginning = conveyors.id.to_string()[..20].to_owned();
        for id in [totems.to_string(), JobId::new().to_string(), beginning] {
            assert_eq!(status(format!("/logs/{id}")).await, 401, "{id}");
        }
        assert_eq!(status(format!("/builds/{}", conveyors.id)).await, 401);
    }
}

#[tokio::test]
async fn basic_auth_opens_conveyors_door_alone() {
    let server = server(|_| {}).await;
    let refused = send(server.request("GET", "/builds/x").header("accept", "text/html")).await;
    assert_eq!((refused.status, &*refused.text()), (401, "Unauthorized\n"));
    assert_eq!(refused.headers.get_all("www-authenticate").iter().collect::<Vec<_>>(), ["Basic realm=\"Restricted\""]);
    let basic = |method, path: &str| server.request(method, path).basic_auth("conveyor", Some("pass:word"));
    let body = json!({"repository": "acme/hello", "sha": SHA}).to_string();
    assert_eq!(send(basic("POST", "/builds").body(body.clone())).await.status, 200);
    let job = &server.store.jobs(1, None).await.unwrap()[0];
    assert_eq!(job.created_by.as_deref(), Some("conveyor (BASIC_AUTH)"));
    assert_eq!(send(basic("GET", "/job")).await.status, 401);
    for (user, password) in [("conveyor", "pass"), ("conveyor", ""), ("other", "pass:word"), ("conveyor:pass", "word")]
    {
        let status = send(server.request("GET", "/builds/x").basic_auth(user, Some(password))).await.status;
        // The last one is the same pair, written in another way.
        assert_eq!(status, if user.contains(':') { 404 } else { 401 }, "{user} {password}");
    }
    // A browser adds the password that it remembers to what a foreign page sends.
    for (name, value) in
        [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("host", "evil.example")]
    {
        let refused = send(basic("POST", "/builds").header(name, value).body(body.clone())).await;
        assert_eq!((refused.status, &refused.json()["id"]), (403, &"forbidden".into()), "{name}");
    }
}

/// With API_AUTH=none no credentials are needed, so a browser could send them all.
#[tokio::test]
async fn an_open_api_makes_no_build_for_a_foreign_page() {
    let server = server(|config| (config.open, config.basic_auth) = (true, None)).await;
    let body = json!({"repository": "acme/hello", "sha": SHA}).to_string();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.example"),
    ] {
        // A page may send a form, plain text and no type without asking first.
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/json"] {
            let request = server.request("POST", "/builds").header(name, value).header("content-type", media_type);
            assert_eq!(send(request.body(body.clone())).await.status, 403, "{name}: {value}");
        }
    }
    let webhook = server.request("POST", "/").header("x-github-event", "push").body(push(SHA).to_string());
    assert_eq!(send(webhook).await.status, 403);
    assert!(server.store.jobs(9, None).await.unwrap().is_empty());
    assert_eq!(send(server.request("POST", "/builds").body(body)).await.status, 200);
}

#[tokio::test]
async fn a_webhook_makes_a_build_at_any_address() {
    let server = server_with(|_| {}, |rules| rules.selection.skip_words = true).await;
    let made = send(server.event("push", &push(SHA))).await;
    let job = server.store.jobs(1, None).await.unwrap().remove(0);
    assert_eq!((made.status, made.text()), (200, job.id.to_string()));
    assert_eq!(made.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!((made.header("allow"), &job.context.commit, &job.context.tag), ("", &SHA.to_owned(), &SHA.to_owned()));
    assert_eq!((job.git_ref.as_deref(), job.dialect), (Some("refs/heads/main"), crate::model::Dialect::Conveyor));
    let again = send(server.event("push", &push(SHA))).await;
    assert_eq!((again.text(), again.header("x-image-factory-duplicate")), (made.text(), "true"));

    let mut fork = push(SHA);
    fork["repository"]["fork"] = true.into();
    fork["deleted"] = true.into();
    let mut deleted = push(SHA);
    deleted["deleted"] = true.into();
    let mut skipped = push(&"a".repeat(40));
    skipped["head_commit"]["message"] = "Typo [skip ci]".into();
    let mut other = push(SHA);
    other["x"] = 1.into();
    let mut nameless = push(SHA);
    nameless["repository"] = json!({"full_name": "hello"});
    let mut empty_ref = push(SHA);
    empty_ref["ref"] = "".into();
    let mut comment = push(SHA);
    comment["action"] = "created".into();
    for (event, body, status, text) in [
        ("ping", json!({}), 200, "Ok\n"),
        ("push", comment, 404, "404 page not found\n"),
        ("push", fork, 200, "Not building fork"),
        ("push", deleted, 200, "Not building deleted branch"),
        ("push", skipped, 200, "Not building: the commit's message has [skip ci] or [ci skip], and SKIP_WORDS is set"),
        ("push", other, 409, "a build for this sha is already pending or building\n"),
        (
            "push",
            json!("x"),
            400,
            "Invalid JSON: invalid type: string \"x\", expected the object of a push event at line 1 column 3\n",
        ),
        ("push", nameless, 400, "The build cannot be made: repository \"hello\" is not valid: it must be OWNER/NAME\n"),
        ("push", empty_ref, 400, "The build cannot be made: the push names no ref\n"),
        ("pull_request", json!({}), 404, "404 page not found\n"),
    ] {
        let answer = send(server.event(event, &body)).await;
        assert_eq!((answer.status, &*answer.text()), (status, text), "{event} {body}");
    }
    let unsigned = server.request("POST", "/").header("x-github-event", "ping");
    let refused = send(unsigned).await;
    let sentence = "The provided signature in the X-Hub-Signature header does not match.\n";
    assert_eq!((refused.status, &*refused.text()), (403, sentence));

    // Both deliveries are kept, and a replay is a build of this door.
    let deliveries = server.get("/deliveries").await.json();
    assert_eq!((deliveries[0]["skipped"].as_str(), deliveries[0]["route"].as_str()), (Some("skip-words"), Some("*")));
    let path = format!("/deliveries/{}/replay", deliveries[0]["id"].as_str().unwrap());
    let replayed = server.post(&path, "").await.json();
    let shown = server.get(&format!("/builds/{}", replayed["id"].as_str().unwrap())).await.json();
    assert_eq!((&shown["sha"], &shown["branch"]), (&"a".repeat(40).into(), &"main".into()));
    assert_eq!(server.store.jobs(9, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_ref_with_a_control_character_makes_no_job() {
    let server = server(|_| {}).await;
    let mut push = push(SHA);
    push["ref"] = json!("refs/heads/a\nb");
    let answer = send(server.event("push", &push)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(server.store.jobs(1, None).await.unwrap().is_empty());
}
