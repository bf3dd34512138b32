//! What builds reach: the network of their steps, and what the engine fetches for their `ADD`.

use axum::http::header::USER_AGENT;
use serde_json::json;

use crate::harness::{COMPOSE_CI, Capture, Docker, Engine, World, unique};

on_each_engine!(
    without_a_network_steps_and_hooks_reach_nothing,
    the_classic_builder_takes_a_network_by_its_name,
    an_add_from_a_private_network_is_refused,
    an_open_api_refuses_what_an_engine_fetches,
);

/// Builds this Dockerfile, and returns the job's id.
async fn submit(world: &World, dockerfile: &str) -> String {
    world.repo.commit("develop", &[("Dockerfile", dockerfile)]);
    world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await
}

/// Returns a Dockerfile whose step prints the network interfaces, and which is built anew each time.
fn interfaces() -> String {
    format!("FROM image-factory-busybox:1\nRUN : {}; cat /proc/net/dev /etc/resolv.conf\n", unique())
}

async fn without_a_network_steps_and_hooks_reach_nothing(docker: Docker) {
    for builder in ["auto", "classic"] {
        let more = [("BUILD_NETWORK", "none"), ("BUILDER", builder), ("HOOK", "grep ':' /proc/net/dev")];
        let world = World::start_at(Engine::of(docker), &[&COMPOSE_CI[..], &more].concat()).await;
        let sha = world.repo.commit("develop", &[("Dockerfile", &interfaces())]);
        let id = world.ci_push("acme/hello", "develop", &sha).await;
        world.daemon.wait_success(&id).await;
        let log = world.daemon.log(&id).await;
        // One by the step, one by the hook.
        assert_eq!((log.matches(" lo:").count(), log.matches("eth0:").count()), (2, 0), "{builder}: {log}");
    }
    // The engine's own network is there without the setting.
    let world = World::start_at(Engine::of(docker), &[]).await;
    let id = submit(&world, &interfaces()).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("eth0:"), "{log}");
}

async fn the_classic_builder_takes_a_network_by_its_name(docker: Docker) {
    let engine = Engine::of(docker);
    let name = format!("iftest-{}", unique());
    engine.docker(&["network", "create", "--label", "iftest", &name]);
    let built = async |network: &str| {
        let world = World::start_at(Engine::of(docker), &[("BUILD_NETWORK", network), ("BUILDER", "classic")]).await;
        let id = submit(&world, &interfaces()).await;
        let job = world.daemon.wait(&id).await;
        (job, world.daemon.log(&id).await)
    };
    let (job, log) = built(&name).await;
    engine.docker(&["network", "rm", &name]);
    assert_eq!(job["status"], "success", "{log}");
    // The engine's resolver is at this address in the networks that have a name, and in no other.
    assert!(log.contains("nameserver 127.0.0.11"), "{log}");
    let (job, log) = built("iftest-nowhere").await;
    assert_eq!(job["class"], "config", "{log}");
    assert!(log.contains("BUILD_NETWORK"), "{log}");
}

async fn an_add_from_a_private_network_is_refused(docker: Docker) {
    let beside = Capture::start(&[200; 8]);
    let url = beside.url();
    let add = format!("FROM image-factory-busybox:1\nARG AT={url}\nADD ${{AT}} /fetched\nRUN : {}\n", unique());
    for builder in ["auto", "classic"] {
        let world = World::start_at(Engine::of(docker), &[("BUILDER", builder)]).await;
        let id = submit(&world, &add).await;
        let job = world.daemon.wait_failure(&id).await;
        assert_eq!(job["class"], "dockerfile", "{job:#}");
        let log = world.daemon.log(&id).await;
        assert!(log.contains("ADD in line 3 fetches from 127.0.0.1") && log.contains("ADD_HOSTS_ALLOWED"), "{log}");
        assert!(beside.requests().is_empty(), "the engine was asked to fetch");
    }
    for builder in ["auto", "classic"] {
        let world =
            World::start_at(Engine::of(docker), &[("BUILDER", builder), ("ADD_HOSTS_ALLOWED", "127.0.0.0/8")]).await;
        let id = submit(&world, &add).await;
        world.daemon.wait_success(&id).await;
    }
    let agents: Vec<_> = beside.requests().iter().map(|request| request.headers[USER_AGENT].clone()).collect();
    assert!(agents.len() >= 2 && agents.iter().all(|agent| agent == "Go-http-client/1.1"), "{agents:?}");
}

/// Only an address in a variable, or ADD_HOSTS_ALLOWED, lets a Dockerfile come this far.
async fn an_open_api_refuses_what_an_engine_fetches(docker: Docker) {
    let settings = [("API_AUTH", "none"), ("ADD_HOSTS_ALLOWED", "127.0.0.1")];
    let world = World::start_at(Engine::of(docker), &settings).await;
    let jobs = format!("{}/job", world.daemon.url());
    let plain = reqwest::Client::new().get(&jobs).send().await.unwrap();
    assert_eq!(plain.status(), 200);
    let id = submit(&world, &format!("FROM image-factory-busybox:1\nADD {jobs} /jobs\nRUN : {}\n", unique())).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["class"], "dockerfile", "{job:#}");
    let log = world.daemon.log(&id).await;
    assert!(log.contains("403"), "{log}");
}
