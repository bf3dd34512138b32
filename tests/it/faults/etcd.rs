use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{World, eventually, unique};

/// A build that begins before etcd goes and ends after, and one that has no etcd at all: both have their secrets.
#[tokio::test]
async fn etcd_is_gone_for_whole_builds() {
    let mut world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {} ru''ns; sleep 2\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_log(&id, "runs").await;
    world.etcd.stop();
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["digest"], json!(world.digest(&sha).await));

    // The daemon names etcd and is still ready.
    eventually(Duration::from_secs(20), "/ready names etcd", async || {
        let answer = world.daemon.request(Method::GET, "/ready").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        (text.contains("etcd") && text.contains("what was read last stays in use")).then_some(())
    })
    .await;
    let other = world
        .repo
        .commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique()))]);
    let id = world.daemon.push_event("acme/hello", "develop", &other).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!((&job["attempt"], &job["digest"]), (&json!(1), &json!(world.digest(&other).await)));

    world.etcd.restart().await;
    eventually(Duration::from_secs(30), "/ready has no complaint", async || {
        (world.daemon.get("/ready").await["reasons"] == json!([])).then_some(())
    })
    .await;
}
