//! Newer commits take the place of older ones, and no tag goes back to an older one.

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

#[tokio::test]
async fn a_tag_moves_back_by_a_rebuild_alone() {
    let world = World::start_with(&[("IMAGE_TAGS", "latest,{branch},{short_sha}")]).await;
    let [older, newer] = [commit(&world, None), commit(&world, None)];
    let late = told(&world, &older, &newer).await;
    let new_digest = world.daemon.wait_success(id(&late)).await["digest"].clone();
    let early = told(&world, &"0".repeat(40), &older).await;
    let job = world.daemon.wait_success(id(&early)).await;
    let old_digest = job["digest"].clone();
    assert_ne!(old_digest, new_digest);
    let has = async |tag: &str| json!(world.digest(tag).await);
    assert_eq!((has(&older).await, has(&older[..7]).await), (old_digest.clone(), old_digest.clone()));
    assert_eq!((has("latest").await, has("develop").await), (new_digest.clone(), new_digest.clone()));
    let log = world.daemon.log(id(&early)).await;
    for tag in ["latest", "develop"] {
        assert!(log.contains(&format!("{tag}: stays at {newer}, which is newer; a rebuild moves it back\n")), "{log}");
    }
    // Nothing else is left of a job whose tags all stay.
    let mut world = world;
    world.daemon.set("IMAGE_TAGS", "latest");
    world.daemon.term(LIMIT).await;
    world.daemon.restart().await;
    let body = json!({"owner": "acme", "repo": "hello", "commit": older, "tag": "develop"});
    let asked = world.daemon.submit(body).await;
    let job = world.daemon.wait_failure(&asked).await;
    assert_eq!((&job["cancelled"], &job["supersededBy"]), (&json!(true), &json!(newer)));
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("superseded by {newer}: its tags have that commit; rebuild it")), "{cause}");
    let has = async |tag: &str| json!(world.digest(tag).await);
    assert_eq!((has("latest").await, has("develop").await), (new_digest.clone(), new_digest.clone()));

    let rebuilt = world.daemon.request(reqwest::Method::POST, &format!("/job/{asked}/rebuild")).send().await.unwrap();
    let job = world.daemon.wait_success(id(&rebuilt.json().await.unwrap())).await;
    assert_ne!(job["digest"], new_digest);
    assert_eq!((has("latest").await, has("develop").await), (job["digest"].clone(), job["digest"].clone()));
    // And forward again with the next commit.
    let next = commit(&world, None);
    let job = told(&world, &newer, &next).await;
    let job = world.daemon.wait_success(id(&job)).await;
    assert_eq!(json!(world.digest("latest").await), job["digest"]);
}
