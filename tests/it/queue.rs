//! The order of the jobs, and which of them run at the same time.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, World, unique};

const LIMIT: Duration = Duration::from_secs(10);

async fn submit(daemon: &Daemon, repo: &str, branch: &str) -> String {
    daemon.submit(json!({"owner": "acme", "repo": repo, "branch": branch, "tag": branch})).await
}

/// These jobs by the time at which they began.
async fn in_their_order(daemon: &Daemon, ids: &[String]) -> Vec<usize> {
    let mut begun = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let job = daemon.wait(id).await;
        begun.push((job["startTime"].as_str().unwrap().to_owned(), index));
    }
    begun.sort();
    begun.into_iter().map(|(_, index)| index).collect()
}

/// None of the repositories exists: a job fails in its clone, in its turn.
#[tokio::test]
async fn repositories_take_turns_and_priorities_go_first() {
    let priorities = "acme/c@release/*=5, acme/d=-1";
    let mut world =
        World::start_with(&[("CONCURRENCY", "0"), ("PRIORITIES", priorities), ("REPO_CASE", "ignore")]).await;
    let wanted =
        [("a", "x"), ("a", "x"), ("d", "x"), ("a", "x"), ("b", "x"), ("c", "x"), ("c", "release-1"), ("b", "x")];
    let mut ids = Vec::new();
    for (repo, branch) in wanted {
        ids.push(submit(&world.daemon, repo, branch).await);
    }
    // A body has no say in it.
    let body = json!({"owner": "acme", "repo": "d", "branch": "x", "priority": 9});
    ids.push(world.daemon.submit(body).await);
    let job = world.daemon.job(&ids[8]).await;
    assert_eq!((&job["priority"], &job["origin"]), (&json!(-1), &json!("api")));
    ids.push(world.daemon.submit(json!({"owner": "acme", "repo": "c", "branch": "release/1"})).await);
    assert_eq!(world.daemon.job(&ids[9]).await["priority"], 5);

    world.daemon.term(LIMIT).await;
    world.daemon.set("CONCURRENCY", "1");
    world.daemon.restart().await;
    assert_eq!(in_their_order(&world.daemon, &ids).await, [9, 0, 4, 5, 1, 7, 6, 3, 2, 8]);

    let found = async |query: &str| {
        let found = world.daemon.get(&format!("/job?{query}")).await;
        let place = |job: &Value| ids.iter().position(|id| job["id"] == id.as_str()).unwrap();
        found.as_array().unwrap().iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(found("repository=Acme/C").await, [9, 6, 5]);
    assert_eq!(found("repository=acme/c&branch=release/1&status=failure").await, [9]);
    assert_eq!(found("status=failure&limit=2").await, [9, 8]);
    assert!(found("repository=acme/c&status=success").await.is_empty());
    let refused = world.daemon.request(Method::GET, "/job?status=well").send().await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn a_repository_has_no_more_slots_than_it_may() {
    let world = World::start_with(&[("CONCURRENCY", "3"), ("REPO_CONCURRENCY", "1")]).await;
    let waits = format!("FROM image-factory-busybox:1\nRUN echo it ru''ns {}; sleep 1000\n", unique());
    world.repo.commit("slow", &[("Dockerfile", &waits)]);
    let quick = format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique());
    world.repo.commit("quick", &[("Dockerfile", &quick)]);
    world.git.repo("acme", "other").commit("quick", &[("Dockerfile", &quick)]);
    let slow = submit(&world.daemon, "hello", "slow").await;
    world.daemon.wait_log(&slow, "it runs").await;
    let (waiting, other) =
        (submit(&world.daemon, "hello", "quick").await, submit(&world.daemon, "other", "quick").await);
    world.daemon.wait_success(&other).await;
    let job = world.daemon.job(&waiting).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("pending"), &json!(0)));
    world.daemon.request(Method::POST, &format!("/job/{slow}/cancel")).send().await.unwrap();
    world.daemon.wait_failure(&slow).await;
    let log = world.daemon.log(&slow).await;
    assert!(log.contains(" ./ was prematuraly terminated by parent with signal: SIGTERM\ncancelled\n"), "{log}");
    world.daemon.wait_success(&waiting).await;
}

#[test]
fn unreadable_rules_stop_the_start() {
    for (name, value, why) in [
        ("PRIORITIES", "acme/x", "is not GLOB=NUMBER"),
        ("PRIORITIES", "acme/x=high", "needs a number"),
        ("PRIORITIES", "acme/{x=1", "PRIORITIES"),
        ("SUPERSEDE", "all", "off, pending or running"),
    ] {
        let output = Daemon::fail(&[(name.to_owned(), value.to_owned())].into(), &["--check"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{name}={value}: {said}");
    }
}
