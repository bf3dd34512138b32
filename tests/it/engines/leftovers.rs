//! The leftovers of dead builds in an engine.

use crate::harness::{BASE, Feature, processes_of};

use super::*;

on_each_engine!(a_step_of_a_killed_engine_ends);
// Podman's builder makes no containers.
on_docker!(leftovers_of_the_classic_builder, a_running_step_is_no_leftover);

/// A step that hangs, with `mark` in its command line.
async fn hanging(world: &World, mark: &str) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1\nVOLUME /v\nRUN echo it ha''ngs; sleep 1000; echo {mark}\n");
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = submit(world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    assert!(!processes_of(mark).is_empty());
    id
}

/// The engine's death ended the attempt, and nobody wants another one.
async fn given_up(world: &World, id: &str) {
    ends_by_the_engine(world, id, Instant::now()).await;
    let cancel = world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
}

async fn leftovers_of_the_classic_builder(docker: Docker) {
    let (mut private, world) = world(docker, &[("BUILDER", "classic")]).await;
    let engine = private.engine.clone();
    // One of another daemon, and one of somebody.
    let other = engine.docker(&["create", "--add-host", "0-1.bb.image-factory.invalid:0.0.0.0", BASE, "true"]);
    let someones = engine.docker(&["create", BASE, "true"]);
    let mark = unique();
    let id = hanging(&world, &mark).await;
    assert_eq!(engine.docker(&["ps", "-q", "-a"]).lines().count(), 3);
    assert!(!engine.docker(&["volume", "ls", "-q"]).is_empty());
    private.kill9();
    given_up(&world, &id).await;
    private.restart().await;
    // The engine gives a container that it finds running 10 s to stop.
    eventually(LIMIT * 3, "the build's container is gone", async || {
        (engine.docker(&["ps", "-q", "-a"]).lines().count() == 2).then_some(())
    })
    .await;
    let left = engine.docker(&["ps", "-q", "-a", "--no-trunc"]);
    assert!(left.contains(&other) && left.contains(&someones), "{left}");
    assert_eq!(engine.docker(&["volume", "ls", "-q"]), "");
    assert_eq!(processes_of(&mark), Vec::<String>::new());
    assert!(world.daemon.output().contains("leftovers of builds that died"), "{}", world.daemon.output());
}

async fn a_step_of_a_killed_engine_ends(docker: Docker) {
    let (mut private, world) = world(docker, &[]).await;
    let mark = unique();
    let id = hanging(&world, &mark).await;
    private.kill9();
    given_up(&world, &id).await;
    assert!(!processes_of(&mark).is_empty() || !docker.has(Feature::Buildkit), "the step died with its engine");
    private.restart().await;
    eventually(LIMIT, "the step is gone", async || processes_of(&mark).is_empty().then_some(())).await;
}

/// A daemon that starts leaves the steps of others alone.
async fn a_running_step_is_no_leftover(docker: Docker) {
    let private = PrivateEngine::start(docker).await;
    let mark = unique();
    let mut running = std::process::Command::new("docker")
        .env("DOCKER_HOST", &private.engine.host)
        .args(["build", "-q", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN sleep 5; echo {mark}\n");
    std::io::Write::write_all(&mut running.stdin.take().unwrap(), dockerfile.as_bytes()).unwrap();
    eventually(LIMIT, "the step runs", async || (!processes_of(&mark).is_empty()).then_some(())).await;
    let another = World::start_at(private.engine.clone(), &[]).await;
    eventually(LIMIT, "the engine is ready", async || (reasons(&another).await == "[]").then_some(())).await;
    assert!(running.wait().unwrap().success());
}
