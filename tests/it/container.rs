//! Our image: `image-factory init` as process 1, with an engine inside or the host's, and the way in by ssh.

mod compose;
mod kills;
mod ssh;

use std::time::Duration;

use serde_json::Value;

use crate::harness::container::{Container, Factory, Made, image, is_ready, load_base, privileged, run_container};
use crate::harness::{BASE, Docker, Engine, World, unique};

on_each_engine!(
    an_engine_inside_builds_and_keeps_its_layers,
    without_an_engine_the_container_says_what_to_add,
    without_a_volume_the_container_warns,
);

const LIMIT: Duration = Duration::from_secs(90);

/// A push becomes an image by the engine inside, also after its crash, and by the next container on the same volume with the
/// first one's layers. A second container on a volume that is in use is refused.
async fn an_engine_inside_builds_and_keeps_its_layers(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = &world.engine;
    let (image, volume) = (image(engine, "prebuilt-with-engine"), Made::volume(engine));
    let dockerfile = format!("FROM {BASE}\nRUN echo {}\n", unique());
    world.git.repo("acme", "inner").commit("develop", &[("Dockerfile", &dockerfile)]);
    let inner = Factory::new(&world, &volume, &[], privileged(docker, &image));
    let first = inner.start(world.git.port()).await;
    load_base(engine, &first);
    let built = first.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(world.registry.manifest("totem/acme-inner", "HEAD").await.is_some(), "{built}");
    assert!(!built.contains("CACHED"), "{built}");

    let second = inner.run();
    assert_eq!(engine.docker(&["wait", &second.name]), "1", "{}", second.logs());
    assert!(second.logs().contains("another container uses /var/lib/image-factory/engine"), "{}", second.logs());
    engine.docker(&["stop", "--time", "60", &first.name]);
    assert_eq!(first.inspect("{{.State.ExitCode}}"), "0", "{}", first.logs());
    drop(first);

    let next = inner.start(world.git.port()).await;
    let built = next.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(built.contains("CACHED"), "the volume has no layers: {built}");
}

/// Neither a socket nor privileges: the container says what to add, and ends.
async fn without_an_engine_the_container_says_what_to_add(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    let container = Container::run(&engine, &["--network=none", &image.name]);
    assert_eq!(engine.docker(&["wait", &container.name]), "1");
    let said = container.logs();
    let license = engine.inspect(&image.name, "{{index .Config.Labels \"org.opencontainers.image.licenses\"}}");
    assert_eq!(license, "Apache-2.0");
    assert!(said.contains("add `-v /var/run/docker.sock:/var/run/docker.sock` or `--privileged`"), "{said}");
}

/// Without a volume, and with a storage that copies each layer, the container says so and works.
async fn without_a_volume_the_container_warns(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    let given = ["--network=none", "--env=DOCKERD_ARGS=--storage-driver=vfs"];
    let given = given.map(String::from).into_iter().chain(privileged(docker, &image));
    let container = run_container(&engine, &given.collect::<Vec<_>>());
    is_ready(&container).await;
    load_base(&engine, &container);
    assert!(container.done(&["docker", "run", "--rm", "--network=none", BASE, "echo", "it runs"]).contains("it runs"));
    let said = container.logs();
    for warning in ["/var/lib/image-factory is in no named volume", "the engine's storage is vfs"] {
        assert!(said.contains(warning), "{said}");
    }
}

/// Returns a job of a repository, as the command line in the container shows it.
fn job(container: &Container, repo: &str) -> Value {
    let jobs = container.done(&["image-factory", "jobs", "--json", "--repo", repo]);
    serde_json::from_str::<Value>(&jobs).unwrap()[0].clone()
}
