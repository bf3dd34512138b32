use std::time::Duration;

use reqwest::Method;

use super::DOCKERFILE;
use crate::harness::{World, unique};

/// A build that floods its log and has no end can be cancelled and has its time, and others go on while it runs.
#[tokio::test]
async fn a_build_without_end_holds_up_nobody() {
    let mut world = World::start_with(&[("LOG_LIMIT", "16KiB"), ("CONCURRENCY", "2")]).await;
    let endless = async |world: &World, name: &str| {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; yes | head -c 100000; sleep 600\n", unique());
        let sha = world.git.repo("acme", name).commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.push_event(&format!("acme/{name}"), "develop", &sha).await;
        world.daemon.wait_log(&id, "(LOG_LIMIT)").await;
        id
    };
    let cancelled = endless(&world, "cancelled").await;
    let sha = world.repo.commit("develop", &[DOCKERFILE]);
    let other = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&other).await;
    let health = world.daemon.bare_request(Method::GET, "/health").send().await.unwrap();
    assert!(health.status().is_success());
    assert_eq!(world.daemon.job(&cancelled).await["status"], "running");
    world.daemon.request(Method::POST, &format!("/job/{cancelled}/cancel")).send().await.unwrap();
    assert_eq!(world.daemon.wait(&cancelled).await["cancelled"], true);

    world.daemon.set("BUILD_TIMEOUT", "10s");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let overdue = endless(&world, "overdue").await;
    let job = world.daemon.wait_failure(&overdue).await;
    assert!(job["class"] == "timeout" && job["cause"].as_str().unwrap().contains("(BUILD_TIMEOUT)"), "{job:#}");
}

/// An engine gets no Dockerfile whose variables it would replace for hours. This one would take it a moment.
#[tokio::test]
async fn variables_that_grow_too_long_are_refused_before_the_build() {
    let world = World::start().await;
    let doubled: String = (1..=7).map(|n| format!("ENV A{n}=$A{0}$A{0}\n", n - 1)).collect();
    let dockerfile = format!("FROM image-factory-busybox:1\nENV A0={}\n{doubled}", "x".repeat(1024));
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let job = world.daemon.wait_failure(&world.daemon.push_event("acme/hello", "develop", &sha).await).await;
    let cause = "build: variables bring more than 131072 bytes into line 9: name each value fewer times";
    assert_eq!((job["class"].as_str(), job["cause"].as_str()), (Some("dockerfile"), Some(cause)));
}
