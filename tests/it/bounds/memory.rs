use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::harness::{World, unique};

/// Jobs share the memory for trees: one waits for it, says so and can be cancelled; small ones never wait.
#[tokio::test]
async fn a_job_waits_for_memory_that_another_one_holds() {
    // Jobs may hold 4.4 MiB, of which 4,000 files take most, and 2.6 MiB once they have their times. 213 KiB are each
    // job's own beside these.
    let world = World::start_with(&[("MEMORY_BUDGET", "36MiB"), ("CONCURRENCY", "3")]).await;
    let push = async |name: &str, files: usize, step: &str| {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; {step}\n", unique());
        let files: Vec<_> = (0..files).map(|n| format!("files/{n:0240}")).collect();
        let files: Vec<_> = files.iter().map(|path| (&**path, "")).chain([("Dockerfile", &*dockerfile)]).collect();
        let repo = world.git.repo("acme", name);
        world.daemon.push_event(&format!("acme/{name}"), "develop", &repo.commit("develop", &files)).await
    };
    let waits = |job: &Value| job["waitingFor"]["kind"] == "memory";
    let limit = Duration::from_secs(60);
    let holder = push("holder", 4000, "sleep 600").await;
    world.daemon.wait_log(&holder, "RUN :").await;

    let first = push("first", 4000, "true").await;
    let job = world.daemon.wait_for(&first, limit, waits).await;
    assert!(job["status"] == "running" && job["results"]["checkout"]["status"] == "running", "{job:#}");
    let log = world.daemon.wait_log(&first, "waiting (MEMORY_BUDGET)").await;
    assert!(log.contains(" MiB of memory, and other jobs hold it"), "{log}");
    assert_eq!(world.daemon.metric("image_factory_memory_waiting_jobs").await, 1.0);
    let small = push("small", 60, "true").await;
    world.daemon.wait_success(&small).await;

    world.daemon.request(Method::POST, &format!("/job/{first}/cancel")).send().await.unwrap();
    assert_eq!(world.daemon.wait(&first).await["cancelled"], true);
    assert_eq!(world.daemon.metric("image_factory_memory_waiting_jobs").await, 0.0);
    let second = push("second", 4000, "true").await;
    world.daemon.wait_for(&second, limit, waits).await;
    assert!(world.daemon.cli(&["jobs"]).run().status.success());
    world.daemon.request(Method::POST, &format!("/job/{holder}/cancel")).send().await.unwrap();
    world.daemon.wait_success(&second).await;
    assert_eq!(world.daemon.metric("image_factory_memory_held_bytes").await, 0.0);
}
