//! What builds reach: the network of their steps, and what the engine fetches for their `ADD`.

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use ipnet::Ipv4Net;
use serde_json::json;

use crate::harness::{COMPOSE_CI, Capture, Docker, Engine, Etcd, Feature, World, port, unique};

on_each_engine!(
    without_a_network_steps_and_hooks_reach_nothing,
    the_classic_builder_takes_a_network_by_its_name,
    an_add_from_a_private_network_is_refused,
    an_open_api_refuses_what_an_engine_fetches,
);
on_podman!(no_step_takes_the_network_of_podmans_machine);

/// Builds this Dockerfile, and returns the job's id.
async fn submit(world: &World, dockerfile: &str) -> String {
    world.repo.commit("develop", &[("Dockerfile", dockerfile)]);
    world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await
}

/// Returns a Dockerfile whose step prints the network interfaces, and which is built anew each time. Podman gives a step
/// without a network no file of resolvers.
fn interfaces() -> String {
    format!("FROM image-factory-busybox:1\nRUN : {}; cat /proc/net/dev; cat /etc/resolv.conf || true\n", unique())
}

async fn without_a_network_steps_and_hooks_reach_nothing(docker: Docker) {
    for builder in ["auto", "classic"] {
        let more = [("BUILD_NETWORK", "none"), ("BUILDER", builder), ("HOOK", "grep ':' /proc/net/dev")];
        let world = World::start_at(Engine::of(docker), &[&COMPOSE_CI[..], &more, docker.limits()].concat()).await;
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
    assert!(log.contains("eth0:") && !log.contains("docker0:"), "{log}");
}

/// Podman has no option that forbids it.
async fn no_step_takes_the_network_of_podmans_machine(docker: Docker) {
    for network in ["", "none"] {
        let world = World::start_at(Engine::of(docker), &[("BUILD_NETWORK", network)]).await;
        let step = "FROM image-factory-busybox:1\nARG N=host\nRUN --network=$N true\n";
        let job = world.daemon.wait_failure(&submit(&world, step).await).await;
        let cause = job["cause"].as_str().unwrap();
        assert!(job["class"] == "dockerfile" && cause.contains("RUN --network in line 3 may take"), "{job:#}");
        let step = interfaces().replace("RUN ", "RUN --network=none ");
        world.daemon.wait_success(&submit(&world, &step).await).await;
    }
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
    assert!(log.contains("nameserver 127.0.0.11") || !docker.has(Feature::Buildkit), "{log}");
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
    let is_engines = |agent: &HeaderValue| agent == "Go-http-client/1.1" || agent.as_bytes().starts_with(b"buildkit/");
    let agents: Vec<_> = beside.requests().iter().map(|request| request.headers[USER_AGENT].clone()).collect();
    assert!(agents.len() >= 2 && agents.iter().all(is_engines), "{agents:?}");
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

/// A step reaches the machine of its engine by the gateway of the engine's network.
#[tokio::test]
async fn doctor_lists_what_steps_reach_without_a_password() {
    let world = World::start().await;
    // An engine that was never started before tells no gateway, and its bridge has the first address all the same.
    let template = "{{(index .IPAM.Config 0).Subnet}}";
    let subnet = world.engine.docker(&["network", "inspect", "--format", template, "bridge"]);
    let gateway = subnet.trim().parse::<Ipv4Net>().unwrap().hosts().next().unwrap().to_string();
    let at = (gateway.as_str(), port().to_string());
    let mut etcd = Etcd::start_with(&["--listen-client-urls", &format!("http://{}:{}", at.0, at.1)]).await;
    let etcd_at = format!("{}:{}", at.0, at.1);
    let doctor = |more: &[(&str, &str)]| {
        let found = more.iter().fold(world.daemon.beside(&["doctor"]), |cli, (name, value)| cli.env(name, value)).run();
        let lines = String::from_utf8(found.stdout).unwrap();
        lines.lines().filter(|line| line[5..].starts_with("network: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let gateway = [("ETCD_HOST", at.0), ("ETCD_PORT", at.1.as_str())];
    let reached = format!(
        "warn network: steps of builds reach etcd at {etcd_at} without a password: turn on its authentication, or let it \
         listen on 127.0.0.1 alone"
    );
    assert_eq!(doctor(&gateway), [reached]);
    let none = "ok   network: steps reach nothing (BUILD_NETWORK=none); open beside them: etcd at ".to_owned();
    assert_eq!(doctor(&[&gateway[..], &[("BUILD_NETWORK", "none")]].concat()), [none + &etcd_at]);
    let found = doctor(&[("BUILD_NETWORK", "iftest-nowhere"), ("BUILDER", "classic")]);
    assert!(
        found[0].starts_with("BAD  network: unix://") && found[0].contains(" has no network iftest-"),
        "{found:#?}"
    );
    etcd.ask_for_users().await;
    let none = "ok   network: steps of builds reach no engine, etcd, registry or daemon without a password";
    assert_eq!(doctor(&gateway), [none]);
    let loopback = "ok   network: on loopback, where neither steps nor a plain ADD reach: etcd at 127.0.0.1:";
    assert_eq!(doctor(&[]), [none.to_owned(), format!("{loopback}{}", world.etcd.port())]);
}
