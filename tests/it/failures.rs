//! A failure ends the right stage, with a message that says what to do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    DeployKey, Docker, Engine, Fault, KeyType, PASSPHRASE, PrivateEngine, Silent, World, dockercfg, gpg_encrypt,
    push_payload,
};

on_each_engine!(
    the_repository_cannot_be_built,
    a_wrong_registry_password_is_final_at_once,
    a_registry_in_trouble_is_asked_again_without_a_build,
    the_engine_dies,
);

/// The failed stage and its message; the stages after it have not begun.
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

fn assert_says(job: &Value, stage: &str, words: &[&str]) {
    let (at, message) = failed(job);
    assert_eq!(at, stage, "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
}

async fn run(world: &World, request: Value) -> Value {
    let mut whole = json!({"owner": "acme", "repo": "hello"});
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    let id = world.daemon.submit(whole).await;
    world.daemon.wait_failure(&id).await
}

#[tokio::test]
async fn what_is_asked_for_does_not_exist() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let missing = "0123456789".repeat(4);
    let job = run(&world, json!({"branch": "nope"})).await;
    assert_says(&job, "clone", &["acme/hello", "branch", "\"nope\""]);
    assert_eq!(job["results"]["clone"]["exitCode"], 128);
    for (request, words) in [
        (json!({"commit": missing}), ["acme/hello", "commit", missing.as_str()]),
        (json!({"commit": "0123456"}), ["acme/hello", "commit", "0123456"]),
        (json!({"repo": "other"}), ["acme/other", "repository", "check"]),
    ] {
        let job = run(&world, request).await;
        let (stage, message) = failed(&job);
        assert!(matches!(stage, "clone" | "checkout"), "{stage}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{words:?} are not in {message:?}");
    }
}

/// Names that the original accepted are accepted: the job then says what is wrong. None reaches Git as an option.
#[tokio::test]
async fn odd_names_make_a_job_that_fails() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
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
    }
}

#[tokio::test]
async fn the_git_host_does_not_let_us_in() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    world.git.authorize(&[]);
    assert_says(&run(&world, json!({})).await, "clone", &["refuses the deploy key SHA256:", "acme/hello"]);

    world.git.authorize(&[&world.key]);
    let known = world.git.known_hosts();
    let other = DeployKey::generate(KeyType::Ed25519, "").public;
    std::fs::write(&known, format!("[127.0.0.1]:{} {other}\n", world.git.port())).unwrap();
    assert_says(&run(&world, json!({})).await, "clone", &["host key", "127.0.0.1", known.to_str().unwrap()]);
    std::fs::write(&known, "").unwrap();
    assert_says(&run(&world, json!({})).await, "clone", &["host key", "127.0.0.1", "unknown"]);
}

#[tokio::test]
async fn the_git_host_is_not_there() {
    let mut world = World::start().await;
    let closed = Silent::start().port();
    world.daemon.set("GIT_URL", &world.git.url_at(closed));
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    // The clone is tried once more, 10 s later.
    let job = run(&world, json!({})).await;
    assert_says(&job, "clone", &["127.0.0.1"]);
    assert_eq!((&job["class"], &job["attempt"]), (&json!("source"), &json!(1)));

    let silent = Silent::start();
    world.daemon.set("GIT_URL", &world.git.url_at(silent.port()));
    world.daemon.set("CLONE_TIMEOUT", "1s");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    assert_says(&run(&world, json!({})).await, "clone", &["CLONE_TIMEOUT"]);
}

async fn the_repository_cannot_be_built(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    world.repo.commit("develop", &[("readme", "no Dockerfile")]);
    assert_says(&run(&world, json!({})).await, "checkout", &["Dockerfile", "acme/hello"]);

    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN echo to std''err >&2; exit 7\n")]);
    let job = run(&world, json!({})).await;
    assert_eq!(failed(&job).0, "build");
    assert_eq!(job["results"]["build"]["exitCode"], 7);
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert!(log.contains("to stderr"), "{log}");

    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nNONSENSE\n")]);
    assert_says(&run(&world, json!({})).await, "build", &["NONSENSE"]);
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY missing.txt /\n")]);
    assert_says(&run(&world, json!({})).await, "build", &["missing.txt"]);
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 0);
}

async fn a_wrong_registry_password_is_final_at_once(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let config = dockercfg(&world.registry.address(), "builder", "wrong password");
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, PASSPHRASE)).await;
    let start = Instant::now();
    let job = loop {
        // Until the new password is read, pushes succeed.
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        let job = world.daemon.wait(&id).await;
        if job["status"] == "failure" {
            break job;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "the new password was not read");
    };
    assert_says(&job, "push", &[&world.registry.address()]);
    assert_eq!((&job["class"], &job["attempt"]), (&json!("registry-auth"), &json!(1)));
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert_eq!(log.matches("Executing: docker push").count(), 1);
    assert!(!log.contains("Try 1 of"), "{log}");
    for secret in ["wrong password", "YnVpbGRlcjp3cm9uZyBwYXNzd29yZA"] {
        assert!(!log.contains(secret) && !world.daemon.output().contains(secret), "{secret} is shown");
    }
}

async fn a_registry_in_trouble_is_asked_again_without_a_build(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PUSH_RETRIES", "3"), ("PUSH_RETRY_WAIT", "100ms")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Manifests { status: 503, times: 2 });
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest("HEAD").await);
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 3);
    let log = world.daemon.log(&id).await;
    assert_eq!(log.matches("Executing: docker build").count(), 1, "{log}");
    assert_eq!(log.matches("HTTP status: 503").count(), 2, "{log}");

    world.registry.fault(Fault::Manifests { status: 503, times: 100 });
    // The push was tried for as long as it is: it is not all done once more.
    let job = run(&world, json!({})).await;
    assert_says(&job, "push", &["503"]);
    assert_eq!((&job["class"], &job["attempt"]), (&json!("registry"), &json!(1)));
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 3 + 4);
}

/// With one slot, a push that waits for its registry does not hold up another job's build.
#[tokio::test]
async fn a_waiting_push_holds_no_build_slot() {
    let world = World::start_with(&[("CONCURRENCY", "1"), ("PUSH_RETRY_WAIT", "1h")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Manifests { status: 503, times: 1 });
    let waiting = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": "a"})).await;
    world.daemon.wait_log(&waiting, "Try 1 of 20").await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": "b"})).await;
    world.daemon.wait_success(&id).await;
    assert_eq!(world.daemon.job(&waiting).await["status"], "running");
}

async fn the_engine_dies(docker: Docker) {
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
