//! Which commit a tag that moves has, whatever comes late, is slow or is pushed by force.

use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::harness::{World, eventually, processes_of, push_payload, unique};

mod owned;
mod standing;

const LIMIT: Duration = Duration::from_secs(20);

/// A commit whose image differs from all others'.
fn commit(world: &World, branch: &str) -> String {
    step(world, branch, "true")
}

/// The build of this commit goes on only when it is [`release`]d.
fn held(world: &World, branch: &str, mark: &str) -> String {
    step(world, branch, &format!("trap 'exit 0' TERM; echo it wa''its; while :; do sleep 0.1; done # {mark}"))
}

fn step(world: &World, branch: &str, step: &str) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1 AS first\nCOPY n /\nRUN {step}\nFROM first\nRUN true\n");
    world.repo.commit(branch, &[("Dockerfile", &dockerfile), ("n", &unique())])
}

async fn release(mark: &str) {
    eventually(LIMIT, "the step is gone", async || {
        let steps = processes_of(mark);
        for step in &steps {
            let pid = step.split(' ').next().unwrap().parse().unwrap();
            // The process may have ended since it was listed.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM);
        }
        steps.is_empty().then_some(())
    })
    .await;
}

/// A webhook of a push of a branch from one commit to another; the job's id.
async fn told(world: &World, branch: &str, before: &str, after: &str) -> String {
    let mut payload = push_payload("acme/hello", &format!("refs/heads/{branch}"), after);
    payload["before"] = before.into();
    payload["forced"] = (!is_ancestor(world, before, after)).into();
    // The same push may come again.
    payload["mine"] = unique().into();
    let response = world.daemon.hook("push", &payload).await;
    assert_eq!(response.status(), 201);
    id(&response.json().await.unwrap())
}

fn is_ancestor(world: &World, before: &str, after: &str) -> bool {
    before == NONE || world.repo.git(&["rev-list", "--count", before, &format!("^{after}")]) == "0"
}

const NONE: &str = "0000000000000000000000000000000000000000";

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().into()
}

async fn asked(world: &World, more: Value) -> String {
    let mut body = json!({"owner": "acme", "repo": "hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.daemon.submit(body).await
}

fn image(world: &World, tag: &str) -> String {
    format!("{}/totem/acme-hello:{tag}", world.registry.address())
}

/// Returns the job's entry for one of its names.
fn tag<'a>(world: &World, job: &'a Value, tag: &str) -> &'a Value {
    let name = image(world, tag);
    let found = job["tags"].as_array().unwrap().iter().find(|tag| tag["name"] == name.as_str());
    found.unwrap_or_else(|| panic!("no {name} in {job:#}"))
}

/// The tag is in the registry, by this job, which says so.
async fn has(world: &World, name: &str, job: &Value) {
    let TagView { digest, kept } = TagView::of(tag(world, job, name));
    assert_eq!((digest.clone(), kept), (world.digest(name).await, None), "{name} of {job:#}");
    assert!(digest.is_some());
}

/// The tag stays at this commit, the image of the other job, and the job says so.
async fn stays(world: &World, name: &str, job: &Value, (keeper, theirs): (&str, &Value)) {
    stays_for(world, name, job, (keeper, theirs), "which refs/heads/").await;
}

/// The log gives this reason.
async fn stays_for(world: &World, name: &str, job: &Value, (keeper, theirs): (&str, &Value), why: &str) {
    let TagView { digest, kept } = TagView::of(tag(world, job, name));
    assert_eq!((digest, kept.as_deref()), (None, Some(keeper)), "{name} of {job:#}");
    assert_eq!(tag(world, theirs, name)["digest"], json!(world.digest(name).await), "{name}");
    let log = world.daemon.log(&id(job)).await;
    assert!(log.contains(&format!("{name}: stays at {keeper}, {why}")), "{log}");
}

#[derive(serde::Deserialize)]
struct TagView {
    digest: Option<String>,
    kept: Option<String>,
}

impl TagView {
    fn of(tag: &Value) -> Self {
        serde_json::from_value(tag.clone()).unwrap()
    }
}

#[tokio::test]
async fn a_request_by_name_sets_the_tag() {
    let world = World::start_with(&[("IMAGE_TAGS", "latest,{short_sha}")]).await;
    let [old, wip] = [commit(&world, "main"), commit(&world, "wip")];
    let job = asked(&world, json!({"branch": "wip"})).await;
    has(&world, "HEAD", &world.daemon.wait_success(&job).await).await;
    // The branch is another one, though its commit is an ancestor.
    let job = world.daemon.wait_success(&asked(&world, json!({"branch": "main"})).await).await;
    assert_eq!(job["resolvedCommit"], json!(old));
    for name in ["HEAD", "latest", &old[..7]] {
        has(&world, name, &job).await;
    }
    assert!(world.daemon.log(&id(&job)).await.contains(&format!("\nPushed {}\n", image(&world, "HEAD"))));

    let new = commit(&world, "main");
    let body = |commit: &str| json!({"branch": "main", "commit": commit, "tag": "prod"});
    let deployed = world.daemon.wait_success(&asked(&world, body(&new)).await).await;
    has(&world, "latest", &deployed).await;
    // Back: the tag that was asked for, and not the others.
    let command =
        world.daemon.cli(&["build", &format!("acme/hello@{old}"), "--branch", "main", "--tag", "prod", "--follow"]);
    let said = tokio::task::spawn_blocking(|| command.run()).await.unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let back = world.daemon.get("/job?limit=1").await[0].clone();
    assert_eq!((&back["status"], &back["digest"]), (&json!("success"), &tag(&world, &back, "prod")["digest"]));
    has(&world, "prod", &back).await;
    stays(&world, "latest", &back, (&new, &deployed)).await;
    assert!(said.contains(&format!("{} stays at {new}", image(&world, "latest"))), "{said}");
    assert_ne!(back["digest"], deployed["digest"]);

    // A rebuild moves all of them.
    let rebuilt = world.daemon.request(Method::POST, &format!("/job/{}/rebuild", id(&back))).send().await.unwrap();
    let rebuilt = world.daemon.wait_success(&id(&rebuilt.json().await.unwrap())).await;
    for name in ["prod", "latest", &old[..7]] {
        has(&world, name, &rebuilt).await;
    }
    assert_ne!(wip, old);
}

#[tokio::test]
async fn a_slow_job_moves_no_tag_back() {
    let world = World::start_with(&[("IMAGE_TAGS", "latest,{short_sha}")]).await;
    let mark = unique();
    let old = held(&world, "develop", &mark);
    let slow = asked(&world, json!({})).await;
    world.daemon.wait_log(&slow, "it waits").await;
    let new = commit(&world, "develop");
    let quick = world.daemon.wait_success(&asked(&world, json!({})).await).await;
    release(&mark).await;
    // The name that it was asked for is not its own: no success, and no word of a push. Its other names are pushed.
    let job = world.daemon.wait_failure(&slow).await;
    assert_eq!((&job["cancelled"], &job["supersededBy"], &job["digest"]), (&json!(true), &json!(new), &Value::Null));
    let cause = job["cause"].as_str().unwrap();
    assert!(
        cause.starts_with(&format!("superseded by {new}: {} stays at that commit", image(&world, "HEAD"))),
        "{cause}"
    );
    for name in ["HEAD", "latest"] {
        stays(&world, name, &job, (&new, &quick)).await;
    }
    has(&world, &old[..7], &job).await;
    let log = world.daemon.log(&slow).await;
    assert!(!log.contains("\nPushed ") && log.contains(&format!("\n{}: pushed, sha256:", &old[..7])), "{log}");
}

/// The fetch of another branch's job is evidence, without the server and whatever webhooks say.
#[tokio::test]
async fn a_fetch_made_while_a_job_builds_counts() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch}")]).await;
    let mark = unique();
    let old = held(&world, "develop", &mark);
    let slow = told(&world, "develop", NONE, &old).await;
    world.daemon.wait_log(&slow, "it waits").await;
    // The commit is no descendant, so the order cannot come from ancestors.
    world.repo.git(&["checkout", "-q", "--orphan", "anew"]);
    let new = commit(&world, "other");
    world.repo.force("develop", &new);
    let other = commit(&world, "wip");
    world.daemon.wait_success(&told(&world, "wip", NONE, &other).await).await;
    let quick = world.daemon.wait_success(&told(&world, "develop", NONE, &new).await).await;
    assert!(world.daemon.log(&id(&quick)).await.contains("nothing to fetch"));
    std::fs::rename(&world.repo.bare, world.repo.bare.with_extension("away")).unwrap();
    release(&mark).await;
    let job = world.daemon.wait_success(&slow).await;
    stays(&world, "develop", &job, (&new, &quick)).await;
    has(&world, &old, &job).await;
    assert!(!world.daemon.log(&slow).await.contains("cannot be asked"));
}

#[tokio::test]
async fn a_forced_push_moves_its_tag_and_a_late_one_does_not() {
    let world = World::start_with(&[("IMAGE_TAGS", "{branch}")]).await;
    let good = commit(&world, "develop");
    let job = world.daemon.wait_success(&told(&world, "develop", NONE, &good).await).await;
    has(&world, "develop", &job).await;
    let bad = commit(&world, "develop");
    let job = world.daemon.wait_success(&told(&world, "develop", &good, &bad).await).await;
    has(&world, "develop", &job).await;
    world.repo.force("develop", &good);
    let reset = world.daemon.wait_success(&told(&world, "develop", &bad, &good).await).await;
    has(&world, "develop", &reset).await;
    // Late: the push that was taken back, once more.
    let late = world.daemon.wait_success(&told(&world, "develop", &good, &bad).await).await;
    stays(&world, "develop", &late, (&good, &reset)).await;

    // The webhook of the reset comes when another branch's job has fetched already.
    let worse = commit(&world, "develop");
    let job = world.daemon.wait_success(&told(&world, "develop", &good, &worse).await).await;
    has(&world, "develop", &job).await;
    world.repo.force("develop", &good);
    let other = commit(&world, "wip");
    world.daemon.wait_success(&told(&world, "wip", NONE, &other).await).await;
    let reset = world.daemon.wait_success(&told(&world, "develop", &worse, &good).await).await;
    has(&world, "develop", &reset).await;

    // An amended commit is no descendant of the former one.
    world.repo.force("develop", &good);
    std::fs::write(world.repo.path("n"), unique()).unwrap();
    world.repo.git(&["commit", "-q", "--all", "--amend", "-m", "Amended"]);
    let amended = world.repo.git(&["rev-parse", "HEAD"]);
    world.repo.force("develop", &amended);
    let job = world.daemon.wait_success(&told(&world, "develop", &good, &amended).await).await;
    has(&world, "develop", &job).await;
    let late = world.daemon.wait_success(&told(&world, "develop", NONE, &good).await).await;
    stays(&world, "develop", &late, (&amended, &job)).await;
}

#[tokio::test]
async fn webhooks_come_late_and_the_server_may_be_away() {
    let world = World::start_with(&[("IMAGE_TAGS", "latest,{branch}")]).await;
    let commits = [(); 3].map(|()| commit(&world, "develop"));
    let newest = world.daemon.wait_success(&told(&world, "develop", &commits[1], &commits[2]).await).await;
    for name in ["latest", "develop"] {
        has(&world, name, &newest).await;
    }
    let early = world.daemon.wait_success(&told(&world, "develop", &commits[0], &commits[1]).await).await;
    for name in ["latest", "develop"] {
        stays(&world, name, &early, (&commits[2], &newest)).await;
    }
    has(&world, &commits[1], &early).await;
    // The commit is here, so that the server is not needed, and ancestors tell.
    std::fs::rename(&world.repo.bare, world.repo.bare.with_extension("away")).unwrap();
    let first = told(&world, "develop", NONE, &commits[0]).await;
    let job = world.daemon.wait_success(&first).await;
    stays(&world, "latest", &job, (&commits[2], &newest)).await;
    assert!(world.daemon.log(&first).await.contains("acme/hello cannot be asked for its refs/heads/develop: "));
}

#[tokio::test]
async fn a_tag_without_a_record_counts_as_another_refs() {
    let mut world = World::start_with(&[("IMAGE_TAGS", "latest")]).await;
    let [old, new] = [commit(&world, "develop"), commit(&world, "develop")];
    let job = world.daemon.wait_success(&told(&world, "develop", &old, &new).await).await;
    has(&world, "latest", &job).await;
    world.daemon.term(LIMIT).await;
    let file = world.daemon.data_dir().join("image-factory.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let former = sqlx::query("UPDATE tags SET repository = NULL, git_ref = NULL, job = NULL, recipe = NULL");
    assert!(former.execute(&mut database).await.unwrap().rows_affected() > 0);
    database.close().await.unwrap();
    world.daemon.restart().await;
    let job = world.daemon.wait_success(&told(&world, "develop", NONE, &old).await).await;
    has(&world, "latest", &job).await;
}

#[tokio::test]
async fn another_image_of_a_commit_does_not_take_its_name_silently() {
    let world = World::start().await;
    let sha = commit(&world, "develop");
    let whole = world.daemon.wait_success(&told(&world, "develop", NONE, &sha).await).await;
    has(&world, &sha, &whole).await;
    let part = asked(&world, json!({"commit": sha, "build": {"target": "first"}})).await;
    let job = world.daemon.wait_success(&part).await;
    has(&world, &sha, &job).await;
    assert_ne!(job["digest"], whole["digest"]);
    let (name, whole) = (image(&world, &sha), id(&whole));
    let line = format!(
        "\n{name} was the image of job {whole} (Dockerfile); it is this job's now (Dockerfile, target first)\n"
    );
    let log = world.daemon.log(&part).await;
    assert!(log.contains(&line), "{log}");
    // A name that does not change is not reported.
    let log = world.daemon.log(&whole).await;
    assert!(!log.contains("was the image of"), "{log}");
}
