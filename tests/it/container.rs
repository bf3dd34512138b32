//! Our image: `image-factory init` as process 1, with an engine inside or the host's, and the way in by ssh.

mod compose;
mod kills;
mod ssh;

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::container::{
    Container, Factory, Made, image, is_ready, load_base, next_version, privileged, run_container, text, with_socket,
};
use crate::harness::{
    BASE, Docker, Engine, HOOK_SECRET, Registry, World, afar, eventually, has_migration, push_payload, reach_afar_from,
    take_back, unique,
};

on_each_engine!(
    an_engine_inside_builds_and_keeps_its_layers,
    without_an_engine_the_container_says_what_to_add,
    without_a_volume_the_container_warns,
);
on_docker!(a_push_becomes_an_image_by_the_hosts_engine, registries_without_tls_are_those_that_are_named);

const LIMIT: Duration = Duration::from_secs(90);

/// A push becomes an image by the engine inside, and by the next version on the same volume, which has the first one's jobs,
/// mirrors and layers. A second container on a volume that is in use is refused.
async fn an_engine_inside_builds_and_keeps_its_layers(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = &world.engine;
    let (image, volume) = (image(engine, "prebuilt-with-engine"), Made::volume(engine));
    let dockerfile = format!("FROM {BASE}\nRUN echo {}\n", unique());
    world.git.repo("acme", "inner").commit("develop", &[("Dockerfile", &dockerfile)]);
    let start = |image: &Made| Factory::new(&world, &volume, &[], privileged(docker, image));
    let inner = start(&image);
    let first = inner.start(world.git.port()).await;
    load_base(engine, &first);
    let built = first.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(world.registry.manifest("totem/acme-inner", "HEAD").await.is_some(), "{built}");
    assert!(!built.contains("CACHED"), "{built}");

    // An orphan is the first process's child, and a zombie is in /proc until it is reaped.
    let orphan = first.done(&["sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!"]);
    let process = format!("/proc/{}", orphan.trim());
    let reaped = async || (!first.exec(&["test", "-e", &process]).status.success()).then_some(());
    eventually(LIMIT, "an orphan is reaped", reaped).await;

    let second = inner.run();
    assert_eq!(engine.docker(&["wait", &second.name]), "1", "{}", second.logs());
    assert!(second.logs().contains("another container uses /var/lib/image-factory/engine"), "{}", second.logs());
    let (made, mirrors_before) = (job(&first, "acme/inner"), mirrors(&volume));
    assert!(made["digest"].is_string() && mirrors_before.len() == 1, "{made}, {mirrors_before:?}");
    engine.docker(&["stop", "--time", "60", &first.name]);
    assert_eq!(first.inspect("{{.State.ExitCode}}"), "0", "{}", first.logs());
    drop(first);

    // The next version finds what this one left, in the schema of this one.
    let store = volume.path().join("image-factory.db");
    let newest = take_back(&store).await;
    assert!(!has_migration(&store, newest).await);
    let next_image = next_version(engine, &image);
    let next = start(&next_image).start(world.git.port()).await;
    assert!(has_migration(&store, newest).await);
    assert_eq!(job(&next, "acme/inner"), made, "the job of the version before");
    let built = next.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(built.contains("CACHED"), "the volume has no layers: {built}");
    assert_eq!(mirrors(&volume), mirrors_before, "the mirror was made anew");
}

/// Returns when each mirror in a volume was made.
fn mirrors(volume: &Made) -> Vec<(OsString, SystemTime)> {
    let entries = std::fs::read_dir(volume.path().join("repos/mirrors")).unwrap().flatten();
    entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().created().unwrap())).collect()
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
    // Privileges do not help a user who is not root.
    let container = Container::run(&engine, &["--network=none", "--user=8080", &image.name]);
    assert_eq!(engine.docker(&["wait", &container.name]), "1");
    let said = container.logs();
    assert!(!said.contains("--privileged") && said.contains("A container with `--user` starts no engine"), "{said}");
}

/// Without a volume, and with a storage that copies each layer, the container says so and works. The engine inside has the
/// settings about it, and addresses that the host's networks do not have.
async fn without_a_volume_the_container_warns(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    let given = [
        "--network=none",
        "--env=DOCKERD_ARGS=--storage-driver=vfs --label=of=the-operator",
        "--env=INSECURE_REGISTRIES=registry.example.com:5000,192.0.2.0/24",
        "--env=REGISTRY_MIRROR=https://mirror.example.com",
    ];
    let given = given.map(String::from).into_iter().chain(privileged(docker, &image));
    let container = run_container(&engine, &given.collect::<Vec<_>>());
    is_ready(&container).await;
    load_base(&engine, &container);
    assert!(container.done(&["docker", "run", "--rm", "--network=none", BASE, "echo", "it runs"]).contains("it runs"));
    let info = container.done(&["docker", "info", "--format", "{{json .}}"]);
    let info: Value = serde_json::from_str(info.lines().next().unwrap()).unwrap();
    assert_eq!((&info["Driver"], &info["Labels"]), (&json!("vfs"), &json!(["of=the-operator"])));
    let registries = info["RegistryConfig"].to_string();
    for registry in ["registry.example.com:5000", "192.0.2.0/24", "https://mirror.example.com/"] {
        assert!(registries.contains(registry), "{registry}: {registries}");
    }
    let address = "{{(index .IPAM.Config 0).Subnet}}";
    let networks = container.done(&["docker", "network", "inspect", "--format", address, "bridge"]);
    assert!(networks.starts_with("198.19."), "{networks}");
    let said = container.logs();
    for warning in ["/var/lib/image-factory is in no named volume", "the engine's storage is vfs"] {
        assert!(said.contains(warning), "{said}");
    }
}

/// A signed push becomes an image by the engine whose socket is mounted.
async fn a_push_becomes_an_image_by_the_hosts_engine(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = &world.engine;
    let (image, volume) = (image(engine, "prebuilt"), Made::volume(engine));
    let factory = Factory::new(&world, &volume, &[("HOOK_SECRET", HOOK_SECRET)], with_socket(engine, &image));
    let container = factory.start(world.git.port()).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", &format!("FROM {BASE}\nRUN : {}\n", unique()))]);
    let push = push_payload("acme/hello", "refs/heads/develop", &sha);
    let signature = format!("X-Hub-Signature-256: sha256={}", world.daemon.sha256(&push.to_string()));
    let headers = ["X-GitHub-Event: push", &format!("X-GitHub-Delivery: {}", unique()), &signature];
    let accepted: Value = serde_json::from_str(&container.post("/hooks/github", &headers, &push)).unwrap();
    let ended = async || {
        let job = job(&container, "acme/hello");
        (!matches!(job["status"].as_str(), Some("pending" | "running"))).then_some(job)
    };
    let made = eventually(LIMIT, "the job ends", ended).await;
    assert_eq!((&made["id"], &made["status"]), (&accepted["id"], &json!("success")), "{made:#}");
    assert_eq!(made["digest"].as_str(), world.digest(&sha).await.as_deref());
}

/// The engine inside takes a base image from a registry without TLS, and pushes there, if INSECURE_REGISTRIES names it.
async fn registries_without_tls_are_those_that_are_named(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = &world.engine;
    let (image, volume) = (image(engine, "prebuilt-with-engine"), Made::volume(engine));
    let (named, other) = (Registry::open().await, Registry::open().await);
    for registry in [&named, &other] {
        let base = Made::image(engine, format!("{}/totem/base:1", registry.address()));
        engine.docker(&["tag", BASE, &base.name]);
        engine.docker(&["push", "--quiet", &base.name]);
    }
    let [far, far_other] = [&named, &other].map(|registry| afar(&registry.address()));
    let images = format!("{far}/totem");
    let settings = [("INSECURE_REGISTRIES", far.as_str()), ("DOCKER_REPO_BASE", &images)];
    let container = Factory::new(&world, &volume, &settings, privileged(docker, &image)).start(world.git.port()).await;
    [&named, &other].iter().for_each(|registry| reach_afar_from(&container.network(), &registry.address()));
    let build = |base: &str| {
        let dockerfile = format!("FROM {base}/totem/base:1\nRUN : {}\n", unique());
        world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        container.exec(&["image-factory", "build", "acme/hello", "--follow"])
    };
    let built = build(&far);
    assert!(built.status.success(), "{}", text(&built));
    assert!(named.manifest("totem/acme-hello", "HEAD").await.is_some(), "{}", text(&built));
    let refused = build(&far_other);
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("gave HTTP response to HTTPS client"), "{said}");
}

/// Returns a job of a repository, as the command line in the container shows it.
fn job(container: &Container, repo: &str) -> Value {
    let jobs = container.done(&["image-factory", "jobs", "--json", "--repo", repo]);
    serde_json::from_str::<Value>(&jobs).unwrap()[0].clone()
}
