use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    BASE, Fault, Flow, Gate, PASSPHRASE, REGISTRY_PASSWORD, Registry, World, dockercfg, eventually, gpg_encrypt, unique,
};

async fn build(world: &World, dockerfile: &str) -> (String, Value) {
    let sha = world.repo.commit("develop", &[("Dockerfile", dockerfile)]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait(&id).await;
    (sha, job)
}

/// Each status of trouble, in a push: it is pushed again, and not built again.
#[tokio::test]
async fn a_push_survives_each_answer_of_a_registry_in_trouble() {
    let world = World::start_with(&[("PUSH_RETRY_WAIT", "100ms")]).await;
    for status in [500, 502, 503, 504, 429] {
        world.registry.fault(Fault::Manifests { status, times: 2 });
        let (sha, job) = build(&world, &format!("FROM image-factory-busybox:1\nLABEL status={status}\n")).await;
        assert_eq!((&job["status"], &job["digest"]), (&json!("success"), &json!(world.digest(&sha).await)), "{job:#}");
        let log = world.daemon.log(job["id"].as_str().unwrap()).await;
        assert!(log.contains("Try 2 of 20 follows"), "{log}");
        assert_eq!(log.matches("Executing: docker build").count(), 1, "{log}");
    }
}

/// A gate before the registry, and images that are pushed through it.
async fn gated(more: &[(&str, &str)]) -> (World, Gate) {
    let registry = Registry::with_password("builder", REGISTRY_PASSWORD).await;
    let gate = Gate::start(registry.address().rsplit(':').next().unwrap().parse().unwrap());
    let base = format!("{}/totem", gate.address());
    let settings = [&[("DOCKER_REPO_BASE", base.as_str()), ("PUSH_RETRY_WAIT", "100ms")], more].concat();
    let world = World::start_on(registry, ("builder", REGISTRY_PASSWORD), &settings).await;
    let config = dockercfg(&gate.address(), "builder", REGISTRY_PASSWORD);
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config, PASSPHRASE)).await;
    // Once it has arrived: until then there is no login for the gate.
    let loaded = async || (world.daemon.output().matches("dockercfg: loaded").count() > 1).then_some(());
    crate::harness::eventually(Duration::from_secs(20), "the dockercfg is read", loaded).await;
    (world, gate)
}

#[tokio::test]
async fn a_push_survives_a_reset_connection() {
    let (world, gate) = gated(&[]).await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN head -c 300000 /dev/urandom > /{}\n", unique());
    gate.set(Flow::Reset { after: 100_000 });
    let (sha, job) = build(&world, &dockerfile).await;
    assert_eq!(gate.flow(), Flow::Pass, "nothing was reset");
    assert_eq!((&job["status"], &job["digest"]), (&json!("success"), &json!(world.digest(&sha).await)), "{job:#}");
    world.engine.remove_images(&format!("reference={}/*/*", gate.address()));
}

/// The registry is so slow that a push takes longer than its limit. The job names the limit, and the next job is not
/// held up.
#[tokio::test]
async fn a_slow_registry_meets_the_limit() {
    let (world, gate) = gated(&[("PUSH_TIMEOUT", "3s")]).await;
    gate.set(Flow::Slow { rate: 20_000 });
    let (_, job) =
        build(&world, &format!("FROM image-factory-busybox:1\nRUN head -c 1000000 /dev/urandom > /{}\n", unique()))
            .await;
    let message = job["results"]["push"]["err"]["message"].as_str().unwrap();
    assert!(message.contains("PUSH_TIMEOUT") && message.contains("3 s"), "{message}");
    gate.set(Flow::Pass);
    let (sha, job) = build(&world, "FROM image-factory-busybox:1\nLABEL slow=no\n").await;
    assert_eq!((&job["status"], &job["digest"]), (&json!("success"), &json!(world.digest(&sha).await)), "{job:#}");
    world.engine.remove_images(&format!("reference={}/*/*", gate.address()));
}

/// A base image's registry is in trouble: the job ends with its name and status, or is built in the end.
#[tokio::test]
async fn a_base_image_that_cannot_be_pulled_is_named() {
    let world = World::start().await;
    let bases = Registry::open().await;
    let base = format!("{}/bases/small:1", bases.address());
    world.engine.docker(&["tag", BASE, &base]);
    world.engine.docker(&["push", "-q", &base]);
    world.engine.docker(&["image", "rm", &base]);
    let dockerfile = format!("FROM {base}\nLABEL of={}\n", unique());
    for status in [500, 503, 429] {
        bases.fault(Fault::Pulls { status });
        let sha = world.repo.commit("develop", &[("Dockerfile", &format!("{dockerfile}LABEL status={status}\n"))]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        let words = [bases.address(), status.to_string()];
        // Both words must be in one line, because a commit's id may contain the digits of a status.
        eventually(Duration::from_secs(60), "the log names the base image's registry and its answer", async || {
            let log = world.daemon.log(&id).await;
            log.lines().any(|line| words.iter().all(|word| line.contains(word.as_str()))).then_some(())
        })
        .await;
        bases.fault(Fault::None);
        let job = world.daemon.wait(&id).await;
        if job["status"] != "success" {
            let message = job["results"]["build"]["err"]["message"].as_str().unwrap();
            assert!(words.iter().all(|word| message.contains(word.as_str())), "{message}");
            // The next push is built.
            let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "commit": sha})).await;
            world.daemon.wait_success(&id).await;
        }
    }
    world.engine.remove_images(&format!("reference={}/*/*", bases.address()));
}
