//! Engines that die, hang, come back and fill up.

mod full;
mod leftovers;
mod maintenance;
mod ssh;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Docker, Engine, Fault, Flow, PrivateEngine, World, eventually, unique};

on_each_engine!(killed, restarted, hangs, its_socket_is_replaced, away_while_it_is_not_needed);

const LIMIT: Duration = Duration::from_secs(10);

async fn submit(world: &World) -> String {
    world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await
}

async fn reasons(world: &World) -> String {
    world.daemon.get("/ready").await["reasons"].to_string()
}

/// A world on an engine of its own, which reaches the registry.
async fn world(docker: Docker, more: &[(&str, &str)]) -> (PrivateEngine, World) {
    let private = PrivateEngine::start(docker).await;
    let world = World::start_at(private.engine.clone(), more).await;
    private.reach(&world.registry.address());
    (private, world)
}

/// A job whose build takes seconds, when its step runs.
async fn in_build(world: &World) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo it ru''ns {}; sleep 3\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = submit(world).await;
    world.daemon.wait_log(&id, "it runs").await;
    id
}

/// A job whose push hangs.
async fn in_push(world: &World) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    world.registry.fault(Fault::Hang);
    let before = world.registry.calls("PUT", "/manifests/");
    let id = submit(world).await;
    let hangs = async || (world.registry.calls("PUT", "/manifests/") > before).then_some(());
    eventually(Duration::from_secs(60), "the push hangs", hangs).await;
    world.registry.fault(Fault::None);
    id
}

/// Asserts that a job whose engine went away at `since` is soon pending again, with the class `engine`.
async fn ends_by_the_engine(world: &World, id: &str, since: Instant) {
    let job = world.daemon.wait_for(id, LIMIT, |job| job["status"] == "pending").await;
    eprintln!("noticed after {:?}: {}", since.elapsed(), job["cause"]);
    assert_eq!(job["class"], "engine", "{job}");
}

/// Asserts that the second attempt succeeds.
async fn succeeds_again(world: &World, id: &str) {
    assert_eq!(world.daemon.wait_success(id).await["attempt"], 2);
}

/// The engine is there again: what waits runs.
async fn runs_again(world: &World, id: &str, since: Instant) -> Value {
    world.daemon.wait_for(id, LIMIT * 2, |job| job["status"] != "pending").await;
    eprintln!("running again {:?} after the engine's return", since.elapsed());
    world.daemon.wait_success(id).await
}

async fn killed(docker: Docker) {
    let (mut private, world) = world(docker, &[]).await;
    for begin in [0, 1] {
        let id = if begin == 0 { in_build(&world).await } else { in_push(&world).await };
        private.kill9();
        ends_by_the_engine(&world, &id, Instant::now()).await;
        eventually(LIMIT, "/ready names the engine", async || {
            reasons(&world).await.contains(&private.engine.host).then_some(())
        })
        .await;
        // A job that is accepted meanwhile waits.
        let waiting = submit(&world).await;
        assert_eq!(world.daemon.job(&waiting).await["status"], "pending");
        private.restart().await;
        runs_again(&world, &waiting, Instant::now()).await;
        succeeds_again(&world, &id).await;
        assert_eq!(reasons(&world).await, "[]");
    }
}

async fn restarted(docker: Docker) {
    let (mut private, world) = world(docker, &[]).await;
    for begin in [0, 1] {
        let id = if begin == 0 { in_build(&world).await } else { in_push(&world).await };
        let since = Instant::now();
        private.stop().await;
        ends_by_the_engine(&world, &id, since).await;
        private.restart().await;
        runs_again(&world, &id, Instant::now()).await;
        succeeds_again(&world, &id).await;
    }
}

async fn hangs(docker: Docker) {
    let (private, world) = world(docker, &[]).await;
    for begin in [0, 1] {
        let id = if begin == 0 { in_build(&world).await } else { in_push(&world).await };
        private.signal(Signal::STOP);
        ends_by_the_engine(&world, &id, Instant::now()).await;
        assert!(reasons(&world).await.contains("hangs"));
        let waiting = submit(&world).await;
        assert_eq!(world.daemon.job(&waiting).await["status"], "pending");
        private.signal(Signal::CONT);
        runs_again(&world, &waiting, Instant::now()).await;
        succeeds_again(&world, &id).await;
    }
    // One slow answer is none's end.
    let id = in_build(&world).await;
    private.signal(Signal::STOP);
    let end = Instant::now() + Duration::from_millis(1500);
    eventually(LIMIT, "a moment is over", async || (Instant::now() > end).then_some(())).await;
    private.signal(Signal::CONT);
    world.daemon.wait_success(&id).await;
}

/// While a job is fetched nobody asks the engine: its death, and its silence, then cost no attempt.
async fn away_while_it_is_not_needed(docker: Docker) {
    let (mut private, mut world) = world(docker, &[]).await;
    let gate = world.gate_git().await;
    for dies in [true, false] {
        world
            .repo
            .commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique()))]);
        gate.set(Flow::Stall { after: 0 });
        let id = submit(&world).await;
        world.daemon.wait_stage(&id, "clone").await;
        if dies {
            private.kill9();
        } else {
            private.signal(Signal::STOP);
        }
        eventually(LIMIT, "/ready names the engine", async || {
            reasons(&world).await.contains(&private.engine.host).then_some(())
        })
        .await;
        if dies {
            private.restart().await;
        } else {
            private.signal(Signal::CONT);
        }
        gate.set(Flow::Pass);
        assert_eq!(world.daemon.wait_success(&id).await["attempt"], 1);
    }
}

/// The socket of a running engine goes, and comes back: the build's own connection stays.
async fn its_socket_is_replaced(docker: Docker) {
    let (private, world) = world(docker, &[]).await;
    let (socket, aside) = (private.socket(), private.socket().with_extension("aside"));
    let id = in_build(&world).await;
    std::fs::rename(&socket, &aside).unwrap();
    eventually(LIMIT, "/ready names the engine", async || reasons(&world).await.contains("cannot reach").then_some(()))
        .await;
    assert_eq!(world.daemon.job(&id).await["status"], "running", "the build's own connection is there");
    std::fs::rename(&aside, &socket).unwrap();
    let waiting = submit(&world).await;
    runs_again(&world, &waiting, Instant::now()).await;
    world.daemon.wait_success(&id).await;
}

/// One of two engines dies. Its jobs go to the other one, and return when it is back.
#[tokio::test]
async fn one_of_two_engines_is_enough() {
    let mut private = PrivateEngine::start(Docker::V20).await;
    let shared = Engine::of(Docker::V26);
    let both = format!("{}, {}", private.engine.host, shared.host);
    let world = World::start_at(shared, &[("DOCKER_HOSTS", &both)]).await;
    private.reach(&world.registry.address());
    world.repo.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique()))]);
    world.daemon.wait_success(&submit(&world).await).await;
    // Two jobs take both engines: each has a share of one.
    let jobs = [in_build(&world).await, in_build(&world).await];
    let since = Instant::now();
    private.kill9();
    let mut again = 0;
    for id in &jobs {
        let attempt = world.daemon.wait_success(id).await["attempt"].as_u64().unwrap();
        again += attempt - 1;
    }
    assert_eq!(again, 1);
    eprintln!("both ended {:?} after one engine's death", since.elapsed());
    eventually(LIMIT, "/ready names the engine", async || {
        reasons(&world).await.contains(&private.engine.host).then_some(())
    })
    .await;
    assert_eq!(world.daemon.get("/ready").await["status"], "degraded");
    assert!(!reasons(&world).await.contains(&world.engine.host));
    world.daemon.wait_success(&submit(&world).await).await;
    private.restart().await;
    eventually(LIMIT, "/ready is content", async || (reasons(&world).await == "[]").then_some(())).await;
    world.daemon.wait_success(&submit(&world).await).await;
}

/// An engine that is named twice, or cannot be one, keeps the daemon from starting.
#[test]
fn a_wrong_list_of_engines_stops_the_start() {
    for (hosts, words) in [
        ("unix:///a.sock, unix:///a.sock", "DOCKER_HOSTS has \"unix:///a.sock\" twice"),
        ("unix:///a.sock,tcp://10.0.0.1:2375", "DOCKER_HOSTS=\"tcp://10.0.0.1:2375\" cannot be used"),
    ] {
        let settings = [("DOCKER_HOSTS".to_owned(), hosts.to_owned())].into();
        let output = crate::harness::Daemon::fail(&settings, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}
