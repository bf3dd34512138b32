use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{DeployKey, Flow, KeyType, PASSPHRASE, World, eventually};

const DOCKERFILE: &str = "FROM scratch\nCOPY Dockerfile /\n";

/// The gate drops a connection in the place of an sshd with PerSourcePenalties, which the one here is too old for.
#[tokio::test]
async fn a_refused_key_only_delays_jobs_with_good_keys() {
    let mut world = World::start().await;
    let gate = world.gate_git().await;
    world.repo.commit("develop", &[("Dockerfile", DOCKERFILE)]);
    world.git.repo("acme", "dead").commit("develop", &[("Dockerfile", DOCKERFILE)]);
    let dead = store_key(&world).await;

    let mut refused = Vec::new();
    for _ in 0..4 {
        refused.push(submit(&world, "dead").await);
    }
    for id in &refused {
        let cause = world.daemon.wait_failure(id).await["cause"].as_str().unwrap().to_owned();
        assert!(cause.contains("refuses the deploy key SHA256:") && cause.contains("for acme/dead"), "{cause}");
    }
    assert_eq!(gate.came(), 1, "the server was asked again");

    gate.set(Flow::Drop { connections: 1 });
    let good = submit(&world, "hello").await;
    world.daemon.wait_success(&good).await;
    let log = world.daemon.log(&good).await;
    assert!(log.contains("dropped the connection before it let ssh in") && log.contains("Once more in 5 s."), "{log}");
    assert_eq!(gate.came(), 3);

    // A rebuild asks at once; so does a job with another key.
    world.git.authorize(&[&world.key, &dead]);
    let rebuilt = world.daemon.request(Method::POST, &format!("/job/{}/rebuild", refused[0])).send().await.unwrap();
    let rebuilt: Value = rebuilt.json().await.unwrap();
    world.daemon.wait_success(rebuilt["id"].as_str().unwrap()).await;
    world.git.authorize(&[&world.key]);
    let other = store_key(&world).await;
    world.daemon.wait_failure(&submit(&world, "dead").await).await;
    world.git.authorize(&[&world.key, &other]);
    let cause = world.daemon.wait_failure(&submit(&world, "dead").await).await["cause"].to_string();
    assert!(cause.contains("not asked again until"), "{cause}");
    let last = store_key(&world).await;
    world.git.authorize(&[&world.key, &last]);
    world.daemon.wait_success(&submit(&world, "dead").await).await;
}

async fn submit(world: &World, repo: &str) -> String {
    world.daemon.submit(json!({"owner": "acme", "repo": repo})).await
}

/// Stores a new deploy key of acme/dead, which the server does not know; returns when the daemon has it.
async fn store_key(world: &World) -> DeployKey {
    let loaded = || world.daemon.output().matches("github-keys/acme/dead: loaded").count();
    let (key, before) = (DeployKey::generate(KeyType::Ed25519, PASSPHRASE), loaded());
    world.etcd.put("/totem/image-factory/github-keys/acme/dead", key.private.as_str()).await;
    let limit = Duration::from_secs(20);
    eventually(limit, "the key is read", async || (loaded() > before).then_some(())).await;
    key
}
