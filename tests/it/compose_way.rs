//! The test stage by compose: two services and `tests`, by compose 1 and 2, and that nothing of a project is left.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::container::compose_image;
use crate::harness::{COMPOSE_CI, Docker, Engine, Feature, World, eventually, folder, unique};

on_each_engine!(
    compose_1_tests_and_pushes,
    compose_2_tests_and_pushes,
    a_red_test_pushes_no_image,
    a_test_that_hangs_is_ended_with_its_services,
    a_project_is_removed_whichever_step_is_killed,
    a_kept_project_runs_again,
);

const LIMIT: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-of-the-compose-env";

/// Returns the version of compose that the engine's Debian has.
fn compose_of(docker: Docker) -> &'static str {
    match docker {
        Docker::V20 => "1",
        _ => "2",
    }
}

/// Starts a world whose repositories are tested by this version of compose.
async fn world(docker: Docker, compose: &str, settings: &[(&str, &str)]) -> World {
    let engine = Engine::of(docker);
    let image = compose_image(&engine, compose);
    let own = [
        ("HOOK_SOCKET", "acme/*"),
        ("BUILD_IMAGE", image.as_str()),
        ("HOOK_ENV", "CI_CANARY"),
        ("CI_CANARY", CANARY),
        ("PUSH_RETRIES", "0"),
    ];
    let mut world = World::start_at(engine, &[&COMPOSE_CI[..], &own, docker.limits(), settings].concat()).await;
    world.daemon.guard("HOOK_ENV", CANARY);
    world
}

/// The condition for which `web` waits where health checks run.
const HEALTHY: &str = "service_healthy";
/// The condition for which it waits elsewhere.
const STARTED: &str = "service_started";

/// A project whose `tests` run this command. Its ports and names are those of every other test.
fn project(world: &World, docker: Docker, command: &str) -> Vec<(String, String)> {
    let web = format!("{}/totem/acme-hello/web", world.registry.address());
    let condition = if docker.has(Feature::HealthChecks) { HEALTHY } else { STARTED };
    let file = format!(
        r#"version: "2.4"
services:
  db:
    image: image-factory-busybox:1
    command: sh -c "until [ -f /conf/ready ]; do sleep 0.1; done; touch /tmp/up; exec sleep 1000"
    healthcheck: {{test: [CMD, test, -f, /tmp/up], interval: 1s, retries: 100}}
    ports: ["127.0.0.1:17999:80"]
    container_name: image-factory-fixed
    volumes: ["./conf:/conf", "./conf/a.conf:/etc/a.conf:ro", "cache:/cache"]
  web:
    build: ./web
    image: {web}:${{short_commit}}
    command: sleep 1000
    env_file: web.env
    depends_on: {{db: {{condition: {condition}}}}}
  tests:
    image: {web}:${{short_commit}}
    depends_on: {{web: {{condition: service_started}}}}
    environment: {{COMMIT: "${{commit}}", CANARY: "${{CI_CANARY}}"}}
    volumes: ["./data:/data"]
    command: ["sh", "-c", "{command}"]
volumes:
  cache: {{name: image-factory-fixed}}
"#
    );
    let files = [
        ("docker-compose.yml", file.as_str()),
        ("web/Dockerfile", "FROM image-factory-busybox:1\nCOPY . /w\n"),
        ("web/words", &format!("some words {}\n", unique())),
        ("web.env", "A=1\n"),
        ("conf/ready", ""),
        ("conf/a.conf", "a\n"),
        ("data/f", "a file\n"),
        ("Dockerfile", &format!("FROM image-factory-busybox:1\nLABEL unique={}\n", unique())),
    ];
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

/// Has a commit tested, and returns the job's id and the commit.
async fn submit(world: &World, files: &[(String, String)]) -> (String, String) {
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let sha = world.repo.commit("develop", &files);
    (world.ci_push("acme/hello", "develop", &sha).await, sha)
}

/// Returns what an engine has of a job's project: containers, networks and volumes.
fn left(engine: &Engine, job: &str) -> Vec<String> {
    engine.of_jobs(|other| other == job)
}

async fn nothing_is_left(world: &World, job: &str) {
    let what = format!("nothing of {job} is left");
    eventually(LIMIT, &what, async || left(&world.engine, job).is_empty().then_some(())).await;
}

async fn cancel(world: &World, id: &str) -> Value {
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait_failure(id).await
}

/// Has a green project tested, and asserts what is pushed.
async fn is_tested_and_pushed(docker: Docker, compose: &str) {
    let world = world(docker, compose, &[]).await;
    let command = "cat /w/words /data/f; echo of $$COMMIT; test $$CANARY = canary-of-the-compose-env && echo canary: $$CANARY; \
                   sleep 0.5; echo to stderr >&2";
    let (id, sha) = submit(&world, &project(&world, docker, command)).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(left(&world.engine, &id), [""; 0]);
    let log = world.daemon.log(&id).await;
    let words = "some words ";
    for part in
        [words, "\na file\n", &format!("\nof {sha}\n"), "\ncanary: ", "\nto stderr\n", "$ docker-compose build\n"]
    {
        assert!(log.contains(part), "{part:?} is missing: {log}");
    }
    let tag = &sha[..7];
    let (web, _) = world.registry.manifest("totem/acme-hello/web", tag).await.unwrap();
    let names: Vec<_> = job["tags"].as_array().unwrap().iter().map(|tag| (&tag["name"], &tag["digest"])).collect();
    let name = json!(format!("{}/totem/acme-hello/web:{tag}", world.registry.address()));
    assert!(names.contains(&(&name, &json!(web))) && names.contains(&(&job["image"], &job["digest"])), "{names:?}");
    assert_eq!(world.digest(&sha).await.as_deref(), job["digest"].as_str());
}

async fn compose_1_tests_and_pushes(docker: Docker) {
    if docker == Docker::MinApi {
        // The `docker` program of its image speaks API 1.41.
        let world = world(docker, "1", &[]).await;
        let (id, _) = submit(&world, &project(&world, docker, "true")).await;
        world.daemon.wait_failure(&id).await;
        let log = world.daemon.log(&id).await;
        assert!(log.contains("client version 1.41 is too old"), "{log}");
        return;
    }
    is_tested_and_pushed(docker, "1").await;
}

async fn compose_2_tests_and_pushes(docker: Docker) {
    is_tested_and_pushed(docker, "2").await;
}

async fn a_red_test_pushes_no_image(docker: Docker) {
    let world = world(docker, compose_of(docker), &[]).await;
    // Two jobs of one project are tested side by side.
    let red = "sleep 1; echo first; echo 2 of 7 tests failed; exit 3";
    let (first, second) = (project(&world, docker, red), project(&world, docker, red));
    let jobs = [submit(&world, &first).await, submit(&world, &second).await];
    for (id, sha) in &jobs {
        let job = world.daemon.wait_failure(id).await;
        assert_eq!((&job["class"], &job["results"]["test"]["exitCode"]), (&json!("test"), &json!(3)), "{job:#}");
        assert_eq!(job["cause"], "test: `docker-compose run tests` exited with 3: 2 of 7 tests failed");
        assert_eq!((world.digest(sha).await, left(&world.engine, id)), (None, Vec::new()));
        assert!(!world.registry.has_tag("totem/acme-hello/web", &sha[..7]));
    }
}

async fn a_test_that_hangs_is_ended_with_its_services(docker: Docker) {
    let world = world(docker, compose_of(docker), &[("TEST_TIMEOUT", "10s")]).await;
    let (id, _) = submit(&world, &project(&world, docker, "sleep 1000")).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(
        (&job["class"], &job["cause"]),
        (&json!("timeout"), &json!("test: it took longer than 10 s (TEST_TIMEOUT)"))
    );
    nothing_is_left(&world, &id).await;
}

async fn a_project_is_removed_whichever_step_is_killed(docker: Docker) {
    let mut world = world(docker, compose_of(docker), &[]).await;
    let with = |files: &[(String, String)], path: &str, text: Option<&str>| {
        let others = files.iter().filter(|(name, _)| name != path).cloned();
        others.chain(text.map(|text| (path.to_owned(), text.to_owned()))).collect::<Vec<_>>()
    };
    let files = project(&world, docker, "echo begun; sleep 1000");
    // A step of Podman goes on without its client.
    let seconds = if docker.has(Feature::EndsSteps) { 1000 } else { 200 };
    let hanging = format!("FROM image-factory-busybox:1\nRUN echo be\"\"gun && sleep {seconds}\n");
    let [healthy, started] = [HEALTHY, STARTED].map(|condition| format!("db: {{condition: {condition}}}"));
    let waiting: Vec<_> = files.iter().map(|(path, text)| (path.clone(), text.replace(&started, &healthy))).collect();
    for (step, files, sign) in [
        ("build", with(&files, "web/Dockerfile", Some(&hanging)), "begun"),
        ("up", with(&with(&waiting, "conf/ready", None), "conf/other", Some("")), "$ docker-compose up"),
        ("run", files, "\nbegun\n"),
    ] {
        let _ = std::fs::remove_file(world.repo.path("conf/ready"));
        let (id, _) = submit(&world, &files).await;
        world.daemon.wait_log(&id, sign).await;
        world.daemon.kill9();
        assert_ne!(left(&world.engine, &id), [""; 0], "{step}");
        world.daemon.restart().await;
        // The next attempt hangs, too, and is cancelled.
        world
            .daemon
            .wait_for(&id, LIMIT, |job| job["attempt"] == 2 && job["results"]["test"]["status"] == "running")
            .await;
        let begun = "compose runs again";
        eventually(LIMIT, begun, async || {
            let log = world.daemon.log(&id).await;
            (log.matches(sign).count() > 1).then_some(())
        })
        .await;
        assert_eq!(cancel(&world, &id).await["cancelled"], true);
        nothing_is_left(&world, &id).await;
    }
}

async fn a_kept_project_runs_again(docker: Docker) {
    let world =
        world(docker, compose_of(docker), &[("GARBAGE_COLLECT", "0"), ("KEEP_CONTAINERS", "1"), ("HOOK_ENV", "")])
            .await;
    let files = project(&world, docker, "echo a line; echo report > /data/report; sleep 0.5; exit 4");
    let (id, _) = submit(&world, &files).await;
    assert_eq!(world.daemon.wait_failure(&id).await["class"], "test");
    let engine = &world.engine;
    assert_eq!(left(engine, &id), [format!("ps {id}"), format!("volume {id}")]);
    assert!(engine.docker(&["logs", &id]).contains("a line"));
    let again = engine.start_attached(&id);
    assert!(again.contains("a line\n"), "{again}");
    let at = engine.docker(&["inspect", "--format", "{{.Config.WorkingDir}}", &id]);
    let dir = folder();
    engine.docker(&["cp", &format!("{id}:{at}/data/report"), dir.path().to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(dir.path().join("report")).unwrap(), "report\n");
    // A newer one takes its place, and what was started by hand goes with the older one.
    let (newer, _) = submit(&world, &files).await;
    world.daemon.wait_failure(&newer).await;
    nothing_is_left(&world, &id).await;
    assert_eq!(left(engine, &newer), [format!("ps {newer}"), format!("volume {newer}")]);
    engine.remove_container(&newer);
    engine.docker(&["volume", "rm", &newer]);
}

#[tokio::test]
async fn a_commit_without_a_dockerfile_is_only_tested() {
    let world = world(Docker::V26, "2", &[]).await;
    let file = "services:\n  tests:\n    image: image-factory-busybox:1\n    command: echo it works\n";
    let (id, _) = submit(&world, &[("compose.yaml".into(), file.into())]).await;
    let job = world.daemon.wait_success(&id).await;
    assert!(world.daemon.log(&id).await.contains("\nit works\n"));
    assert_eq!((&job["digest"], &job["dryRun"], &job["tags"]), (&json!(null), &json!(false), &json!([])), "{job:#}");
    assert_eq!(left(&world.engine, &id), [""; 0]);
}

#[tokio::test]
async fn no_service_gets_a_tag_that_reads_like_the_id_of_another_commit() {
    let world = world(Docker::V26, "2", &[]).await;
    let other = world.repo.commit("main", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let mut files = project(&world, Docker::V26, "true");
    let image = format!("{}/totem/acme-hello/web:", world.registry.address());
    files[0].1 = files[0].1.replace(&format!("{image}${{short_commit}}"), &format!("{image}{}", &other[..12]));
    let (id, sha) = submit(&world, &files).await;
    let job = world.daemon.wait_failure(&id).await;
    let cause = job["cause"].as_str().unwrap();
    let words = format!("the tag {} reads like the id of commit {other}, and the image is of {sha}", &other[..12]);
    assert!(job["class"] == "source" && cause.contains(&words), "{cause}");
    assert_eq!(world.registry.manifest("totem/acme-hello/web", &other[..12]).await, None);
    nothing_is_left(&world, &id).await;
}

#[tokio::test]
async fn what_cannot_be_tested_is_refused_with_what_to_do() {
    let mut world = world(Docker::V20, "2", &[]).await;
    let usual = "services: {tests: {image: image-factory-busybox:1, command: 'true'}}";
    let mut said = String::new();
    for (name, value, file, text) in [
        ("", "", "compose.yaml", "services: {web: {image: image-factory-busybox:1}}"),
        ("", "", "compose.yaml", "services: {tests: {imag: x}}"),
        ("", "", "other.yaml", usual),
        ("COMPOSE_FILE", "ci/a.yaml:ci/b.yaml", "ci/c.yaml", usual),
        ("HOOK_SOCKET", "other/*", "ci/a.yaml", usual),
        ("BUILD_IMAGE", "image-factory-busybox:1", "ci/a.yaml", usual),
        ("BUILD_IMAGE", "", "ci/a.yaml", usual),
    ] {
        if !name.is_empty() {
            world.daemon.set(name, value);
            world.daemon.set("HOOK_SOCKET", if name == "HOOK_SOCKET" { value } else { "acme" });
            world.daemon.term(LIMIT).await;
            world.daemon.restart().await;
        }
        let files = [("Dockerfile", "FROM image-factory-busybox:1\n"), ("ci/b.yaml", "services: {}"), (file, text)];
        for stale in ["compose.yaml", "other.yaml", "ci/a.yaml", "ci/c.yaml"] {
            let _ = std::fs::remove_file(world.repo.path(stale));
        }
        let (id, _) = submit(&world, &files.map(|(path, text)| (path.to_owned(), text.to_owned()))).await;
        let job = world.daemon.wait_failure(&id).await;
        said += &format!("{}: {}\n", job["class"].as_str().unwrap(), job["cause"].as_str().unwrap());
        assert_eq!(left(&world.engine, &id), [""; 0]);
    }
    insta::assert_snapshot!(said);
}
