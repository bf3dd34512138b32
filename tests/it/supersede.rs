//! Newer commits take the place of older ones.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Capture, World, eventually, processes_of, push_payload, unique};

const LIMIT: Duration = Duration::from_secs(10);

/// A push of develop from one commit to another, as it is told; the job.
async fn told(world: &World, before: &str, after: &str) -> Value {
    let mut payload = push_payload("acme/hello", "refs/heads/develop", after);
    payload["before"] = before.into();
    let response = world.daemon.hook("push", &payload).await;
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap()
}

/// A commit whose image differs from all others'; with `hangs` its build does not end by itself.
fn commit(world: &World, hangs: Option<&str>) -> String {
    let step = match hangs {
        Some(mark) => format!("echo it ha''ngs {mark}; sleep 1000; echo slept"),
        None => "true".into(),
    };
    let dockerfile = format!("FROM image-factory-busybox:1\nCOPY n /\nRUN {step}\n");
    world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("n", &unique())])
}

fn is_superseded_by(job: &Value, newer: &str) {
    assert_eq!((&job["status"], &job["cancelled"]), (&json!("failure"), &json!(true)));
    assert_eq!((&job["supersededBy"], &job["cause"]), (&json!(newer), &json!(format!("superseded by {newer}"))));
}

#[tokio::test]
async fn a_newer_commit_stops_an_older_one() {
    let capture = Capture::start(&[]);
    let hook = capture.url();
    let world = World::start_with(&[("SUPERSEDE", "running"), ("CONCURRENCY", "1"), ("HOOK_POST_URL", &hook)]).await;
    let mark = unique();
    let commits = [commit(&world, None), commit(&world, Some(&mark)), commit(&world, None), commit(&world, None)];
    let running = told(&world, &commits[0], &commits[1]).await;
    world.daemon.wait_log(id(&running), "it hangs").await;
    // The last push comes before the one in the middle.
    let last = told(&world, &commits[2], &commits[3]).await;
    assert_eq!(world.daemon.job(id(&running)).await["cancelRequested"], false);
    let middle = told(&world, &commits[1], &commits[2]).await;
    is_superseded_by(&middle, &commits[3]);
    is_superseded_by(&world.daemon.wait(id(&running)).await, &commits[3]);
    eventually(LIMIT, "the step is gone", async || processes_of(&mark).is_empty().then_some(())).await;
    for job in [&running, &middle] {
        let log = world.daemon.log(id(job)).await;
        assert!(log.ends_with(&format!("Superseded by {}\n", commits[3])), "{log}");
    }
    let job = world.daemon.wait_success(id(&last)).await;
    assert_eq!((&job["supersededBy"], &job["origin"]), (&Value::Null, &json!("hook")));
    // The one that built tells it, and the others tell nothing.
    let sent = capture.wait(1, LIMIT).await;
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!((sent.len(), &body["git"]["commit"], &body["status"]), (1, &json!(commits[3]), &json!("success")));
}

#[tokio::test]
async fn by_default_every_commit_is_built() {
    let world = World::start().await;
    let commits = [commit(&world, None), commit(&world, None), commit(&world, None)];
    let jobs = [told(&world, &commits[1], &commits[2]).await, told(&world, &commits[0], &commits[1]).await];
    for job in jobs {
        world.daemon.wait_success(id(&job)).await;
    }
}
