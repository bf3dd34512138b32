//! Base images that have moved in their registry.

use serde_json::{Value, json};

use crate::harness::{Docker, Engine, Feature, REGISTRY_PASSWORD, World, dockercfg, folder, unique};

on_each_engine!(a_moved_base_image_is_used_by_the_classic_builder);
on_docker!(a_moved_base_image_is_used_by_buildkit);

async fn a_moved_base_image_is_used_by_buildkit(docker: Docker) {
    moved_base_images(docker, "buildkit").await;
}

async fn a_moved_base_image_is_used_by_the_classic_builder(docker: Docker) {
    moved_base_images(docker, "classic").await;
}

/// Builds an image with the file `/version` on the engine.
fn make(engine: &Engine, image: &str, version: &str) {
    let dir = folder();
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {version} > /version # {}\n", unique());
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    engine.docker(&["build", "-t", image, dir.path().to_str().unwrap()]);
}

/// Pushes the versions 1 and 2 of an image, and leaves version 1 by its name in the engine.
fn move_in_the_registry(world: &World, image: &str) {
    let login = folder();
    let address = world.registry.address();
    std::fs::write(login.path().join("config.json"), dockercfg(&address, "builder", REGISTRY_PASSWORD)).unwrap();
    let engine = &world.engine;
    let mut former = String::new();
    for version in ["1", "2"] {
        make(engine, image, version);
        engine.docker(&["--config", login.path().to_str().unwrap(), "push", image]);
        if version == "1" {
            former = engine.inspect(image, "{{.Id}}");
        }
    }
    engine.docker(&["tag", &former, image]);
}

async fn build(world: &World, options: Value) -> Value {
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "build": options})).await;
    world.daemon.wait_success(&id).await
}

async fn moved_base_images(docker: Docker, builder: &str) {
    let world = World::start_at(Engine::of(docker), &[("BUILDER", builder)]).await;
    let address = world.registry.address();
    let [own, other] = ["totem/base", "other/base"].map(|name| format!("{address}/{name}:latest"));
    for image in [&own, &other] {
        move_in_the_registry(&world, image);
    }
    // This one is in no registry.
    let local = format!("{address}/totem/local:1");
    make(&world.engine, &local, "local");
    let dockerfile = format!(
        "ARG BASE={own}\nFROM $BASE AS own\nFROM {local} AS local\nFROM {other}\nCOPY --from=own /version /own\n\
         COPY --from=local /version /local\nRUN cat /proc/sys/kernel/random/uuid > /id # {}\n",
        unique()
    );
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let image = format!("{address}/totem/acme-hello:HEAD");
    let content = |file: &str| world.engine.run(&image, &["cat", file]);

    // The daemon's own image is looked up, and the other one is used as the engine has it, unless it asks always.
    let kept = docker.has(Feature::KeepsBases) || docker == Docker::Containerd && builder == "classic";
    let other_version = if kept { "1" } else { "2" };
    let job = build(&world, json!({})).await;
    assert_eq!(
        (content("/own"), content("/version"), content("/local")),
        ("2".into(), other_version.into(), "local".into())
    );
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    // Podman looks up all of them by itself.
    let is_podman = !docker.has(Feature::Buildkit);
    assert!(
        is_podman != log.contains(&format!("{own} has moved: sha256:")) && !log.contains(&format!("{other} has moved")),
        "{log}"
    );
    let line = log.lines().find(|line| line.contains("own copy")).map(|line| line.replace(&address, "[registry]"));
    assert_eq!(line.is_none(), is_podman, "{log}");
    if let Some(line) = line {
        insta::allow_duplicates! {
            insta::assert_snapshot!(line, @"the registry shows no [registry]/totem/local:1 (manifest unknown: manifest unknown), so the engine's own copy is used: push the image again, or store a login that may read it");
        }
    }

    // With `always` both are looked up, by the builder itself.
    let dockerfile = dockerfile.replace(&local, &own);
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let always = json!({"pull": "always"});
    let job = build(&world, always.clone()).await;
    assert_eq!((content("/own"), content("/version")), ("2".into(), "2".into()));
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert!(log.contains("Executing: docker build") && log.contains(" --pull "), "{log}");

    // The cache is used unless the job says otherwise, and a rebuild may say it.
    let before = content("/id");
    build(&world, always).await;
    assert_eq!(content("/id"), before);
    let rebuild = world.daemon.cli(&["rebuild", job["id"].as_str().unwrap(), "--no-cache", "--follow"]);
    let ended = tokio::task::spawn_blocking(|| rebuild.run()).await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_ne!(content("/id"), before);
    let newest = &world.daemon.get("/job?limit=1").await[0];
    assert_eq!(newest["context"]["build"], json!({"pull": "always", "noCache": true}));
}
