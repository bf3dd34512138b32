use std::time::Duration;

use serde_json::Value;

use crate::harness::World;

const DOCKERFILE: &str = "FROM image-factory-busybox:1\nCOPY Dockerfile /\n";

/// Pushes a commit with 200 files, whose names all begin and end alike, and this `.dockerignore`. Returns the ended job.
async fn push(world: &World, ignored: &str) -> Value {
    let files: Vec<_> = (0..200).map(|number| format!("x-{number:0100}-y")).collect();
    let files = files.iter().map(|name| (name.as_str(), ""));
    let files: Vec<_> = files.chain([("Dockerfile", DOCKERFILE), (".dockerignore", ignored)]).collect();
    let sha = world.repo.commit("develop", &files);
    world.daemon.wait(&world.daemon.push_event("acme/hello", "develop", &sha).await).await
}

/// Returns patterns that each have to be tried with each of these files.
fn patterns(count: usize) -> String {
    (1..=count).map(|length| format!("x-{}*[a-z]-y\n", "?".repeat(length))).collect()
}

#[tokio::test]
async fn patterns_have_memory_and_time() {
    let mut world = World::start_with(&[("PATTERN_MEMORY", "64KiB"), ("PATTERNS_MEMORY", "512KiB")]).await;
    let is_refused = |job: Value, cause: &str| {
        let is_named = job["cause"].as_str().is_some_and(|found| found.contains(cause));
        assert!(job["class"] == "dockerfile" && job["attempt"] == 1 && is_named, "{cause}: {job:#}");
    };
    assert_eq!(push(&world, &patterns(2)).await["status"], "success");
    let large = format!("x-{}*[a-z]-y", "?".repeat(5000));
    is_refused(push(&world, &large).await, "takes more than 64 KiB to match (PATTERN_MEMORY): simplify it");
    let many = "take more than 512 KiB to match (PATTERNS_MEMORY): use fewer with wildcards";
    is_refused(push(&world, &patterns(60)).await, many);

    world.daemon.set("PATTERN_MEMORY", "256KiB");
    world.daemon.set("PATTERNS_MEMORY", "16MiB");
    world.daemon.set("PATTERNS_TIME", "1ms");
    world.daemon.term(Duration::from_secs(30)).await;
    world.daemon.restart().await;
    is_refused(push(&world, &patterns(61)).await, " files within 1ms (PATTERNS_TIME): use fewer of both");
    assert!(world.daemon.bare_request(reqwest::Method::GET, "/health").send().await.unwrap().status().is_success());
    world.daemon.set("PATTERNS_TIME", "30s");
    world.daemon.term(Duration::from_secs(30)).await;
    world.daemon.restart().await;
    assert_eq!(push(&world, &patterns(62)).await["status"], "success");
}
