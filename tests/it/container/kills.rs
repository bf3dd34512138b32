//! Ends that nobody asked for: of the engine inside, and of the whole container.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{LIMIT, job};
use crate::harness::container::{Container, Factory, Made, image, load_base, privileged, with_socket};
use crate::harness::{
    BASE, CI_TOKEN, COMPOSE_CI, Docker, Engine, Fault, Flow, World, eventually, processes_of, push_payload, succeed,
    unique,
};

on_each_engine!(jobs_in_any_stage_run_again_and_nothing_is_left);
on_docker!(jobs_on_the_hosts_engine_run_again_and_nothing_is_left);

/// The engine inside is killed, and then the container, while there are jobs in every stage. Nothing of the container is left
/// on the host, and each job runs again, at the end by the next container on the same volume.
async fn jobs_in_any_stage_run_again_and_nothing_is_left(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = world.engine.clone();
    let image = image(&engine, "prebuilt-with-engine");
    run_again(world, privileged(docker, &image), true).await;
}

/// The same without an engine inside: the steps of the container's builds end with it, and what its tests leave on the host's
/// engine is removed by the next container.
async fn jobs_on_the_hosts_engine_run_again_and_nothing_is_left(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = world.engine.clone();
    let image = image(&engine, "prebuilt");
    run_again(world, with_socket(&engine, &image), false).await;
}

/// `last` ends the arguments of `docker run`.
async fn run_again(mut world: World, last: Vec<String>, is_inside: bool) {
    let gate = world.gate_git().await;
    let engine = world.engine.clone();
    let volume = Made::volume(&engine);
    let git = world.git.url_at(gate.port());
    let settings =
        [("GIT_URL", git.as_str()), ("HOOK", "sleep 25"), ("CONCURRENCY", "4"), COMPOSE_CI[0], COMPOSE_CI[1]];
    let factory = Factory::new(&world, &volume, &settings, last);
    let (mut commits, mark) = (Vec::new(), unique());
    for (stage, step) in [("build", "sleep 25"), ("test", "true"), ("push", "true"), ("clone", "true")] {
        // The last command of a shell takes the place of the shell, whose arguments have the mark.
        let dockerfile = format!("FROM {BASE}\nRUN : {mark} {stage}; {step}; true\n");
        commits.push((stage, world.git.repo("acme", stage).commit("develop", &[("Dockerfile", &dockerfile)])));
    }
    let first = factory.start(gate.port()).await;
    if is_inside {
        load_base(&engine, &first);
    }
    world.registry.fault(Fault::Hang);
    for (stage, sha) in &commits[..3] {
        match *stage {
            "test" => ci_push(&first, &format!("acme/{stage}"), sha),
            _ => drop(first.done(&["image-factory", "build", &format!("acme/{stage}")])),
        }
    }
    in_stages(&first, &commits[..3], 1).await;

    if is_inside {
        first.done(&["sh", "-c", "kill -9 $(cat /run/image-factory-inner.pid)"]);
        let told = async || first.logs().contains("the engine inside of this container ended").then_some(());
        eventually(LIMIT, "the crash is in the log", told).await;
        in_stages(&first, &commits[..3], 2).await;
        assert!(
            first.logs().contains("attempt ended, another follows failures=1 class=\"engine\""),
            "{}",
            first.logs()
        );
    }
    // A retry fetches, too, so the fetches stall last.
    gate.set(Flow::Stall { after: 0 });
    first.done(&["image-factory", "build", "acme/clone"]);
    in_stages(&first, &commits[3..], 1).await;
    in_stages(&first, &commits[..3], if is_inside { 2 } else { 1 }).await;

    let id = first.inspect("{{.Id}}");
    assert!(!left_of(&id).is_empty());
    let step = async || (!processes_of(&mark).is_empty()).then_some(());
    eventually(LIMIT, "a step of a build runs", step).await;
    engine.docker(&["kill", &first.name]);
    drop(first);
    eventually(LIMIT, "nothing is left", async || left_of(&id).is_empty().then_some(())).await;
    eventually(LIMIT, "no step of a build is left", async || processes_of(&mark).is_empty().then_some(())).await;
    let addresses = succeed(Command::new("ip").args(["address", "show"]), b"").stdout;
    assert!(!String::from_utf8_lossy(&addresses).contains("198.19."), "a bridge of the engine inside is left");

    world.registry.fault(Fault::None);
    gate.set(Flow::Pass);
    let next = factory.start(gate.port()).await;
    for (stage, _) in &commits {
        let repo = format!("acme/{stage}");
        let succeeded = async || (job(&next, &repo)["status"] == "success").then_some(());
        eventually(LIMIT, &format!("the job of the stage {stage} succeeds"), succeeded).await;
    }
    let instance = fs::read_to_string(volume.path().join("instance")).unwrap();
    let label = format!("label=image-factory.instance={}", instance.trim());
    let list = ["ps", "--all", "--filter", &label, "--format", "{{.Names}}"];
    let tests = async || {
        let left = if is_inside { next.done(&[&["docker"], &list[..]].concat()) } else { engine.docker(&list) };
        left.trim().is_empty().then_some(())
    };
    eventually(LIMIT, "no container of a test is left", tests).await;
}

/// Waits until each job is in the stage after which its repository is named, in this attempt.
async fn in_stages(container: &Container<'_>, commits: &[(&str, String)], attempt: u64) {
    for (stage, _) in commits {
        let is_there = async || {
            let job = job(container, &format!("acme/{stage}"));
            (job["attempt"] == attempt && job["results"][stage]["status"] == "running").then_some(())
        };
        eventually(LIMIT, &format!("a job is in attempt {attempt} of the stage {stage}"), is_there).await;
    }
}

/// Sends compose-ci's webhook to the daemon in a container.
fn ci_push(container: &Container, repo: &str, sha: &str) {
    container.post(&format!("/?token={CI_TOKEN}"), &[], &push_payload(repo, "refs/heads/develop", sha));
}

/// Returns what the host has of a container: its mounts, groups and processes.
fn left_of(id: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let groups = succeed(Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", id]), b"").stdout;
    let groups = String::from_utf8_lossy(&groups).into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let is_of = fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|text| text.contains(id));
        is_of.then(|| entry.path().display().to_string())
    });
    let mounts = mounts.lines().filter(|line| line.contains(id)).map(str::to_owned);
    let state = ["/var/lib/docker/containers", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby"];
    let folders = state.map(|dir| Path::new(dir).join(id)).into_iter().filter(|dir| dir.exists());
    mounts
        .chain(groups.lines().map(str::to_owned))
        .chain(processes)
        .chain(folders.map(|dir| dir.display().to_string()))
        .collect()
}
