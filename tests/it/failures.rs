//! A fault ends the stage where it happens, with a message that names the remedy.

use std::fmt::Write;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    DeployKey, Docker, Engine, Fault, Feature, KeyType, PASSPHRASE, PrivateEngine, Silent, World, dockercfg,
    gpg_encrypt, masked, push_payload,
};

on_each_engine!(
    a_repository_that_cannot_be_built,
    a_wrong_registry_password_is_not_retried,
    a_push_is_retried_without_another_build,
    final_words_of_a_registry_end_the_push,
    a_job_waits_for_an_engine_that_died,
);
// Podman makes no image a second time with the same digest.
on_docker!(an_immutable_tag_counts_as_pushed_if_it_has_the_image);

/// Returns the failed stage and its message, and asserts that no later stage has begun.
fn failed(job: &Value) -> (&str, String) {
    let stages = ["clone", "checkout", "build", "push"];
    let at = stages.iter().position(|stage| job["results"][stage]["status"] == "failure");
    let at = at.unwrap_or_else(|| panic!("no stage failed: {job:#}"));
    for later in &stages[at + 1..] {
        assert_eq!(job["results"][later], json!({"status": "pending"}), "{later}");
    }
    let message =
        job["results"][stages[at]]["err"]["message"].as_str().unwrap_or_else(|| panic!("no message: {job:#}"));
    assert!(!message.contains('\n'), "more than one line: {message}");
    assert!(job["cause"].as_str().unwrap().contains(message), "the cause says something else: {job:#}");
    (stages[at], message.to_owned())
}

/// Asserts that the job failed in this stage with the message of this snapshot.
fn assert_message(world: &World, job: &Value, stage: &str, snapshot: &str) {
    let (at, message) = failed(job);
    assert_eq!(at, stage, "{message}");
    // Newer engines name the reference of their cache.
    let cache = regex::Regex::new("ref [0-9a-f-]{36}::[a-z0-9]+").unwrap();
    let message = cache.replace_all(&message, "ref [reference]");
    insta::assert_snapshot!(snapshot, masked(&message, &[(&world.registry.address(), "registry")]));
}

async fn run(world: &World, request: Value) -> Value {
    let mut whole = json!({"owner": "acme", "repo": "hello"});
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    let id = world.daemon.submit(whole).await;
    world.daemon.wait_failure(&id).await
}

#[tokio::test]
async fn a_branch_commit_or_repository_that_does_not_exist() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let missing = "0123456789".repeat(4);
    let job = run(&world, json!({"branch": "nope"})).await;
    assert_message(&world, &job, "clone", "no_such_branch");
    assert_eq!(job["results"]["clone"]["exitCode"], 128);
    for (request, snapshot) in [
        (json!({"commit": missing}), "no_such_commit"),
        (json!({"commit": "0123456"}), "no_such_short_commit"),
        (json!({"repo": "other"}), "no_such_repository"),
    ] {
        let job = run(&world, request).await;
        let (stage, _) = failed(&job);
        assert!(matches!(stage, "clone" | "checkout"), "{job:#}");
        assert_message(&world, &job, stage, snapshot);
        assert_eq!(job["class"], "source", "{job:#}");
    }
    // GitHub has a repository whose push it reports, so the operator has to let us see it.
    let after = "1".repeat(40);
    let response = world.daemon.hook("push", &push_payload("acme/other", "refs/heads/develop", &after)).await;
    let made: Value = response.json().await.unwrap();
    let job = world.daemon.wait_failure(made["id"].as_str().unwrap()).await;
    assert_message(&world, &job, "clone", "no_such_repository");
    assert_eq!(job["class"], "config", "{job:#}");
}

/// Odd names are accepted, as totem accepted them, and the job names the fault. None of them reaches Git as an option.
#[tokio::test]
async fn odd_names_make_a_job_that_fails() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let mut messages = String::new();
    for (git_ref, after) in [
        ("refs/heads/develop", "1234"),
        ("fake-owner/fake-branch", "HEAD"),
        ("refs/heads/--upload-pack=touch /tmp/x", "HEAD"),
        ("refs/heads/-h", "HEAD"),
        ("refs/heads/a..b", "HEAD"),
        ("refs/heads/develop", "--help"),
    ] {
        let response = world.daemon.hook("push", &push_payload("acme/hello", git_ref, after)).await;
        assert_eq!(response.status(), 201, "{git_ref} {after}");
        let made: Value = response.json().await.unwrap();
        let job = world.daemon.wait_failure(made["id"].as_str().unwrap()).await;
        let (stage, message) = failed(&job);
        assert!(matches!(stage, "clone" | "checkout"), "{git_ref} {after}: {stage}: {message}");
        let _ = writeln!(messages, "{git_ref} {after}\n    {stage}: {message}");
    }
    insta::assert_snapshot!("odd_names", masked(&messages, &[]));
}

#[tokio::test]
async fn a_git_host_that_refuses_the_key_or_has_another_host_key() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    world.git.authorize(&[]);
    let job = run(&world, json!({})).await;
    assert_message(&world, &job, "clone", "deploy_key_refused");
    assert_eq!((&job["class"], &job["attempt"]), (&json!("config"), &json!(1)));

    world.git.authorize(&[&world.key]);
    let known = world.git.known_hosts();
    let other = DeployKey::generate(KeyType::Ed25519, "").public;
    std::fs::write(&known, format!("[127.0.0.1]:{} {other}\n", world.git.port())).unwrap();
    assert_message(&world, &run(&world, json!({})).await, "clone", "host_key_changed");
    std::fs::write(&known, "").unwrap();
    let job = run(&world, json!({})).await;
    assert_message(&world, &job, "clone", "host_key_unknown");
    assert_eq!((&job["class"], &job["attempt"]), (&json!("config"), &json!(1)));
}

#[tokio::test]
async fn a_git_host_that_is_closed_or_silent() {
    let mut world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let closed = Silent::start().port();
    world.daemon.set("GIT_URL", &world.git.url_at(closed));
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    // Git tries it once more, 10 s later. Then the job rests, and gets another attempt.
    let closed = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    assert_rests(&world, &closed, "git_host_closed").await;

    let silent = Silent::start();
    world.daemon.set("GIT_URL", &world.git.url_at(silent.port()));
    world.daemon.set("CLONE_TIMEOUT", "1s");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let silent = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    assert_rests(&world, &silent, "git_host_silent").await;

    world.daemon.set("GIT_URL", &world.git.url_at(world.git.port()));
    world.daemon.set("CLONE_TIMEOUT", "1m");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    for id in [closed, silent] {
        let job = world.daemon.wait_success(&id).await;
        assert!(job["attempt"].as_u64() > Some(1), "{job:#}");
    }
}

/// Asserts that the Git server ended an attempt at the job, that another one follows, and what the message is.
async fn assert_rests(world: &World, id: &str, snapshot: &str) {
    let rests = |job: &Value| job["status"] == "pending" && job["class"] == "git-host";
    let job = world.daemon.wait_for(id, Duration::from_secs(60), rests).await;
    insta::assert_snapshot!(snapshot, masked(job["cause"].as_str().unwrap(), &[]));
}

async fn a_repository_that_cannot_be_built(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    world.repo.commit("develop", &[("readme", "no Dockerfile")]);
    assert_message(&world, &run(&world, json!({})).await, "checkout", "no_dockerfile");
    let elsewhere = [("docker/Dockerfile.web", "FROM a\n"), ("Dockerfile.dockerignore", ""), ("x.dockerfile", "")];
    world.repo.commit("develop", &elsewhere);
    let (_, message) = failed(&run(&world, json!({})).await);
    assert!(message.contains(", only docker/Dockerfile.web, x.dockerfile: add it"), "{message}");
    world.repo.commit("develop", &[("Dockerfile", "F\0R\0O\0M\0 \0a\0\n\0")]);
    let (_, message) = failed(&run(&world, json!({})).await);
    assert!(message.contains("is in UTF-16, which no builder reads: save it as UTF-8"), "{message}");

    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN echo to std''err >&2; exit 7\n")]);
    let job = run(&world, json!({})).await;
    assert_eq!(failed(&job).0, "build");
    assert_eq!(job["results"]["build"]["exitCode"], 7);
    let step = json!({"number": docker.second_step(), "instruction": "RUN echo to std''err >&2; exit 7", "lastLine": "to stderr"});
    assert_eq!(job["results"]["build"]["err"]["step"], step);
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert!(log.contains("to stderr"), "{log}");
    let stars = "*".repeat(80);
    let sentence = log.find(" ./ exited with a non-zero exit code: 7\n").unwrap_or_else(|| panic!("{log}"));
    let ours = log.rfind(job["results"]["build"]["err"]["message"].as_str().unwrap().trim()).unwrap();
    assert!(sentence < ours && log.contains(&format!(" ms\n{stars}\n\n")), "{log}");

    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nNONSENSE\n")]);
    // Each engine has its own wording.
    assert_message(&world, &run(&world, json!({})).await, "build", &format!("unknown_instruction_{docker:?}"));
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY missing.txt /\n")]);
    assert_message(&world, &run(&world, json!({})).await, "build", &format!("missing_file_{docker:?}"));
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 0);
}

async fn a_wrong_registry_password_is_not_retried(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let config = dockercfg(&world.registry.address(), "builder", "wrong password");
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, PASSPHRASE)).await;
    let start = Instant::now();
    let job = loop {
        // Pushes succeed until the daemon has read the new password.
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        let job = world.daemon.wait(&id).await;
        if job["status"] == "failure" {
            break job;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "the new password was not read");
    };
    assert_message(&world, &job, "push", &format!("registry_password_{docker:?}"));
    assert_eq!((&job["class"], &job["attempt"]), (&json!("config"), &json!(1)));
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert_eq!(log.matches("Executing: docker push").count(), 1);
    assert!(!log.contains("Try 1 of"), "{log}");
    for secret in ["wrong password", "YnVpbGRlcjp3cm9uZyBwYXNzd29yZA"] {
        assert!(!log.contains(secret) && !world.daemon.output().contains(secret), "{secret} is shown");
    }
}

async fn a_push_is_retried_without_another_build(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PUSH_RETRIES", "3"), ("PUSH_RETRY_WAIT", "100ms")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Manifests { status: 503, times: 2 });
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest("HEAD").await);
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 3);
    let log = world.daemon.log(&id).await;
    assert_eq!(log.matches("Executing: docker build").count(), 1, "{log}");
    // Others try by themselves first, without a word.
    let simple = docker.has(Feature::SimplePushes);
    let tries = log.matches("Service Unavailable").count();
    assert!(if simple { tries == 2 } else { tries <= 2 }, "{log}");

    world.registry.fault(Fault::Manifests { status: 503, times: 100 });
    // The job gets no second attempt, because the push was retried within the first.
    let job = run(&world, json!({})).await;
    assert_message(&world, &job, "push", &format!("registry_503_{docker:?}"));
    assert_eq!((&job["class"], &job["attempt"]), (&json!("registry"), &json!(1)));
    let calls = world.registry.calls("PUT", "/manifests/");
    assert!(if simple { calls == 3 + 4 } else { calls >= 3 + 4 }, "{calls}");
}

const IMMUTABLE: Fault = Fault::Refuse {
    status: 400,
    body: r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag 'v1' already exists in the 'hello' repository and cannot be overwritten because the repository is immutable."}]}"#,
};

/// The words are those of Amazon ECR, Harbor, nginx and distribution.
async fn final_words_of_a_registry_end_the_push(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PUSH_RETRIES", "3"), ("PUSH_RETRY_WAIT", "1h")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let mut messages = String::new();
    for (class, status, body) in [
        (
            "registry-auth",
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'hello' does not exist in the registry with id '1'"}]}"#,
        ),
        (
            "config",
            403,
            r#"{"errors":[{"code":"DENIED","message":"adding 9 MiB of storage resource, which when updated to current usage of 1 GiB will exceed the configured upper limit of 1 GiB."}]}"#,
        ),
        (
            "registry-auth",
            413,
            "<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>",
        ),
        ("config", 405, r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#),
        ("registry-auth", 400, r#"{"errors":[{"code":"MANIFEST_INVALID","message":"nobody knows why"}]}"#),
    ] {
        world.registry.fault(Fault::Refuse { status, body });
        let job = run(&world, json!({})).await;
        let (stage, message) = failed(&job);
        assert_eq!((stage, &job["class"], &job["attempt"]), ("push", &json!(class), &json!(1)), "{message}");
        let _ = writeln!(messages, "{message}");
    }
    assert!(!docker.has(Feature::SimplePushes) || world.registry.calls("PUT", "/manifests/") == 5);
    let snapshot = format!("final_words_{docker:?}");
    insta::assert_snapshot!(snapshot, masked(&messages, &[(&world.registry.address(), "registry")]));
}

async fn an_immutable_tag_counts_as_pushed_if_it_has_the_image(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PUSH_RETRY_WAIT", "1h")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    // The time makes the image reproducible.
    let request =
        || json!({"owner": "acme", "repo": "hello", "tag": "v1", "build": {"buildArgs": {"SOURCE_DATE_EPOCH": "1"}}});
    let id = world.daemon.submit(request()).await;
    let first = world.daemon.wait_success(&id).await;
    world.registry.fault(IMMUTABLE);
    let id = world.daemon.submit(request()).await;
    let again = world.daemon.wait_success(&id).await;
    assert_eq!(again["digest"], first["digest"]);
    let log = world.daemon.log(&id).await;
    // Others see that the registry has the image, and push nothing.
    let simple = docker.has(Feature::SimplePushes);
    assert!(!simple || log.contains("v1: the registry refuses to move it, and it has this image already"), "{log}");

    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nLABEL a=b\n")]);
    let job = run(&world, request()).await;
    let (_, message) = failed(&job);
    let other = format!("it has another image there, {}", first["digest"].as_str().unwrap());
    assert!(message.contains("delete the tag in the registry") && message.contains(&other), "{message}");
    assert!(!simple || world.registry.calls("PUT", "/manifests/") == 3);
}

/// A push that waits for its registry holds no build slot, so another job is built with CONCURRENCY=1.
#[tokio::test]
async fn a_waiting_push_holds_no_build_slot() {
    let world = World::start_with(&[("CONCURRENCY", "1"), ("PUSH_RETRY_WAIT", "1h")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Manifests { status: 503, times: 1 });
    let waiting = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": "a"})).await;
    world.daemon.wait_log(&waiting, "Try 1 of 20").await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": "b"})).await;
    world.daemon.wait_success(&id).await;
    let job = world.daemon.job(&waiting).await;
    assert_eq!((&job["status"], &job["waitingFor"]["kind"]), (&json!("running"), &json!("registry")));
    let reason = job["waitingFor"]["reason"].as_str().unwrap();
    let (begin, whose) = (world.registry.address() + ": ", "an operator has to act only if the registry stays so");
    assert!(reason.starts_with(&begin) && reason.contains("; try 1 of 20 begins at "), "{reason}");
    assert!(reason.ends_with(whose), "{reason}");
    // The list says so, too.
    let listed = world.daemon.get("/job?status=running").await;
    assert_eq!(listed[0]["waitingFor"], job["waitingFor"]);
    world.daemon.request(Method::POST, &format!("/job/{waiting}/cancel")).send().await.unwrap();
    let ended = world.daemon.wait_failure(&waiting).await;
    assert_eq!((&ended["cancelled"], &ended["waitingFor"]), (&json!(true), &Value::Null));
}

async fn a_job_waits_for_an_engine_that_died(docker: Docker) {
    let mut private = PrivateEngine::start(docker).await;
    let world = World::start_at(private.engine.clone(), &[]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN echo it ru''ns; sleep 1000\n")]);
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_log(&id, "it runs").await;
    private.kill9();
    let failed = |job: &Value| job["status"] == "pending" && job["class"] == "engine";
    let job = world.daemon.wait_for(&id, Duration::from_secs(20), failed).await;
    assert!(job["cause"].as_str().unwrap().contains("ngine"), "{job}");
    let reasons = async || world.daemon.get("/ready").await["reasons"].to_string();
    crate::harness::eventually(Duration::from_secs(15), "/ready names the engine", async || {
        reasons().await.contains("ngine").then_some(())
    })
    .await;
    // A job that is accepted meanwhile waits.
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    assert_eq!(world.daemon.job(&id).await["status"], "pending");
}
