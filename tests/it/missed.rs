//! SWEEP_MISSED: what no webhook told of.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{World, eventually, push_payload};

const LIMIT: Duration = Duration::from_secs(30);

async fn commits(world: &World) -> Vec<String> {
    let jobs = world.daemon.get("/job").await;
    let commit = |job: &Value| job["context"]["commit"].as_str().unwrap().to_owned();
    jobs.as_array().unwrap().iter().map(commit).collect()
}

#[tokio::test]
async fn the_head_of_a_branch_that_was_built_before_is_queued() {
    let mut world = World::start_with(&[("SWEEP_MISSED", "1"), ("CONCURRENCY", "0")]).await;
    let gone = world.git.repo("acme", "zone");
    let other = gone.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let first = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    world.daemon.push_event("acme/hello", "develop", &first).await;
    world.daemon.push_event("acme/hello", "feature/x", &first).await;
    world.daemon.push_event("acme/zone", "develop", &other).await;
    // A job made by hand is no push, so its branch is not searched for missed pushes.
    world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello", "branch": "by-hand"})).await;
    std::fs::remove_dir_all(&gone.bare).unwrap();
    world.daemon.term(Duration::from_secs(20)).await;

    // While the daemon is away.
    let second = world.repo.commit("develop", &[("A", "1")]);
    let third = world.repo.commit("never-built", &[("A", "2")]);
    world.repo.commit("by-hand", &[("A", "3")]);
    let tagged = world.repo.commit("feature/x", &[("A", "4")]);
    world.daemon.restart().await;
    eventually(LIMIT, "both were queued", async || {
        let commits = commits(&world).await;
        (commits.contains(&second) && commits.contains(&tagged)).then_some(())
    })
    .await;
    // The repositories are examined in the order of their names, and this is the last one.
    let log = eventually(LIMIT, "the one that is gone is told", async || {
        Some(world.daemon.output()).filter(|log| log.contains("missed pushes cannot be found"))
    })
    .await;
    assert_eq!(log.matches("missed pushes cannot be found").count(), 1, "{log}");
    let jobs = world.daemon.get("/job").await;
    assert_eq!(jobs.as_array().unwrap().len(), 6, "{jobs:#}");
    assert!(!commits(&world).await.contains(&third));
    let missed = jobs.as_array().unwrap().iter().find(|job| job["context"]["commit"] == *second).unwrap();
    assert_eq!((&missed["context"]["branch"], &missed["context"]["tag"]), (&"develop".into(), &second.as_str().into()));
    assert!(missed["image"].as_str().unwrap().ends_with(&format!("/acme-hello:{second}")));

    // The webhook comes late and belongs to this job. Another search finds no missed push.
    let late = push_payload("acme/hello", "refs/heads/develop", &second);
    let answer = world.daemon.hook("push", &late).await;
    assert_eq!(answer.headers()["x-image-factory-duplicate"], "true");
    assert_eq!(answer.json::<Value>().await.unwrap()["id"], missed["id"]);
    world.daemon.term(Duration::from_secs(20)).await;
    world.daemon.restart().await;
    eventually(LIMIT, "the second look is done", async || {
        (world.daemon.output().matches("missed pushes cannot be found").count() == 2).then_some(())
    })
    .await;
    assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), 6);
    assert_eq!(world.daemon.get("/deliveries").await[0]["job"], missed["id"]);

    // A push back to an older commit is a push: only the newest job of a branch can be the webhook's.
    world.daemon.push_event("acme/hello", "develop", &third).await;
    let mut back = late.clone();
    back["before"] = third.into();
    let answer = world.daemon.hook("push", &back).await;
    assert!(answer.headers().get("x-image-factory-duplicate").is_none());

    // A repository that is no longer allowed is not examined.
    world.daemon.term(Duration::from_secs(20)).await;
    world.daemon.set("ALLOW_REPOS", "acme/zone");
    let fourth = world.repo.commit("develop", &[("A", "5")]);
    world.daemon.restart().await;
    eventually(LIMIT, "the third look is done", async || {
        (world.daemon.output().matches("missed pushes cannot be found").count() == 3).then_some(())
    })
    .await;
    assert!(!commits(&world).await.contains(&fourth));
}

#[tokio::test]
async fn a_missed_push_that_the_settings_skip_is_not_built() {
    let mut world =
        World::start_with(&[("SWEEP_MISSED", "1"), ("BRANCHES", "main,next,dev"), ("SKIP_WORDS", "1")]).await;
    let dockerfile = [("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")];
    let first = world.repo.commit("main", &dockerfile);
    for branch in ["main", "next", "dev"] {
        world.repo.force(branch, &first);
        let job = world.daemon.push_event("acme/hello", branch, &first).await;
        world.daemon.wait_success(&job).await;
    }
    // The webhook of this one came.
    world.repo.git(&["commit", "-q", "--allow-empty", "-m", "Bump [skip ci]"]);
    let told = world.repo.git(&["rev-parse", "HEAD"]);
    world.repo.force("main", &told);
    let mut payload = push_payload("acme/hello", "refs/heads/main", &told);
    payload["head_commit"]["message"] = "Bump [skip ci]".into();
    let answer = world.daemon.hook("push", &payload).await;
    assert_eq!(answer.status(), 204);
    world.daemon.term(Duration::from_secs(20)).await;

    // While the daemon is away, one more is pushed with these words, and a branch falls out of BRANCHES.
    world.daemon.set("BRANCHES", "main,next");
    world.repo.git(&["commit", "-q", "--allow-empty", "-m", "Typo", "-m", "[ci skip]"]);
    let untold = world.repo.git(&["rev-parse", "HEAD"]);
    world.repo.force("next", &untold);
    world.repo.force("dev", &untold);
    world.daemon.restart().await;
    let job = eventually(LIMIT, "the missed push was looked at", async || {
        let jobs = world.daemon.get("/job").await;
        jobs.as_array()
            .unwrap()
            .iter()
            .find(|job| job["context"]["commit"] == *untold && job["endTime"] != Value::Null)
            .cloned()
    })
    .await;
    assert_eq!((&job["cancelled"], &job["context"]["branch"]), (&true.into(), &"next".into()), "{job:#}");
    assert!(job["cause"].as_str().unwrap().starts_with("skipped: the commit's message has [skip ci]"), "{job:#}");
    assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), 4);
}
