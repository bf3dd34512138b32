//! How the daemon starts, or does not.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, Engine, Registry, Repo, Settings, eventually, folder};

fn settings<const N: usize>(values: [(&str, &str); N]) -> Settings {
    values.map(|(name, value)| (name.to_string(), value.to_string())).into()
}

/// What `serve` says when it does not start.
fn refused(settings: &Settings, args: &[&str]) -> String {
    let output = Daemon::fail(settings, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{settings:?} {args:?} started: {said}");
    said
}

#[test]
fn wrong_settings_stop_the_start() {
    for (name, value) in [
        ("CONCURRENCY", "many"),
        ("LISTEN", "here"),
        ("DRAIN_TIMEOUT", "soon"),
        ("DOCKER_HOST", "tcp://192.0.2.1:2375"),
        ("DOCKERFILE", "../Dockerfile"),
        ("API_AUTH", "perhaps"),
        ("KNOWN_HOSTS", "/nowhere/known_hosts"),
    ] {
        let said = refused(&settings([(name, value)]), &[]);
        assert!(said.contains(name) && said.contains(value), "{name}={value}: {said}");
    }
    let said = refused(&settings([("CONCURRENCY", "1"), ("WORKERS", "2")]), &[]);
    assert!(said.contains("CONCURRENCY") && said.contains("WORKERS"), "{said}");
    let said = refused(&settings([("HOOK_SECRET", "changeit"), ("LISTEN", "0.0.0.0:0")]), &[]);
    assert!(said.contains("HOOK_SECRET"), "{said}");
    // Of a secret the name is said, and not the value.
    let said = refused(&settings([("API_TOKENS", "ci:build:tooshort")]), &[]);
    assert!(said.contains("API_TOKENS") && !said.contains("tooshort"), "{said}");
}

/// After a kill a program that the daemon was starting may have its port for a moment.
#[tokio::test]
async fn a_port_in_use_is_waited_for() {
    let mut daemon = Daemon::start(settings([("DOCKER_HOST", "unix:///nowhere/docker.sock")])).await;
    daemon.kill9();
    let held = std::net::TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
    daemon.spawn();
    let waits = async || daemon.output().contains("is in use: waiting for it").then_some(());
    eventually(Duration::from_secs(10), "it waits", waits).await;
    drop(held);
    let answers = async || daemon.request(Method::GET, "/ready").send().await.ok();
    assert_eq!(eventually(Duration::from_secs(10), "it answers", answers).await.status(), 200);

    daemon.kill9();
    let _held = std::net::TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
    daemon.spawn();
    assert!(!daemon.exit(Duration::from_secs(20)).await.success());
    assert!(daemon.output().contains("stop the program that uses it, or set LISTEN"), "{}", daemon.output());
}

#[test]
fn settings_come_from_a_file_too() {
    let dir = folder();
    let file = dir.path().join("image-factory.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "CONCURRENCIES = 1\n").unwrap();
    assert!(refused(&Settings::new(), &["--config", path]).contains("CONCURRENCIES"));
    std::fs::write(&file, "CONCURRENCY = \"many\"\n").unwrap();
    assert!(refused(&Settings::new(), &["--config", path]).contains("many"));
    std::fs::write(&file, "INODE_FLOOR = 500\n").unwrap();
    assert!(refused(&Settings::new(), &["--config", path, "--check"]).contains("from 0 to 100, in percent"));
    std::fs::write(&file, "CONCURRENCY = 1\n").unwrap();
    let checked = Daemon::fail(&Settings::new(), &["--config", path, "--check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test]
async fn with_nothing_configured_it_starts() {
    let mut daemon = Daemon::start(Settings::new()).await;
    let said = daemon.output();
    for name in ["ETCD_HOST", "HOOK_SECRET", "ENC_PASSPHRASE", "HOOK_POST_URL"] {
        assert!(said.contains(name), "{name} is not named in\n{said}");
    }
    assert_eq!(daemon.get("/health").await["status"], "alive");
    let mode = std::fs::metadata(daemon.data_dir().join("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = daemon.token();

    assert_eq!(daemon.bare_request(Method::GET, "/job").send().await.unwrap().status(), 401);
    assert_eq!(daemon.get("/job").await, json!([]));
    // A webhook cannot be proved without a secret: it is told what to set.
    let hook = daemon.bare_request(Method::POST, "/hooks/github").header("X-GitHub-Event", "push").body("{}");
    let answer = hook.send().await.unwrap();
    assert!(answer.status().is_client_error() || answer.status().is_server_error());
    let answer: Value = answer.json().await.unwrap();
    assert!(answer["message"].as_str().unwrap().contains("HOOK_SECRET"), "{answer}");

    daemon.term(Duration::from_secs(10)).await;
    daemon.restart().await;
    assert_eq!(daemon.token(), token, "the token has changed");
}

/// A public repository and an open registry need no secret at all. (By `file://`, as no https host is at hand.)
#[tokio::test]
async fn a_public_repository_is_built_without_secrets() {
    let (engine, registry, dir) = (Engine::shared(), Registry::open().await, folder());
    let repo = Repo::create(&dir.path().join("acme/open.git"));
    repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let daemon = Daemon::start(settings([
        ("GIT_URL", &format!("file://{}/{{owner}}/{{repo}}.git", dir.path().display())),
        ("DOCKER_REPO_BASE", &format!("{}/totem", registry.address())),
        ("DOCKER_HOST", &engine.host),
    ]))
    .await;
    let ready = async || (daemon.get("/ready").await["status"] == "ready").then_some(());
    eventually(Duration::from_secs(10), "the engine was asked", ready).await;
    let id = daemon.submit(json!({"owner": "acme", "repo": "open"})).await;
    let job = daemon.wait_success(&id).await;
    let (digest, _) = registry.manifest("totem/acme-open", "HEAD").await.unwrap();
    assert_eq!(job["digest"], digest);
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}
