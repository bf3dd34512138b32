//! Disks that fill up.

use std::fs;

use crate::harness::{BASE, BENCH_BINARY, SmallDisk, folder};

use super::*;

on_each_engine!(an_engine_is_pruned, a_full_engine_waits);
mod of_containerd {
    use super::the_disk_of_containerd_counts;

    #[test]
    fn docker_26_does_not_say_which_containerd_it_uses() {
        crate::harness::on(crate::harness::Docker::V26, the_disk_of_containerd_counts);
    }

    on_newer_engine!(docker_containerd Containerd the_disk_of_containerd_counts);
}

const FLOOR: (&str, &str) = ("DISK_FLOOR", "100MiB");

/// Builds that together need more than there is: what they leave goes, the oldest first, and nobody else's. Others have
/// images on the same base, and what they share must not hide what is ours.
async fn an_engine_is_pruned(docker: Docker) {
    // containerd's store has each layer packed and unpacked.
    let size = if docker == Docker::Containerd { 480 } else { 300 };
    let private = PrivateEngine::start_on_small_disk(docker, size).await;
    let world = World::start_at(private.engine.clone(), &[FLOOR, ("CONCURRENCY", "1")]).await;
    private.reach(&world.registry.address());
    for (name, from, size) in [("base", BASE, 16), ("own", "somebody/base:1", 1)] {
        let dir = folder();
        let step = format!("FROM {from}\nRUN dd if=/dev/urandom of=/{name} bs=1M count={size}\n");
        fs::write(dir.path().join("Dockerfile"), step).unwrap();
        private.engine.docker(&["build", "-t", &format!("somebody/{name}:1"), dir.path().to_str().unwrap()]);
    }
    let mut shas = vec![];
    for round in 0..6 {
        let dockerfile =
            format!("FROM somebody/base:1\nRUN echo {}; dd if=/dev/urandom of=/big bs=1M count=40\n", unique());
        let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        let job = world.daemon.wait_success(&id).await;
        let image = job["image"].as_str().unwrap();
        if round == 0 {
            // The image has our labels and another name.
            private.engine.docker(&["tag", image, "somebody/kept:1"]);
        }
        shas.push(sha);
    }
    let output = world.daemon.output();
    assert!(output.contains("of our images and parts of the build cache"), "{output}");
    let images = private.engine.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    for others in ["somebody/kept:1", "somebody/base:1", "somebody/own:1", BASE] {
        assert!(images.contains(others), "{others}: {images}");
    }
    assert!(images.contains(&shas[5]) && !images.contains(&shas[1]), "{images}");
}

/// The disk is full of images that are not ours.
async fn a_full_engine_waits(docker: Docker) {
    let private = PrivateEngine::start_on_small_disk(docker, 200).await;
    let world = World::start_at(private.engine.clone(), &[FLOOR]).await;
    private.reach(&world.registry.address());
    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let kept = submit(&world).await;
    world.daemon.wait_success(&kept).await;
    let ballast = private.data().join("ballast");
    fs::write(&ballast, vec![1; 120 << 20]).unwrap();
    eventually(LIMIT, "/ready names the floor", async || {
        reasons(&world).await.contains("DISK_FLOOR=100 MiB").then_some(())
    })
    .await;
    assert_eq!(world.daemon.get("/ready").await["status"], "degraded");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    assert_eq!(world.daemon.job(&id).await["status"], "pending");
    let found = world.daemon.beside(&["doctor"]).run();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        found.lines().any(|line| line.starts_with("BAD  engine: its folder") && line.contains("jobs wait")),
        "{found}"
    );
    // All that is ours would not be enough, so it stays.
    let images = private.engine.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(images.contains("totem/acme-hello"), "{images}");
    fs::remove_file(ballast).unwrap();
    world.daemon.wait_success(&id).await;
    assert_eq!(world.daemon.output().matches("jobs wait below").count(), 1, "{}", world.daemon.output());
}

/// containerd is a service of its own, and has the images on another disk than the engine's other data.
async fn the_disk_of_containerd_counts(docker: Docker) {
    let private = PrivateEngine::start_beside_containerd(docker, 200).await;
    let containerd = private.containerd();
    let program = containerd.daemon().display().to_string();
    let world = World::start_at(private.engine.clone(), &[FLOOR, (BENCH_BINARY, &program)]).await;
    private.reach(&world.registry.address());
    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.daemon.wait_success(&submit(&world).await).await;
    let ballast = containerd.disk().join("ballast");
    fs::write(&ballast, vec![1; 120 << 20]).unwrap();
    eventually(LIMIT, "/ready names the floor", async || {
        reasons(&world).await.contains("DISK_FLOOR=100 MiB").then_some(())
    })
    .await;
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    assert_eq!(world.daemon.job(&id).await["status"], "pending");
    fs::remove_file(ballast).unwrap();
    world.daemon.wait_success(&id).await;
}

#[tokio::test]
async fn a_full_data_folder_waits() {
    let place = folder();
    let _disk = SmallDisk::mount(place.path(), 200);
    let data = place.path().display().to_string();
    let world = World::start_with(&[("DATA_DIR", &data), FLOOR]).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.daemon.wait_success(&submit(&world).await).await;
    let ballast = place.path().join("ballast");
    fs::write(&ballast, vec![1; 120 << 20]).unwrap();
    eventually(LIMIT, "/ready names the floor", async || {
        reasons(&world).await.contains(&format!("the disk of {data} has")).then_some(())
    })
    .await;
    // The mirror gives what it has.
    eventually(LIMIT, "the mirror is gone", async || {
        world.daemon.output().contains("removing the mirror").then_some(())
    })
    .await;
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    assert_eq!(world.daemon.job(&id).await["status"], "pending");
    fs::remove_file(ballast).unwrap();
    world.daemon.wait_success(&id).await;
}
