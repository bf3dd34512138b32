//! The test stage by HOOK: what its command sees, how its end decides about the push, and that no container is left.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{COMPOSE_CI, Daemon, Docker, Engine, PrivateEngine, World, eventually, folder, unique};

on_each_engine!(
    a_green_test_sees_the_commit_and_is_pushed,
    a_red_test_is_not_pushed,
    a_test_that_hangs_is_ended,
    a_flood_of_output_ends_nothing,
    a_cancelled_test_leaves_no_container,
    a_stopped_daemon_leaves_no_container,
    a_killed_daemon_removes_its_container_at_the_next_start,
    an_image_without_a_shell_is_tested,
    an_image_of_the_operators_is_pulled,
    a_dead_engine_has_the_test_run_again,
    a_kept_container_runs_again_and_gives_its_files,
    a_kept_container_that_runs_is_removed_at_the_next_start,
    what_may_have_secrets_is_neither_kept_nor_given_out,
);
on_docker!(a_test_that_needs_too_much_memory_is_told_so);

const LIMIT: Duration = Duration::from_secs(30);
const CANARY: &str = "canary-of-the-hook-env";

/// Starts a world with compose-ci's door.
async fn world(docker: Docker, settings: &[(&str, &str)]) -> World {
    world_at(docker, Engine::of(docker), settings).await
}

async fn world_at(docker: Docker, engine: Engine, settings: &[(&str, &str)]) -> World {
    let mut world = World::start_at(engine, &[&COMPOSE_CI[..], settings, docker.limits()].concat()).await;
    world.daemon.guard("HOOK_ENV", CANARY);
    world
}

/// Has a commit built whose image has this Dockerfile, and returns the job's id and the commit.
async fn submit(world: &World, dockerfile: &str, files: &[(&str, &str)]) -> (String, String) {
    let dockerfile = format!("{dockerfile}\nLABEL unique={}\n", unique());
    let sha = world.repo.commit("develop", &[&[("Dockerfile", dockerfile.as_str())], files].concat());
    (world.ci_push("acme/hello", "develop", &sha).await, sha)
}

const BUSYBOX: &str = "FROM image-factory-busybox:1";

/// Returns the ids of the containers of a job's test.
fn containers(engine: &Engine, job: &str) -> String {
    engine.docker(&["ps", "--all", "--quiet", "--filter", &format!("label=image-factory.job={job}")])
}

/// Asserts that the test of a job has ended with this class, that nothing is pushed and no container is left. Returns the
/// job.
async fn failed(world: &World, (id, sha): &(String, String), class: &str) -> Value {
    let job = world.daemon.wait_failure(id).await;
    assert_eq!((&job["class"], &job["results"]["test"]["status"]), (&json!(class), &json!("failure")), "{job:#}");
    assert_eq!(job["results"]["push"], json!({ "status": "pending" }));
    assert_eq!((world.digest(sha).await, containers(&world.engine, id)), (None, String::new()));
    job
}

async fn a_green_test_sees_the_commit_and_is_pushed(docker: Docker) {
    let hook = "sh -c 'pwd; ls -l; cat link; ./run.sh; env; test ${#CI_CANARY} = 22; \
                echo value: $CI_CANARY; echo \"it'\"'\"'s $1\"; sleep 0.1; echo to stderr >&2; sleep 0.1; echo to stdout; \
                wc -c < /.image-factory/env' zero 'a  b'";
    let world = world(
        docker,
        &[("HOOK", hook), ("HOOK_ENV", "CI_CANARY,UNSET"), ("CI_CANARY", CANARY), ("TEST_MEMORY", "256MiB")],
    )
    .await;
    let dockerfile = format!("{BUSYBOX}\nENV OF_IMAGE=yes\nENTRYPOINT [\"/bin/false\"]");
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    std::os::unix::fs::symlink("words", world.repo.path("link")).unwrap();
    let script = world.repo.path("run.sh");
    std::fs::write(&script, "#!/bin/sh\necho it ran\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (id, sha) = submit(&world, &dockerfile, &[("words", "some words\n"), (&long, "deep\n")]).await;
    let job = world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    for part in [
        "/workspace\n",
        "some words\n",
        "it ran\n",
        "OF_IMAGE=yes\n",
        &format!("COMPOSE_PROJECT_NAME={id}\n"),
        &format!("\ncommit={sha}\n"),
        &format!("\nshort_commit={}\n", &sha[..7]),
        "\nbranch=develop\n",
        &format!("\nimage={}\n", job["image"].as_str().unwrap()),
        "\nimage_id=sha256:",
        "it's a  b\nto stderr\nto stdout\n0\n",
    ] {
        assert!(log.contains(part), "{part:?} is missing: {log}");
    }
    assert!(!log.contains("UNSET") && !log.contains(CANARY), "{log}");
    let stages: Vec<_> = job["results"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(stages.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{stages:?}");
    assert_eq!(
        (&job["results"]["test"]["exitCode"], &job["results"]["push"]["status"]),
        (&json!(0), &json!("success"))
    );
    assert_eq!(world.digest(&sha).await.as_deref(), job["digest"].as_str());
    assert_eq!(containers(&world.engine, &id), "");
}

async fn a_red_test_is_not_pushed(docker: Docker) {
    let hook = "sh -c 'echo first; echo \"2 of 7 tests failed, with $CI_CANARY\"; exit 2'";
    let world = world(docker, &[("HOOK", hook), ("HOOK_ENV", "CI_CANARY"), ("CI_CANARY", CANARY)]).await;
    let made = submit(&world, BUSYBOX, &[]).await;
    let job = failed(&world, &made, "test").await;
    let (cause, test) = (job["cause"].as_str().unwrap(), &job["results"]["test"]);
    assert!(
        cause.starts_with("test: `sh -c ") && cause.contains("exited with 2: 2 of 7 tests failed, with "),
        "{cause}"
    );
    assert!(!cause.contains(CANARY), "{cause}");
    assert_eq!((&test["exitCode"], &test["err"]["code"]), (&json!(2), &json!(2)));
    assert_eq!(job["results"]["build"]["status"], "success");
}

async fn a_test_that_needs_too_much_memory_is_told_so(docker: Docker) {
    let world = world(docker, &[("HOOK", "tail /dev/zero"), ("TEST_MEMORY", "32MiB")]).await;
    let job = failed(&world, &submit(&world, BUSYBOX, &[]).await, "out-of-memory").await;
    assert_eq!(job["results"]["test"]["exitCode"], 137, "{job:#}");
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.ends_with("it was killed for its memory"), "{cause}");
}

async fn a_test_that_hangs_is_ended(docker: Docker) {
    let world =
        world(docker, &[("HOOK", "sh -c 'trap : TERM; echo begun; sleep 1000; sleep 1000'"), ("TEST_TIMEOUT", "3s")])
            .await;
    let made = submit(&world, BUSYBOX, &[]).await;
    let job = failed(&world, &made, "timeout").await;
    assert_eq!(job["cause"], "test: it took longer than 3 s (TEST_TIMEOUT)");
    assert!(world.daemon.log(&made.0).await.contains("\nbegun\n"));
}

async fn a_flood_of_output_ends_nothing(docker: Docker) {
    let world =
        world(docker, &[("HOOK", "sh -c 'head -c 20000000 /dev/zero | tr \"\\\\0\" x; echo; echo the end'")]).await;
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("\nthe end\n"), "a log of {} bytes", log.len());
}

async fn a_cancelled_test_leaves_no_container(docker: Docker) {
    let world = world(docker, &[("HOOK", "sh -c 'echo begun; sleep 1000'")]).await;
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    world.daemon.wait_log(&id, "\nbegun\n").await;
    assert_ne!(containers(&world.engine, &id), "");
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!((&job["cancelled"], containers(&world.engine, &id)), (&json!(true), String::new()));
}

async fn a_stopped_daemon_leaves_no_container(docker: Docker) {
    let mut world = world(docker, &[("HOOK", "sh -c 'echo begun; sleep 1000'"), ("DRAIN_TIMEOUT", "0s")]).await;
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    world.daemon.wait_log(&id, "\nbegun\n").await;
    world.daemon.term(LIMIT).await;
    assert_eq!(containers(&world.engine, &id), "");
    world.daemon.set("HOOK", "echo done");
    world.daemon.restart().await;
    assert_eq!(world.daemon.wait_success(&id).await["attempt"], 2);
}

async fn a_killed_daemon_removes_its_container_at_the_next_start(docker: Docker) {
    let mut world = world(docker, &[("HOOK", "sh -c 'echo begun; sleep 1000'")]).await;
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    world.daemon.wait_log(&id, "\nbegun\n").await;
    world.daemon.kill9();
    let left = containers(&world.engine, &id);
    assert_ne!(left, "");
    // A container that somebody made of another image keeps its labels, and is not ours by its name.
    let label = format!("image-factory.job={id}");
    let theirs = format!("theirs-{}", unique());
    world.engine.docker(&[
        "run",
        "--detach",
        "--name",
        &theirs,
        "--label",
        &label,
        "image-factory-busybox:1",
        "sleep",
        "1000",
    ]);
    world.daemon.set("HOOK", "echo done");
    world.daemon.restart().await;
    let job = world.daemon.wait_success(&id).await;
    let now = containers(&world.engine, &id);
    world.engine.remove_container(&theirs);
    assert_eq!((&job["attempt"], now.lines().count()), (&json!(2), 1), "{now}");
    assert!(!now.contains(&left));
}

async fn an_image_without_a_shell_is_tested(docker: Docker) {
    let dockerfile = "FROM image-factory-busybox:1 AS tools\nRUN mkdir /out && cp /bin/busybox /out/env && \
                      cp -a /lib* /usr /out/ 2>/dev/null || true\nFROM scratch\nCOPY --from=tools /out/ /";
    let world = world(docker, &[("HOOK", "/env"), ("HOOK_ENV", "CI_CANARY"), ("CI_CANARY", CANARY)]).await;
    let (id, _) = submit(&world, dockerfile, &[]).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("\nCI_CANARY=") && !log.contains(CANARY), "{log}");
}

async fn an_image_of_the_operators_is_pulled(docker: Docker) {
    let mut world = world(docker, &[("HOOK", "nosuchprogram --now")]).await;
    let job = failed(&world, &submit(&world, BUSYBOX, &[]).await, "test").await;
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.starts_with("test: `nosuchprogram --now` cannot be started in the image sha256:"), "{cause}");
    assert_eq!(job["results"]["test"]["exitCode"], 127);

    // The registry has no such image.
    let restart = async |world: &mut World, image: &str, hook: &str| {
        world.daemon.set("BUILD_IMAGE", image);
        world.daemon.set("HOOK", hook);
        world.daemon.term(LIMIT).await;
        world.daemon.restart().await;
    };
    let missing = format!("{}/totem/tools:1", world.registry.address());
    restart(&mut world, &missing, "true").await;
    let job = failed(&world, &submit(&world, BUSYBOX, &[]).await, "config").await;
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("test: BUILD_IMAGE={missing} cannot be had: ")), "{cause}");

    // The registry asks for a login, and the engine lacks the image.
    restart(&mut world, "", "true").await;
    let job = world.daemon.wait_success(&submit(&world, BUSYBOX, &[]).await.0).await;
    let pushed = job["image"].as_str().unwrap();
    world.engine.docker(&["image", "rm", pushed]);
    restart(&mut world, pushed, "sh -c 'echo tools of $image_id; cat Dockerfile'").await;
    let (id, _) = submit(&world, "FROM scratch", &[]).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains(&format!("{pushed} is pulled\n")) && log.contains("\ntools of sha256:"), "{log}");
}

async fn a_dead_engine_has_the_test_run_again(docker: Docker) {
    let mut private = PrivateEngine::start(docker).await;
    let world = world_at(docker, private.engine.clone(), &[("HOOK", "sh -c 'echo begun; sleep 1000'")]).await;
    private.reach(&world.registry.address());
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    world.daemon.wait_log(&id, "\nbegun\n").await;
    private.kill9();
    world.daemon.wait_log(&id, "Attempt 1 ended (engine)").await;
    private.restart().await;
    // The next attempt is under way, and what the first one left is gone or has been replaced.
    world
        .daemon
        .wait_for(&id, LIMIT * 2, |job| job["attempt"] == 2 && job["results"]["test"]["status"] == "running")
        .await;
    let only = "the job has one container";
    eventually(LIMIT, only, async || (containers(&world.engine, &id).lines().count() == 1).then_some(())).await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait_failure(&id).await;
    let none = "the job has no container";
    eventually(LIMIT, none, async || containers(&world.engine, &id).is_empty().then_some(())).await;
}

async fn a_kept_container_runs_again_and_gives_its_files(docker: Docker) {
    let hook = "sh -c 'mkdir -p out/deep; mkfifo out/pipe; ln -s loop loop; ln -s /workspace/out out/deep/back; head -c 300000 /dev/zero > out/zeros; \
                echo \"<xml/>\" > out/report.xml; echo secret: $CI_CANARY; echo a line; exit 3'";
    let settings = [("HOOK", hook), ("HOOK_ENV", "CI_CANARY"), ("CI_CANARY", CANARY), ("GARBAGE_COLLECT", "0")];
    let mut world = world(docker, &[&settings[..], &[("KEEP_CONTAINERS", "2")]].concat()).await;
    let (id, _) = submit(&world, BUSYBOX, &[]).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!((&job["class"], containers(&world.engine, &id).lines().count()), (&json!("test"), 1), "{job:#}");

    // As Docker's own command sees it.
    let engine = world.engine.clone();
    assert!(engine.docker(&["logs", &id]).contains("a line"));
    let inspected = engine.docker(&["inspect", &id]);
    assert!(!inspected.contains(CANARY), "{inspected}");
    let again = engine.start_attached(&id);
    assert!(again.contains("secret:\na line\n"), "{again}");
    let dir = folder();
    engine.docker(&["cp", &format!("{id}:/workspace/out/report.xml"), dir.path().to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(dir.path().join("report.xml")).unwrap(), "<xml/>\n");

    // The same by the API: a file, one through links, a folder, and what is not there.
    let get = async |path: &str| {
        let path = format!("/job/{id}/files/{path}");
        let answer = world.daemon.request(reqwest::Method::GET, &path).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    assert_eq!(get("workspace/out/report.xml").await, (200, "<xml/>\n".into()));
    assert_eq!(get("workspace/out/deep/back/report.xml").await, (200, "<xml/>\n".into()));
    assert_eq!(get("workspace/out/zeros").await, (200, vec![0; 300_000].into()));
    let (status, tar) = get("workspace/out/deep/back").await;
    assert_eq!((status, tar.len() % 512, &tar[257..262]), (200, 0, &b"ustar"[..]));
    for (path, status) in [
        ("workspace/none", 404),
        ("workspace/loop", 404),
        ("workspace/out/pipe", 409),
        ("workspace%2F..%2F..%2Fetc", 400),
    ] {
        assert_eq!(get(path).await.0, status, "{path}");
    }
    let report = ["files", &id, "/workspace/out/report.xml"];
    let (file, folder) = (world.daemon.cli(&report), world.daemon.cli(&["files", &id[..20], "workspace/out"]));
    let [file, folder] = tokio::task::spawn_blocking(|| [file.run(), folder.run()]).await.unwrap();
    assert_eq!((file.stdout, &folder.stdout[257..262]), (b"<xml/>\n".into(), &b"ustar"[..]));
    let counted = async |world: &World, expected: u64| {
        let what = format!("{expected} containers are counted");
        let kept = async || (world.daemon.get("/engines").await[0]["keptContainers"] == expected).then_some(());
        eventually(LIMIT, &what, kept).await;
    };
    counted(&world, 1).await;
    let doctor = world.daemon.beside(&["doctor"]);
    let said = tokio::task::spawn_blocking(|| doctor.run()).await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("containers of tests are kept there") && said.contains(&id), "{said}");

    // A restart leaves it, and more than two are too many.
    world.daemon.term(LIMIT).await;
    world.daemon.restart().await;
    assert_eq!(containers(&engine, &id).lines().count(), 1);
    let mut later = Vec::new();
    for _ in 0..2 {
        let (id, _) = submit(&world, BUSYBOX, &[]).await;
        world.daemon.wait_failure(&id).await;
        later.push(id);
    }
    let removed = "the oldest is removed";
    eventually(LIMIT, removed, async || containers(&engine, &id).is_empty().then_some(())).await;
    assert!(later.iter().all(|id| !containers(&engine, id).is_empty()));
    assert_eq!(
        world.daemon.request(reqwest::Method::GET, &format!("/job/{id}/files/etc")).send().await.unwrap().status(),
        404
    );
    later.iter().for_each(|id| engine.remove_container(id));
}

/// A kept container in which something runs when the daemon finds the engine may be what a killed daemon left.
async fn a_kept_container_that_runs_is_removed_at_the_next_start(docker: Docker) {
    let hook = "sh -c 'if [ -e twice ]; then sleep 1000; fi; touch twice'";
    let mut world = world(docker, &[("HOOK", hook), ("GARBAGE_COLLECT", "0")]).await;
    let (runs, _) = submit(&world, BUSYBOX, &[]).await;
    let (rests, _) = submit(&world, BUSYBOX, &[]).await;
    for id in [&runs, &rests] {
        world.daemon.wait_success(id).await;
    }
    world.daemon.term(LIMIT).await;
    world.engine.docker(&["start", &runs]);
    world.daemon.restart().await;
    let removed = async || containers(&world.engine, &runs).is_empty().then_some(());
    eventually(LIMIT, "the container that ran is removed", removed).await;
    assert_eq!(containers(&world.engine, &rests).lines().count(), 1);
    world.engine.remove_container(&rests);
}

/// A container has HOOK_ENV's values until its command begins, and its image may have our labels.
async fn what_may_have_secrets_is_neither_kept_nor_given_out(docker: Docker) {
    let labels = "LABEL image-factory.kept=1 image-factory.hook-env=all\n";
    let settings = [("HOOK", "sh -c 'echo begun; sleep 1000'"), ("HOOK_ENV", "CI_CANARY"), ("CI_CANARY", CANARY)];
    let mut world = world(docker, &settings).await;
    let (id, _) = submit(&world, &format!("{BUSYBOX}\n{labels}"), &[]).await;
    world.daemon.wait_log(&id, "\nbegun\n").await;
    let path = format!("/job/{id}/files/.image-factory/env");
    assert_eq!(world.daemon.request(reqwest::Method::GET, &path).send().await.unwrap().status(), 404);
    let inspected = world.engine.docker(&["inspect", "-f", "{{json .Config.Labels}}", &id]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!((&inspected["image-factory.kept"], &inspected["image-factory.hook-env"]), (&json!(""), &json!("")));
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait_failure(&id).await;

    let restart = async |world: &mut World, name: &str, value: &str| {
        world.daemon.set("HOOK", "sh -c true");
        world.daemon.set(name, value);
        world.daemon.term(LIMIT).await;
        world.daemon.restart().await;
    };
    restart(&mut world, "GARBAGE_COLLECT", "0").await;
    // The empty image cannot start anything, and its container would have stayed.
    failed(&world, &submit(&world, "FROM scratch\nCOPY Dockerfile /", &[]).await, "test").await;

    restart(&mut world, "TEST_CPUS", "1000").await;
    let job = failed(&world, &submit(&world, BUSYBOX, &[]).await, "config").await;
    let cause = job["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("test: the engine refuses the container of the test (") && job["attempt"] == 1,
        "{job:#}"
    );
}

#[tokio::test]
async fn a_job_without_a_test_is_refused_before_its_build() {
    let world = world(Docker::V20, &[]).await;
    let job = failed(&world, &submit(&world, BUSYBOX, &[]).await, "config").await;
    assert_eq!(job["cause"], "test: no test command is set: the operator sets HOOK, such as HOOK=\"make test\"");
    assert_eq!(job["results"]["build"], json!({ "status": "pending" }));
}

#[tokio::test]
async fn a_secret_of_the_daemon_is_refused_by_its_name() {
    let dir = folder();
    let settings = [
        ("DATA_DIR", dir.path().to_str().unwrap()),
        ("HOOK", "make test"),
        ("HOOK_ENV", "CODECOV_TOKEN,ENC_PASSPHRASE,GITHUB_SECRET"),
        ("ENC_PASSPHRASE", "never to be shown"),
    ];
    let output = Daemon::fail(&settings.map(|(name, value)| (name.to_string(), value.to_string())).into(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for name in ["ENC_PASSPHRASE", "GITHUB_SECRET"] {
        assert!(said.contains(&format!("{name} is a secret of the daemon, which no test is given")), "{said}");
    }
}
