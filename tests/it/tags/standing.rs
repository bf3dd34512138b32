//! The jobs that keep a tag and those that do not: failed pushes, ids, rebuilds, requests by name, claims.

use super::*;
use crate::harness::Fault;

async fn rebuilt(world: &World, job: &Value) -> Value {
    let answer = world.daemon.request(Method::POST, &format!("/job/{}/rebuild", id(job))).send().await.unwrap();
    world.daemon.wait_success(&id(&answer.json().await.unwrap())).await
}

#[tokio::test]
async fn a_push_that_failed_keeps_no_tag() {
    let world = World::start_with(&[("PUSH_RETRIES", "0"), ("PUSH_RETRY_WAIT", "1s")]).await;
    let mark = unique();
    held(&world, "main", &mark);
    let slow = asked(&world, json!({"branch": "main"})).await;
    world.daemon.wait_log(&slow, "it waits").await;
    commit(&world, "main");
    world.registry.fault(Fault::Manifests { status: 403, times: 9 });
    let newer = asked(&world, json!({"branch": "main"})).await;
    world.daemon.wait_failure(&newer).await;
    world.registry.fault(Fault::None);
    release(&mark).await;
    let slow = world.daemon.wait_success(&slow).await;
    has(&world, "HEAD", &slow).await;
}

#[tokio::test]
async fn no_branch_takes_the_name_of_a_commit() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch},{short_sha}")]).await;
    let first = commit(&world, "develop");
    let theirs = world.daemon.wait_success(&told(&world, "develop", NONE, &first).await).await;
    for name in [&first[..7], &first] {
        let other = commit(&world, name);
        let job = world.daemon.wait_success(&told(&world, name, NONE, &other).await).await;
        has(&world, &other, &job).await;
        let log = world.daemon.log(&id(&job)).await;
        match name.len() {
            7 => {
                let becomes = format!("{name} becomes {name}-");
                assert!(
                    log.contains(&becomes) && log.contains(&format!("the id of commit {first} begins so")),
                    "{log}"
                );
            }
            _ => assert!(log.contains(&format!("{{branch}} is left out, as {first} is the id of another")), "{log}"),
        }
        has(&world, name, &theirs).await;
    }
}

/// The ref may also be that of a request, which nobody pushed.
#[tokio::test]
async fn a_rebuild_sets_the_tags_of_its_ref() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch},latest")]).await;
    let base = commit(&world, "rel");
    let old = commit(&world, "rel");
    let job = world.daemon.wait_success(&asked(&world, json!({"branch": "rel"})).await).await;
    world.repo.force("rel", &base);
    let new = commit(&world, "rel");
    let newer = world.daemon.wait_success(&told(&world, "rel", &old, &new).await).await;
    has(&world, "rel", &newer).await;
    let again = rebuilt(&world, &job).await;
    assert_eq!(again["resolvedCommit"], json!(old));
    for name in ["rel", "latest", "HEAD"] {
        has(&world, name, &again).await;
    }
}

#[tokio::test]
async fn a_late_job_does_not_undo_a_rollback() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch}"), ("CONCURRENCY", "3")]).await;
    let mark = unique();
    let good = commit(&world, "develop");
    let first = world.daemon.wait_success(&told(&world, "develop", NONE, &good).await).await;
    let between = held(&world, "develop", &mark);
    let slow = told(&world, "develop", &good, &between).await;
    world.daemon.wait_log(&slow, "it waits").await;
    let bad = commit(&world, "develop");
    world.daemon.wait_success(&told(&world, "develop", &between, &bad).await).await;
    let rollback = rebuilt(&world, &first).await;
    release(&mark).await;
    let slow = world.daemon.wait_success(&slow).await;
    assert_eq!(TagView::of(tag(&world, &slow, "develop")).kept.as_deref(), Some(&*good));
    has(&world, "develop", &rollback).await;
    // A later push does.
    let next = commit(&world, "develop");
    let job = world.daemon.wait_success(&told(&world, "develop", &bad, &next).await).await;
    has(&world, "develop", &job).await;
}

#[tokio::test]
async fn a_claimed_branch_is_judged_by_where_it_is_now() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch}")]).await;
    let base = commit(&world, "st");
    let old = commit(&world, "st");
    world.daemon.wait_success(&told(&world, "st", NONE, &old).await).await;
    world.repo.force("st", &base);
    let other = commit(&world, "st");
    world.repo.git(&["push", "-q", "origin", &format!("{old}:refs/heads/kept")]);
    let job = asked(&world, json!({"branch": "st", "commit": old, "tag": "mine"})).await;
    let job = world.daemon.wait_success(&job).await;
    assert_eq!(job["tags"].as_array().unwrap().len(), 1, "{job:#}");
    let log = world.daemon.log(&id(&job)).await;
    assert!(log.contains(&format!("st of acme/hello does not reach {old}")) && !log.contains(&other), "{log}");
}
