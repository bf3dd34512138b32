//! The daemon with repositories by https, and with little room for mirrors.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Daemon, Engine, HttpsHost, Registry, Settings, World, eventually};

const TOKEN: &str = "ghp_0123456789";

fn settings(host: &HttpsHost, registry: &Registry, more: &[(&str, &str)]) -> Settings {
    let own = [
        ("GIT_URL", host.url()),
        ("GIT_CACERT", host.authority().display().to_string()),
        ("DOCKER_REPO_BASE", format!("{}/totem", registry.address())),
        ("DOCKER_HOST", Engine::shared().host),
    ];
    let more = more.iter().map(|(name, value)| (*name, value.to_string()));
    own.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Only the host is configured: no key, no token, no etcd.
#[tokio::test]
async fn a_public_repository_is_built() {
    let (host, registry, engine) = (HttpsHost::start(), Registry::open().await, Engine::shared());
    let id = host
        .repo("acme", "hello")
        .commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY a /\n"), ("a", "1")]);
    let daemon = Daemon::start(settings(&host, &registry, &[])).await;
    let job = daemon.submit(json!({"owner": "acme", "repo": "hello", "commit": id})).await;
    daemon.wait_success(&job).await;
    assert_eq!(engine.run(&format!("{}/totem/acme-hello:{id}", registry.address()), &["cat", "/a"]), "1");
    assert!(host.requests().iter().all(|(_, authorization)| authorization.is_none()));
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}

#[tokio::test]
async fn a_private_repository_needs_the_token_which_no_log_shows() {
    let (host, registry, engine) = (HttpsHost::start(), Registry::open().await, Engine::shared());
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {TOKEN} # {}\n", crate::harness::unique());
    host.repo("acme", "hello").commit("develop", &[("Dockerfile", &dockerfile)]);
    host.require("Basic eC1hY2Nlc3MtdG9rZW46Z2hwXzAxMjM0NTY3ODk=");
    let mut daemon = Daemon::start(settings(&host, &registry, &[])).await;
    let job = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let cause = daemon.wait_failure(&job).await["cause"].to_string();
    assert!(cause.contains("or it is private: check the name, or set GIT_TOKEN"), "{cause}");

    daemon.set("GITHUB_TOKEN", TOKEN);
    daemon.term(Duration::from_secs(10)).await;
    daemon.restart().await;
    let job = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    daemon.wait_success(&job).await;
    let (log, output) = (daemon.log(&job).await, daemon.output());
    assert!(!log.contains(TOKEN) && log.contains("echo ***"), "{log}");
    assert!(!output.contains(TOKEN) && output.contains(&format!("GIT_TOKEN is sent to https://{} alone", host.host())));
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}

#[test]
fn wrong_settings_for_git_stop_the_start() {
    let fails = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let output = Daemon::fail(&settings, &["--check"]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = fails(&[("GIT_TOKEN", TOKEN), ("GIT_URL", "http://127.0.0.1/{owner}/{repo}")]);
    assert!(plain.contains("a token goes by https alone") && !plain.contains(TOKEN), "{plain}");
    let absent = fails(&[("GIT_CACERT", "/nowhere/ca.pem")]);
    assert!(absent.contains("GIT_CACERT=\"/nowhere/ca.pem\" cannot be used"), "{absent}");
}

#[tokio::test]
async fn a_mirror_larger_than_the_budget_serves_its_job_and_goes() {
    let world = World::start_with(&[("MIRROR_BUDGET", "1KiB")]).await;
    let mirror = world.daemon.data_dir().join("repos/mirrors/acme/hello.git");
    for content in ["1", "2"] {
        let id =
            world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY a /\n"), ("a", content)]);
        let job = world.daemon.push_event("acme/hello", "develop", &id).await;
        world.daemon.wait_success(&job).await;
        let gone = async || (!mirror.exists()).then_some(());
        eventually(Duration::from_secs(20), "the mirror is removed", gone).await;
    }
    let warnings = world.daemon.output().matches("raise MIRROR_BUDGET to keep it").count();
    assert_eq!(warnings, 1);
}
