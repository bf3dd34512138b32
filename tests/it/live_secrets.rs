//! Secrets change while the daemon runs.

use std::time::Duration;

use image_factory::git;
use serde_json::{Value, json};

use crate::harness::{
    DeployKey, KeyType, PASSPHRASE, REGISTRY_PASSWORD, World, dockercfg, eventually, gpg_encrypt, gpg1_encrypt,
};

const COMMON_KEY: &str = "/totem/image-factory/github-key";

async fn world() -> World {
    let world = World::start_with(&[("PUSH_RETRIES", "0")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world
}

async fn run(world: &World) -> Value {
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait(&id).await
}

/// Builds until one succeeds, for the moment that a change takes to arrive.
async fn succeeds_soon(world: &World) {
    let what = "a build succeeds with the changed secret";
    eventually(Duration::from_secs(20), what, async || (run(world).await["status"] == "success").then_some(())).await;
}

/// The reasons that `/ready`, which stays 200, gives for being degraded.
async fn reasons(world: &World) -> String {
    world.daemon.get("/ready").await["reasons"].to_string()
}

async fn until_ready_says(world: &World, word: &str) {
    let what = format!("/ready names {word}");
    eventually(Duration::from_secs(15), &what, async || reasons(world).await.contains(word).then_some(())).await;
}

async fn until_ready_is_content(world: &World) {
    eventually(Duration::from_secs(15), "/ready has no complaint", async || {
        (reasons(world).await == "[]").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rotated_key_is_used_by_the_next_job() {
    let world = world().await;
    assert_eq!(run(&world).await["status"], "success");
    for kind in [KeyType::Rsa, KeyType::Ecdsa] {
        let key = DeployKey::generate(kind, PASSPHRASE);
        world.git.authorize(&[&key]);
        world.repo.commit("develop", &[]);
        world.etcd.put(COMMON_KEY, key.private).await;
        succeeds_soon(&world).await;
    }
}

/// The secrets are those of a cluster of 2014: a key that openssl encrypted, and an old dockercfg by gpg 1.4.
#[tokio::test]
async fn the_secrets_of_2014_build() {
    let world = world().await;
    let key = DeployKey::generate(KeyType::RsaPem, PASSPHRASE);
    assert!(key.private.contains("Proc-Type: 4,ENCRYPTED"));
    world.git.authorize(&[&key]);
    world.etcd.put(COMMON_KEY, key.private).await;
    let dockercfg = json!({format!("http://{}", world.registry.address()):
        {"auth": "YnVpbGRlcjpyZWdpc3RyeSBwYXNzd29yZA==", "email": ""}});
    world.etcd.put("/totem/image-factory/dockercfg", gpg1_encrypt(&dockercfg.to_string(), PASSPHRASE)).await;
    succeeds_soon(&world).await;
    until_ready_is_content(&world).await;
    assert_eq!(run(&world).await["status"], "success");
}

#[tokio::test]
async fn the_last_good_value_stays_in_use() {
    let world = world().await;
    until_ready_is_content(&world).await;
    let wrong = DeployKey::generate(KeyType::Ed25519, "another passphrase");
    world.etcd.put(COMMON_KEY, wrong.private).await;
    until_ready_says(&world, "github-key").await;
    world.etcd.put("/totem/image-factory/dockercfg", "no message of gpg").await;
    until_ready_says(&world, "dockercfg").await;
    assert_eq!(run(&world).await["status"], "success");
    assert!(!reasons(&world).await.contains(PASSPHRASE));

    // Put right, without a restart.
    let key = DeployKey::generate(KeyType::Ed25519, PASSPHRASE);
    world.git.authorize(&[&key]);
    world.etcd.put(COMMON_KEY, key.private).await;
    let config = dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD);
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, PASSPHRASE)).await;
    until_ready_is_content(&world).await;
    assert_eq!(run(&world).await["status"], "success");
}

/// Waits until the job waits for its secrets, which costs it no attempt, and returns the reason.
async fn until_it_waits(world: &World, id: &str) -> String {
    let waits = |job: &Value| job["status"] == "pending" && job["waitingFor"]["kind"] == "secrets";
    let job = world.daemon.wait_for(id, Duration::from_secs(20), waits).await;
    assert_eq!((&job["attempt"], &job["class"]), (&json!(0), &Value::Null), "{job:#}");
    job["waitingFor"]["reason"].as_str().unwrap().to_owned()
}

/// A secret that was never decrypted cannot be used. Once the passphrase is right, the job that waits for it runs.
#[tokio::test]
async fn a_wrong_passphrase_is_put_right_without_a_restart() {
    let mut world = world().await;
    world.daemon.set("ENC_PASSPHRASE", "not the right one");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    until_ready_says(&world, "github-key").await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let reason = until_it_waits(&world, &id).await;
    assert!(reason.contains("the deploy key image-factory/github-key of acme/hello is stored"), "{reason}");
    until_ready_says(&world, "jobs that wait for a secret that is stored and cannot be used: 1; each fails").await;
    let key = DeployKey::generate(KeyType::Ed25519, "not the right one");
    world.git.authorize(&[&key]);
    world.etcd.put(COMMON_KEY, key.private).await;
    // The registry logins are the next thing that it waits for.
    let what = "the job waits for the registry logins";
    eventually(Duration::from_secs(20), what, async || {
        until_it_waits(&world, &id).await.contains("image-factory/dockercfg are stored").then_some(())
    })
    .await;
    let config = dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD);
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, "not the right one")).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!((&job["attempt"], &job["waitingFor"]), (&json!(1), &Value::Null), "{job:#}");
    until_ready_is_content(&world).await;
}

/// After SECRET_WAIT the job ends as the operator's failure, which `/ready` shows until the repository has a better job.
#[tokio::test]
async fn a_job_waits_for_its_secret_no_longer_than_secret_wait() {
    let world = World::start_with(&[("SECRET_WAIT", "1s")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let wrong = DeployKey::generate(KeyType::Ed25519, "another passphrase");
    world.etcd.put("/totem/image-factory/github-keys/acme/hello", wrong.private).await;
    until_ready_says(&world, "github-keys/acme/hello").await;
    let job = run(&world).await;
    assert_eq!((&job["status"], &job["class"], &job["attempt"]), (&json!("failure"), &json!("config"), &json!(0)));
    let cause = job["cause"].as_str().unwrap();
    assert!(
        cause.contains("github-keys/acme/hello") && cause.ends_with("waited for it for 1 s (SECRET_WAIT)"),
        "{cause}"
    );
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert!(log.contains(&format!("The build ended (config): {cause}")), "{log}");
    until_ready_says(&world, "the newest job of acme/hello ended (config)").await;
    world.etcd.delete("/totem/image-factory/github-keys/acme/hello").await;
    succeeds_soon(&world).await;
    until_ready_is_content(&world).await;
}

/// Whoever stores a key for one repository means that no other opens it.
#[tokio::test]
async fn a_key_that_cannot_be_used_is_named_and_no_other_takes_its_place() {
    let world = world().await;
    assert_eq!(run(&world).await["status"], "success");
    let wrong = DeployKey::generate(KeyType::Ed25519, "another passphrase");
    world.etcd.put("/totem/image-factory/github-keys/acme/hello", wrong.private).await;
    until_ready_says(&world, "github-keys/acme/hello").await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let said = until_it_waits(&world, &id).await;
    let no_key = "there is no deploy key";
    assert!(git::advice().iter().any(|row| row.text.contains(no_key)), "another wording: {no_key}");
    for part in ["the deploy key image-factory/github-keys/acme/hello of acme/hello is stored", "not the passphrase of"]
    {
        assert!(said.contains(part) && !said.contains(no_key), "{part}: {said}");
    }
    let listed = world.daemon.cli(&["jobs"]).run();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.contains(&id) && line.contains("the deploy key")), "{listed}");
    world.etcd.delete("/totem/image-factory/github-keys/acme/hello").await;
    world.daemon.wait_success(&id).await;
    until_ready_is_content(&world).await;
}

/// The most specific key is taken; the dockercfg's old shape is read too.
#[tokio::test]
async fn keys_of_owners_and_repositories() {
    let world = world().await;
    let [owner, repo] = [KeyType::Ed25519, KeyType::Ecdsa].map(|kind| DeployKey::generate(kind, PASSPHRASE));
    world.git.authorize(&[&owner]);
    world.etcd.put("/totem/image-factory/github-keys/acme", owner.private.as_str()).await;
    let old_shape = json!({format!("http://{}", world.registry.address()):
        {"auth": "YnVpbGRlcjpyZWdpc3RyeSBwYXNzd29yZA==", "email": ""}});
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&old_shape.to_string(), PASSPHRASE)).await;
    succeeds_soon(&world).await;
    world.git.authorize(&[&repo]);
    world.repo.commit("develop", &[]);
    world.etcd.put("/totem/image-factory/github-keys/acme/hello", repo.private).await;
    succeeds_soon(&world).await;
    world.etcd.delete("/totem/image-factory/github-keys/acme/hello").await;
    world.git.authorize(&[&owner]);
    world.repo.commit("develop", &[]);
    succeeds_soon(&world).await;
}

#[tokio::test]
async fn etcd_is_away_and_comes_back() {
    let mut world = world().await;
    world.etcd.stop();
    // The loaded secrets are still in use.
    assert_eq!(run(&world).await["status"], "success");
    until_ready_says(&world, "etcd").await;

    // Started without it: jobs are stored, and wait.
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    assert_eq!(world.daemon.job(&id).await["status"], "pending");
    world.etcd.restart().await;
    world.daemon.wait_success(&id).await;

    // The watch goes on over a compaction and another restart.
    world.etcd.compact().await;
    world.etcd.restart().await;
    let key = DeployKey::generate(KeyType::Ed25519, PASSPHRASE);
    world.git.authorize(&[&key]);
    world.repo.commit("develop", &[]);
    world.etcd.put(COMMON_KEY, key.private).await;
    succeeds_soon(&world).await;
}
