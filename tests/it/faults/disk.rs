use std::io::Read;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, Disk, Flow, World, eventually, push_payload, succeed, unique};

const LIMIT: Duration = Duration::from_secs(20);

/// A world whose data folder is on a disk of its own.
async fn world(disk: &Disk, more: &[(&str, &str)]) -> World {
    let data = disk.path().join("data");
    let mut settings = vec![("DATA_DIR", data.to_str().unwrap()), ("DISK_FLOOR", "0B"), ("INODE_FLOOR", "0")];
    settings.extend(more);
    World::start_with(&settings).await
}

/// A webhook is refused so that GitHub, or a person, sends it again.
async fn refuses_for_now(daemon: &Daemon, sha: &str) {
    let answer = daemon.hook("push", &push_payload("acme/hello", "refs/heads/develop", sha)).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().is_ok());
    assert!(answer.text().await.unwrap().contains("send it again later"));
}

/// Whoever asks is told that nothing can be stored; the log has more.
async fn is_unready(daemon: &Daemon, words: &str) {
    eventually(LIMIT, "/ready says what is wrong", async || {
        let answer = daemon.request(Method::GET, "/ready").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        (status == 503 && text.contains("jobs cannot be stored: the log has the cause")).then_some(())
    })
    .await;
    assert!(daemon.output().contains(words), "{words}");
}

/// The outcome of a job that ends meanwhile is kept, and stored when there is room.
#[tokio::test]
async fn a_full_disk_costs_time_and_no_job() {
    let disk = Disk::new(24);
    let world = world(&disk, &[]).await;
    let step = unique();
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {step} ru''ns; sleep 3; echo all is bu''ilt\n");
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_log(&id, "runs").await;

    disk.fill();
    refuses_for_now(&world.daemon, &"1".repeat(40)).await;
    is_unready(&world.daemon, "no space").await;
    // The build goes on, and its image is pushed.
    eventually(Duration::from_secs(60), "the image is pushed", async || world.digest(&sha).await).await;
    eventually(LIMIT, "the daemon's log says that it cannot store", async || {
        world.daemon.output().contains("a job's state cannot be stored: trying again").then_some(())
    })
    .await;
    assert_eq!(world.daemon.job(&id).await["status"], "running");

    disk.free();
    let job = world.daemon.wait_success(&id).await;
    assert_eq!((&job["attempt"], &job["digest"]), (&json!(1), &json!(world.digest(&sha).await)));
    let log = world.daemon.log(&id).await;
    assert!(log.trim_end().ends_with("bytes of this log could not be written]"), "{log}");
    // The daemon takes new jobs without a restart.
    let other = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &other).await;
    world.daemon.wait_success(&id).await;
    let ready = world.daemon.get("/ready").await;
    assert_eq!(ready["status"], "ready", "{ready}");
}

/// The kernel makes a disk read-only after an error: nothing more can be stored until it is repaired, but what was
/// accepted is there.
#[tokio::test]
async fn a_read_only_disk_is_reported_and_survived() {
    let disk = Disk::new(24);
    let mut world = world(&disk, &[("CONCURRENCY", "1"), ("DRAIN_TIMEOUT", "1s")]).await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {} ru''ns; sleep 2\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let running = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let waiting = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": "second"})).await;
    world.daemon.wait_log(&running, "runs").await;

    disk.fail();
    refuses_for_now(&world.daemon, &"1".repeat(40)).await;
    is_unready(&world.daemon, "check the disk and the mount").await;
    // Stored jobs can be read.
    assert_eq!(world.daemon.job(&waiting).await["status"], "pending");
    assert_eq!(world.daemon.get("/job").await.as_array().map(Vec::len), Some(2));
    eventually(Duration::from_secs(60), "the image is pushed", async || world.digest(&sha).await).await;

    // The job's end is not stored. The next start names the reason why it fails.
    let status = world.daemon.term(Duration::from_secs(40)).await;
    assert!(status.code().is_some(), "{status}");
    let second = world.daemon.second();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("Read-only file system"), "{said}");
    disk.repair();
    world.daemon.restart().await;
    for id in [running, waiting] {
        let job: Value = world.daemon.wait_success(&id).await;
        assert!(job["attempt"].as_u64().unwrap() <= 2, "{job:#}");
    }
}

/// A repository that would fill the disk ends its own fetch at half of DISK_FLOOR, and leaves nothing there.
#[tokio::test]
async fn a_fetch_that_fills_the_disk_is_ended() {
    let disk = Disk::new(96);
    let mut world = world(&disk, &[("DISK_FLOOR", "64MiB")]).await;
    let gate = world.gate_git().await;
    let mut random = std::fs::File::open("/dev/urandom").unwrap().take(80 << 20);
    std::io::copy(&mut random, &mut std::fs::File::create(world.repo.path("random")).unwrap()).unwrap();
    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    // The room is looked at each second.
    gate.set(Flow::Slow { rate: 10 << 20 });
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_log(&id, "(half of DISK_FLOOR)").await;
    assert_eq!(world.daemon.get("/health").await["status"], "alive");
    world.daemon.request(Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait(&id).await;
    let packs = disk.path().join("data");
    let used = succeed(Command::new("du").args(["--summarize", "--block-size=1M"]).arg(packs), b"");
    let used = String::from_utf8(used.stdout).unwrap();
    assert!(used.split('\t').next().unwrap().parse::<u32>().unwrap() < 10, "{used}");
}
