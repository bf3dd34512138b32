//! Kills, drains and restarts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use crate::harness::{
    Capture, Daemon, Docker, Engine, Fault, Feature, Flow, PrivateEngine, Silent, World, eventually, folder,
    processes_of, unique,
};

on_each_engine!(killed_in_build, a_cancelled_build_stops_at_once, a_step_that_cannot_be_seen_keeps_its_slot);
on_podman!(a_podman_that_dies_frees_its_slots);

const LIMIT: Duration = Duration::from_secs(10);

/// A step that hangs the first time and, in the next attempt, does not: it leaves a mark in a cache of its own.
/// `id` is in its command line, so that the test finds its process; what it prints is not in the log before it runs. (The last `echo` keeps the
/// shell from making way for `sleep`.)
fn hangs_once(id: &str) -> String {
    format!(
        "FROM image-factory-busybox:1\nRUN --mount=type=cache,id={id},target=/mark \
         if [ -e /mark/{id} ]; then echo not again; else touch /mark/{id}; echo it ha''ngs; sleep 1000; echo slept; fi\n"
    )
}

async fn submit(world: &World) -> String {
    world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await
}

/// After a kill: nothing that the daemon started is left.
async fn nothing_is_left(world: &World, more: &[&str]) {
    let data = world.daemon.data_dir().display().to_string();
    eventually(LIMIT, "git, ssh and steps are gone", async || {
        let mut left = processes_of(&data);
        left.extend(more.iter().flat_map(|needle| processes_of(needle)));
        left.is_empty().then_some(())
    })
    .await;
}

/// The job ends well in its second attempt, and the log has both.
async fn finishes_in_a_second_attempt(world: &World, id: &str) -> Value {
    let job = world.daemon.wait_success(id).await;
    assert_eq!(job["attempt"], 2);
    assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest("HEAD").await);
    let log = world.daemon.log(id).await;
    assert_eq!(log.matches("Executing: git clone").count(), 2, "{log}");
    assert_eq!(log.to_lowercase().matches("attempt 2").count(), 1, "{log}");
    job
}

#[tokio::test]
async fn killed_in_clone() {
    let mut world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let (silent, good) = (Silent::start(), world.git.url());
    world.daemon.set("GIT_URL", &world.git.url_at(silent.port()));
    world.daemon.term(LIMIT).await;
    world.daemon.restart().await;
    let id = submit(&world).await;
    world.daemon.wait_stage(&id, "clone").await;
    let ssh = format!("-p {}", silent.port());
    // ssh itself, not the shell and `setpriv` that become it: they have not yet asked to die with Git.
    let is_ssh = |line: &String| line.split(' ').nth(1) == Some("ssh");
    eventually(LIMIT, "ssh runs", async || processes_of(&ssh).iter().any(is_ssh).then_some(())).await;
    // A kill takes along what the log would have shown on its next tick.
    world.daemon.wait_log(&id, "Executing: git clone").await;
    world.daemon.kill9();
    nothing_is_left(&world, &[&ssh]).await;
    world.daemon.set("GIT_URL", &good);
    world.daemon.restart().await;
    finishes_in_a_second_attempt(&world, &id).await;
}

async fn killed_in_build(docker: Docker) {
    let capture = Capture::start(&[]);
    let mut world = World::start_at(Engine::of(docker), &[("HOOK_POST_URL", &capture.url())]).await;
    let mark = unique();
    world.repo.commit("develop", &[("Dockerfile", &hangs_once(&mark))]);
    let id = submit(&world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    assert!(!processes_of(&mark).is_empty());
    world.daemon.kill9();
    if docker.has(Feature::EndsSteps) {
        nothing_is_left(&world, &[&mark]).await;
    } else {
        assert!(!processes_of(&mark).is_empty(), "the step ended with its client: nothing needs to end it");
    }
    world.daemon.restart().await;
    finishes_in_a_second_attempt(&world, &id).await;
    eventually(LIMIT, "the step is gone", async || processes_of(&mark).is_empty().then_some(())).await;
    assert!(world.daemon.log(&id).await.contains("it hangs"), "the first attempt's output is lost");
    let sent = capture.wait(1, LIMIT).await;
    assert!(sent.iter().all(|request| request.body.windows(9).any(|w| w == b"\"success\"")), "{sent:?}");
}

#[tokio::test]
async fn killed_in_push() {
    let mut world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Hang);
    let id = submit(&world).await;
    let hangs = async || (world.registry.calls("PUT", "/manifests/") > 0).then_some(());
    eventually(Duration::from_secs(60), "the push hangs", hangs).await;
    world.daemon.kill9();
    nothing_is_left(&world, &[]).await;
    world.registry.fault(Fault::None);
    world.daemon.restart().await;
    finishes_in_a_second_attempt(&world, &id).await;
}

/// At moments that differ: when the log has reached some length. Among them are checkout and the moments between stages.
#[tokio::test]
async fn killed_at_any_moment() {
    let mut world = World::start().await;
    world.repo.commit(
        "develop",
        &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY . /app\nRUN echo a; echo b\n"), ("n", "0")],
    );
    for round in 0..8 {
        let sha = world.repo.commit("develop", &[("n", &round.to_string())]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        let length = round * 400;
        eventually(LIMIT * 3, "the log has grown", async || {
            let ended = world.daemon.job(&id).await["status"] == "success";
            (ended || world.daemon.log(&id).await.len() >= length).then_some(())
        })
        .await;
        let before = world.daemon.log(&id).await;
        world.daemon.kill9();
        nothing_is_left(&world, &[]).await;
        world.daemon.restart().await;
        let job = world.daemon.wait_success(&id).await;
        assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest(&sha).await);
        assert!(job["attempt"].as_u64().unwrap() <= 2);
        assert!(world.daemon.log(&id).await.starts_with(&before), "what was read of the log has changed");
    }
    assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), 8);
}

/// A job that was answered with 201 is there after a kill at that moment.
#[tokio::test]
async fn an_answered_job_is_durable() {
    let mut world = World::start_with(&[("CONCURRENCY", "0")]).await;
    for round in 1..=5 {
        let id = submit(&world).await;
        world.daemon.kill9();
        world.daemon.restart().await;
        assert_eq!(world.daemon.job(&id).await["status"], "pending");
        assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), round);
    }
}

#[tokio::test]
async fn sigterm_lets_running_jobs_finish_and_claims_no_other() {
    let mut world = World::start_with(&[("CONCURRENCY", "1")]).await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo it ru''ns {}; sleep 3\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let running = submit(&world).await;
    world.daemon.wait_log(&running, "it runs").await;
    let waiting = submit(&world).await;
    let status = world.daemon.term(Duration::from_secs(30)).await;
    assert!(status.success(), "{status}");
    world.daemon.set("CONCURRENCY", "0");
    world.daemon.restart().await;
    assert_eq!(world.daemon.job(&running).await["status"], "success");
    let waiting = world.daemon.job(&waiting).await;
    assert_eq!((&waiting["status"], &waiting["attempt"]), (&json!("pending"), &json!(0)));
}

#[tokio::test]
async fn a_job_that_is_not_drained_in_time_is_pending_again() {
    let mut world = World::start_with(&[("DRAIN_TIMEOUT", "1s")]).await;
    let mark = unique();
    world.repo.commit("develop", &[("Dockerfile", &hangs_once(&mark))]);
    let id = submit(&world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    let status = world.daemon.term(LIMIT).await;
    assert!(status.success(), "{status}");
    nothing_is_left(&world, &[&mark]).await;
    world.daemon.restart().await;
    finishes_in_a_second_attempt(&world, &id).await;
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let world = World::start().await;
    let second = world.daemon.second();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains(world.daemon.data_dir().to_str().unwrap()), "{said}");
    assert!(said.contains(&world.daemon.pid().to_string()), "{said}");
    world.daemon.get("/health").await;
}

async fn a_cancelled_build_stops_at_once(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let mark = unique();
    world.repo.commit("develop", &[("Dockerfile", &hangs_once(&mark))]);
    let id = submit(&world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    assert!(!processes_of(&mark).is_empty());
    let answer = world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["cancelled"], true);
    eventually(LIMIT, "the step is gone", async || processes_of(&mark).is_empty().then_some(())).await;
}

/// Behind a proxy the daemon sees no process of the engine. A step that outlives its job keeps its slot until it is over.
async fn a_step_that_cannot_be_seen_keeps_its_slot(docker: Docker) {
    let (engine, dir) = (Engine::of(docker), folder());
    let host = format!("unix://{};slots=1", relay(&engine, dir.path()).display());
    let world = World::start_at(engine, &[("DOCKER_HOSTS", &host)]).await;
    let mark = unique();
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo it ha''ngs; sleep 15; echo {mark}\n");
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = submit(&world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait_failure(&id).await;
    assert!(docker.has(Feature::EndsSteps) || !processes_of(&mark).is_empty(), "the step ended with its job");

    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo the next ru''ns; echo {}\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let next = submit(&world).await;
    world.daemon.wait_log(&next, "the next runs").await;
    assert_eq!(processes_of(&mark), Vec::<String>::new());
    world.daemon.wait_success(&next).await;
    // The relay runs in this thread.
    let doctor = world.daemon.beside(&["doctor"]);
    let found = tokio::task::spawn_blocking(|| doctor.run()).await.unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.contains("goes on in it until it ends by itself"), !docker.has(Feature::EndsSteps), "{found}");
}

/// What a dead Podman has left is listed by the next one for ever, and no slot waits for that: neither that of a job whose
/// build was cut off, nor that of a cancelled one which was waited for.
async fn a_podman_that_dies_frees_its_slots(docker: Docker) {
    let (mut private, dir) = (PrivateEngine::start(docker).await, folder());
    let host = format!("unix://{};slots=2", relay(&private.engine, dir.path()).display());
    let world = World::start_at(private.engine.clone(), &[("DOCKER_HOSTS", &host)]).await;
    private.reach(&world.registry.address());
    let mut ids = Vec::new();
    for branch in ["cancelled", "cut-off"] {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo it ha''ngs; sleep 1000; echo {}\n", unique());
        world.repo.commit(branch, &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": branch})).await;
        world.daemon.wait_log(&id, "it hangs").await;
        ids.push(id);
    }
    world.daemon.request(reqwest::Method::POST, &format!("/job/{}/cancel", ids[0])).send().await.unwrap();
    world.daemon.wait_failure(&ids[0]).await;
    let listed = || private.engine.containers_of_builders().len();
    assert_eq!((used(&world).await, listed()), (2, 2), "a slot does not wait for its build");

    private.kill9();
    let rests = |job: &Value| job["status"] == "pending" && job["class"] == "engine";
    world.daemon.wait_for(&ids[1], LIMIT, rests).await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{}/cancel", ids[1])).send().await.unwrap();
    private.restart().await;
    assert_eq!(private.engine.containers_of_builders().len(), 2, "Podman forgets what died: nothing is to be known");
    for branch in ["one", "two"] {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique());
        world.repo.commit(branch, &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": branch})).await;
        world.daemon.wait_success(&id).await;
    }
    eventually(LIMIT, "both slots are free", async || (used(&world).await == 0).then_some(())).await;
}

/// Returns the number of slots that are taken on the only engine.
async fn used(world: &World) -> u64 {
    world.daemon.get("/engines").await[0]["usedSlots"].as_u64().unwrap()
}

/// Passes the connections of a socket in this folder on to the engine's.
fn relay(engine: &Engine, dir: &Path) -> PathBuf {
    let (socket, target) = (dir.join("relay.sock"), engine.host.strip_prefix("unix://").unwrap().to_owned());
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut to = UnixStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    socket
}

/// Two jobs clone at two deaths of the daemon. Each then clones alone, and a third death tells which of them it is.
#[tokio::test]
async fn only_the_job_that_kills_the_daemon_is_given_up() {
    let mut world = World::start_with(&[("CONCURRENCY", "4")]).await;
    let gate = world.gate_git().await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let repo = world.git.repo("acme", name);
        repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    }
    gate.set(Flow::Stall { after: 0 });
    let submit = async |daemon: &Daemon, name: &str| daemon.submit(json!({"owner": "acme", "repo": name})).await;
    for name in ["one", "two"] {
        ids.push(submit(&world.daemon, name).await);
    }
    // A stop and a kill meanwhile are nobody's fault.
    for kill in 0..3 {
        for id in &ids {
            world.daemon.wait_stage(id, "clone").await;
        }
        if kill == 0 {
            let said = world.daemon.output().len();
            world.daemon.signal(Signal::TERM);
            let stops = async || world.daemon.output()[said..].contains("stopping: running jobs have").then_some(());
            eventually(LIMIT, "the daemon stops", stops).await;
        }
        world.daemon.kill9();
        world.daemon.restart().await;
    }
    let alone = "runs while no other job clones";
    let clones =
        async |id: &String| (world.daemon.job(id).await["results"]["clone"]["status"] == "running").then_some(());
    let killer = eventually(LIMIT, "one of them clones", async || {
        let mut cloning = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            cloning.extend(clones(id).await.map(|()| at));
        }
        cloning.first().copied()
    })
    .await;
    world.daemon.wait_log(&ids[killer], alone).await;
    let (killer, innocent) = (ids[killer].clone(), ids[1 - killer].clone());
    let third = submit(&world.daemon, "three").await;
    world.daemon.wait_log(&third, "waits for another job, which runs alone").await;
    for id in [&innocent, &third] {
        assert_ne!(world.daemon.job(id).await["results"]["clone"]["status"], "running");
    }
    world.daemon.kill9();
    gate.set(Flow::Pass);
    world.daemon.restart().await;
    let job = world.daemon.wait_failure(&killer).await;
    assert_eq!(job["class"], "source", "{job:#}");
    assert!(job["cause"].as_str().unwrap().contains("a signal ended the daemon 3 times"), "{job:#}");
    for id in [&innocent, &third] {
        world.daemon.wait_success(id).await;
    }
    assert!(world.daemon.log(&innocent).await.contains(alone));
    assert!(!world.daemon.log(&third).await.contains(alone));
}
