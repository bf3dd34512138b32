//! The class of a job's failure, the automatic retries, and the time limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image_factory::model::FailureClass;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Docker, Engine, Fault, Feature, Machine, PrivateEngine, Registry, World, masked, unique};

on_each_engine!(
    a_mistake_of_a_user_is_not_retried,
    a_step_that_needs_too_much_memory,
    a_failure_of_the_registry_gets_another_attempt,
    a_silent_or_endless_step_times_out,
);

async fn submit(world: &World, request: Value) -> String {
    let mut whole = json!({"owner": "acme", "repo": "hello"});
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    world.daemon.submit(whole).await
}

/// Asserts that the job ended with this class, in this attempt, and that all places say so; returns it and its cause.
async fn ended(world: &World, id: &str, class: FailureClass, attempt: u32) -> (Value, String) {
    let job = world.daemon.wait_failure(id).await;
    let cause = job["cause"].as_str().unwrap().to_owned();
    assert_eq!((job["class"].as_str(), &job["attempt"]), (Some(class.as_str()), &json!(attempt)), "{cause}");
    assert_eq!(job["advice"], class.advice(), "{cause}");
    let log = world.daemon.log(id).await;
    let last = log.trim_end().lines().last().unwrap();
    let start = format!("The build ended ({}): {cause}", class.as_str());
    assert!(last.starts_with(&start) && last.ends_with(class.advice()), "{last:?} is not {start:?}");
    let cause = masked(&cause, &[(&world.registry.address(), "registry")]);
    (job, cause)
}

async fn a_mistake_of_a_user_is_not_retried(docker: Docker) {
    use FailureClass::{Config, Dockerfile, RegistryAuth, Source};
    let world = World::start_at(Engine::of(docker), &[]).await;
    world.repo.commit("develop", &[("readme", "no Dockerfile")]);
    let mut causes = Vec::new();
    // First: once it is there, a connection serves for a minute.
    world.git.authorize(&[]);
    let refused = submit(&world, json!({})).await;
    causes.push(ended(&world, &refused, Config, 1).await.1);
    world.git.authorize(&[&world.key]);
    let again = submit(&world, json!({})).await;
    causes.push(ended(&world, &again, Config, 1).await.1);
    let rebuilt = world.daemon.request(Method::POST, &format!("/job/{refused}/rebuild")).send().await.unwrap();
    let rebuilt: Value = rebuilt.json().await.unwrap();
    causes.push(ended(&world, rebuilt["id"].as_str().unwrap(), Dockerfile, 1).await.1);
    let private = Registry::with_password("somebody", "else").await;
    let (ours, theirs) = (world.registry.address(), private.address());
    let killed = format!("FROM image-factory-busybox:1\nRUN sh -c 'kill -9 $$'; x=$?; echo {}; exit $x\n", unique());
    for (dockerfile, class, exit_code) in [
        ("FROM image-factory-busybox:1\nNONSENSE\n".to_owned(), Dockerfile, 1),
        ("FROM image-factory-busybox:1\nRUN exit 2\n".into(), Dockerfile, 2),
        (killed, Dockerfile, 137),
        (format!("FROM {ours}/totem/nope:v1\n"), Dockerfile, 1),
        (format!("FROM {theirs}/acme/base:v1\n"), RegistryAuth, 1),
    ] {
        // The kernel counts the OOM killer's kills and does not say whose they are, so no other test may make one now.
        let _machine = if exit_code == 137 { Some(Machine::take().await) } else { None };
        world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = submit(&world, json!({})).await;
        let (job, cause) = ended(&world, &id, class, 1).await;
        assert_eq!(job["results"]["build"]["exitCode"], exit_code, "{dockerfile}");
        // The two streams of the step that was killed come in either order.
        causes.push(cause.replace("its last line: Killed", "its last line: [unique]"));
    }
    causes.push(ended(&world, &submit(&world, json!({"branch": "nope"})).await, Source, 1).await.1);
    insta::assert_snapshot!(format!("mistakes_{docker:?}"), causes.join("\n"));
    let output = world.daemon.output();
    assert!(output.lines().any(|line| line.contains(&refused) && line.contains("class=\"config\"")), "{output}");
    let table = world.daemon.cli(&["jobs"]).run();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.lines().any(|line| line.contains(&refused) && line.contains("  config  ")), "{table}");
    let followed = world.daemon.cli(&["logs", "--follow", &refused]).run();
    let end = String::from_utf8(followed.stderr).unwrap();
    insta::assert_snapshot!(masked(&end, &[(Config.advice(), "advice")]), @r"
    job [id]: 127.0.0.1:[port]/totem/acme-hello:HEAD
    failure (config) in clone after [duration]: clone: 127.0.0.1:[port] refuses the deploy key SHA256:[fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE`
    [advice]
    ");
    assert_eq!(followed.status.code(), Some(1));
}

/// A control group below which an engine puts its steps.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn new(name: &str, limit: u64) -> Self {
        let first = Path::new("/sys/fs/cgroup/memory");
        let (top, file) = match first.exists() {
            true => (first, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let dir = top.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(file), limit.to_string()).unwrap();
        Self(dir)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("buildkit"));
        let _ = fs::remove_dir(&self.0);
    }
}

async fn a_step_that_needs_too_much_memory(docker: Docker) {
    let name = format!("if-{}", unique());
    // Podman is in the group itself, and so are its steps, because it knows other control groups than this one.
    let group = ControlGroup::new(&name, if docker.has(Feature::Limits) { 48 << 20 } else { 512 << 20 });
    let flags = format!("--exec-opt native.cgroupdriver=cgroupfs --cgroup-parent {name}");
    let joined = if docker.has(Feature::Limits) { "" } else { &group.0.join("cgroup.procs").display().to_string() };
    let env = [("DOCKERD_FLAGS", flags.as_str()), ("JOINED_GROUP", joined)];
    let private = PrivateEngine::start_with(docker, &env).await;
    let world = World::start_at(private.engine.clone(), &[]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN tail /dev/zero\n")]);
    let id = submit(&world, json!({})).await;
    let (job, cause) = ended(&world, &id, FailureClass::OutOfMemory, 1).await;
    let cause = cause.replace(docker.second_step(), "2/2");
    insta::assert_snapshot!(cause, @r#"build: step "[2/2] RUN tail /dev/zero" failed with exit code 137 and wrote nothing; it was killed for its memory"#);
    assert_eq!(job["results"]["build"]["exitCode"], 137);
}

/// While it rests, a job survives the daemon and can be cancelled.
async fn a_failure_of_the_registry_gets_another_attempt(docker: Docker) {
    let mut world = World::start_at(Engine::of(docker), &[]).await;
    let base = format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique());
    world.repo.commit("base", &[("Dockerfile", &base)]);
    let id = submit(&world, json!({"branch": "base", "tag": "base"})).await;
    world.daemon.wait_success(&id).await;
    world.engine.remove_images(&format!("reference={}/*/*", world.registry.address()));

    let dockerfile = format!("FROM {}/totem/acme-hello:base\nRUN true\n", world.registry.address());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    world.registry.fault(Fault::Pulls { status: 503 });
    let (waits, unwanted) = (submit(&world, json!({"tag": "a"})).await, submit(&world, json!({"tag": "b"})).await);
    let pause = regex::Regex::new("in [0-9]+ s ").unwrap();
    for id in [&waits, &unwanted] {
        let rests = |job: &Value| job["status"] == "pending" && job["class"] == "registry";
        let job = world.daemon.wait_for(id, Duration::from_secs(60), rests).await;
        assert!(job["advice"].is_null(), "{job}");
        assert_eq!(job["results"]["build"], json!({"status": "pending"}));
        let log = world.daemon.log(id).await;
        let last = log.trim_end().lines().last().unwrap();
        assert!(last.contains(job["cause"].as_str().unwrap()), "{last} {job}");
        let last = pause.replace(last, "in [seconds] s ");
        let last = masked(&last, &[(&world.registry.address(), "registry")]);
        insta::assert_snapshot!(format!("attempt_{docker:?}"), last);
    }
    let path = format!("/job/{unwanted}/cancel");
    assert_eq!(world.daemon.request(Method::POST, &path).send().await.unwrap().status(), 200);
    let (job, cause) = ended(&world, &unwanted, FailureClass::Cancelled, 1).await;
    assert_eq!(job["cancelled"], true);
    insta::assert_snapshot!(cause, @"it was cancelled before it ran again");

    world.daemon.kill9();
    world.registry.fault(Fault::None);
    world.daemon.restart().await;
    let job = world.daemon.wait_success(&waits).await;
    assert_eq!((&job["attempt"], &job["class"], &job["advice"]), (&json!(2), &Value::Null, &Value::Null));
}

/// A step that is silent, and one that is not.
async fn a_silent_or_endless_step_times_out(docker: Docker) {
    let settings = [("STALL_TIMEOUT", "6s"), ("JOB_TIMEOUT", "14s")];
    let world = World::start_at(Engine::of(docker), &settings).await;
    for (branch, step) in [("silent", "sleep 1000"), ("chatty", "while true; do echo; sleep 1; done")] {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN {step} # {}\n", unique());
        world.repo.commit(branch, &[("Dockerfile", &dockerfile)]);
    }
    let (silent, chatty) =
        (submit(&world, json!({"branch": "silent"})).await, submit(&world, json!({"branch": "chatty"})).await);
    let (job, cause) = ended(&world, &silent, FailureClass::Timeout, 1).await;
    assert_eq!(job["results"]["build"]["exitCode"], 124);
    insta::assert_snapshot!(cause, @"build: it said and did nothing for 6 s (STALL_TIMEOUT)");
    let (_, cause) = ended(&world, &chatty, FailureClass::Timeout, 1).await;
    insta::assert_snapshot!(cause, @"build: the job took longer than 14 s (JOB_TIMEOUT)");
}

/// JOB_TIMEOUT limits the whole job, including the waits of a push.
#[tokio::test]
async fn job_timeout_includes_the_waits_of_a_push() {
    let world = World::start_with(&[("JOB_TIMEOUT", "10s"), ("STALL_TIMEOUT", "4s"), ("PUSH_RETRY_WAIT", "1h")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    world.registry.fault(Fault::Manifests { status: 503, times: 1 });
    let id = submit(&world, json!({})).await;
    insta::assert_snapshot!(ended(&world, &id, FailureClass::Timeout, 1).await.1, @"push: the job took longer than 10 s (JOB_TIMEOUT)");
}
