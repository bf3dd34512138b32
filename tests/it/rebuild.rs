//! Rebuilds of a job.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{World, masked_json, unique};

async fn rebuild(world: &World, id: &str) -> (u16, Value) {
    let answer = world.daemon.request(Method::POST, &format!("/job/{id}/rebuild")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_rebuild_has_the_same_commit_and_follows_the_current_rules() {
    let mut world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nARG A\nCOPY n /\nRUN echo $A {}\n", unique());
    let first = world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("n", "1")]);
    let body = json!({"owner": "acme", "repo": "hello", "build": {"buildArgs": {"A": "1"}}, "mine": 7});
    let former = world.daemon.submit(body).await;
    let former = world.daemon.wait_success(&former).await;
    let id = former["id"].as_str().unwrap();
    world.repo.commit("develop", &[("n", "2")]);

    let (status, mut made) = rebuild(&world, id).await;
    assert_eq!(status, 201);
    // The reason depends on when the job is claimed.
    made.as_object_mut().unwrap().remove("waitingFor");
    assert_eq!((&made["rebuildOf"], &made["origin"]), (&json!(id), &json!("rebuild")));
    let mut context = former["context"].clone();
    context["commit"] = json!(first);
    assert_eq!((&made["context"], &made["image"]), (&context, &former["image"]));
    let registry = world.registry.address();
    let new = made["id"].as_str().unwrap();
    let values = [(id, "former job"), (new, "new job"), (first.as_str(), "sha"), (&registry, "registry")];
    insta::assert_snapshot!("rebuilt_job", masked_json(&made, &values));
    let job = world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    assert_eq!(job["resolvedCommit"], json!(first));
    assert_eq!(json!(world.digest("HEAD").await), job["digest"]);

    let follow = world.daemon.cli(&["rebuild", id, "--follow"]);
    let said = tokio::task::spawn_blocking(|| follow.run()).await.unwrap();
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("Executing: docker push"));
    let newest = &world.daemon.get("/job?limit=1").await[0];
    assert_eq!((&newest["rebuildOf"], &newest["status"]), (&json!(id), &json!("success")));

    let unknown = world.daemon.request(Method::POST, "/job/nope/rebuild").send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    insta::assert_snapshot!("unknown_job", masked_json(&unknown.json().await.unwrap(), &[]));
    world.daemon.set("ALLOW_REPOS", "other/*");
    world.daemon.set("CONCURRENCY", "0");
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let (status, refused) = rebuild(&world, id).await;
    assert_eq!(status, 403);
    insta::assert_snapshot!("refused_by_allow_repos", masked_json(&refused, &[]));
    let said = world.daemon.cli(&["rebuild", id]).run();
    assert_eq!(said.status.code(), Some(5));
}
