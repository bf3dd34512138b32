//! What builds of different repositories and branches share on an engine.

use serde_json::json;

use crate::harness::{Docker, Engine, Feature, Repo, World, unique};

on_each_engine!(a_protected_build_runs_every_step, builds_at_once_lose_no_cached_step);
// Podman knows no namespaces of cache mounts, see docs/security.md.
on_docker!(a_cache_mount_is_of_one_repository_and_tier);
on_podman!(a_log_says_that_cache_mounts_are_not_kept_apart);

/// Builds a commit that reads and adds to a cache mount, and returns what was there.
async fn visit(world: &World, repo: &Repo, name: &str, branch: &str, mount: &str) -> String {
    let visitor = unique();
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nRUN --mount=type=cache,id={mount},target=/c : {visitor}; \
         echo fo''und=\"$(cat /c/who 2>/dev/null).\"; printf {branch}, >> /c/who\n"
    );
    let sha = repo.commit(branch, &[("Dockerfile", &dockerfile)]);
    let id = world.daemon.push_event(name, branch, &sha).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    let (_, found) = log.split_once("found=").unwrap_or_else(|| panic!("{log}"));
    found.split_once('.').unwrap().0.to_owned()
}

async fn a_cache_mount_is_of_one_repository_and_tier(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PROTECTED", "main,release/*")]).await;
    let (other, mount) = (world.git.repo("acme", "other"), unique());
    assert_eq!(visit(&world, &world.repo, "acme/hello", "wip", &mount).await, "");
    meet(&world, ["wip", "next"], &mount).await;
    // BuildKit begins a build without cached steps with empty cache mounts.
    for (repo, name, branch) in [
        (&other, "acme/other", "wip"),
        (&world.repo, "acme/hello", "main"),
        (&world.repo, "acme/hello", "release/1"),
        (&other, "acme/other", "main"),
    ] {
        assert_eq!(visit(&world, repo, name, branch, &mount).await, "", "{name} {branch}");
    }
    meet(&world, ["next", "wip"], &mount).await;
}

/// Visits until the second branch finds what the first one left, and nothing but what unprotected branches of this repository
/// leave. BuildKit of 20.10 gives a build an empty mount while `/system/df` measures the kept one, and other tests ask for
/// that.
async fn meet(world: &World, branches: [&str; 2], mount: &str) {
    for _ in 0..5 {
        let mut found = String::new();
        for branch in branches {
            found = visit(world, &world.repo, "acme/hello", branch, mount).await;
            assert!(found.split(',').all(|visitor| ["", "wip", "next"].contains(&visitor)), "{found}");
        }
        if found.contains(branches[0]) {
            return;
        }
    }
    panic!("no build found what the one before left");
}

async fn a_log_says_that_cache_mounts_are_not_kept_apart(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    for (step, is_told) in [("RUN --mount=type=cache,target=/c", true), ("RUN", false)] {
        let dockerfile = format!("FROM image-factory-busybox:1\n{step} : {}\n", unique());
        let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        world.daemon.wait_success(&id).await;
        let log = world.daemon.log(&id).await;
        assert_eq!(log.contains("Podman keeps no cache mounts apart"), is_told, "{log}");
    }
}

async fn a_protected_build_runs_every_step(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("PROTECTED", "main"), ("BUILD_PROXY", "http://proxy:1")]).await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; echo ra''n by $http_proxy\n", unique());
    world.repo.commit("wip", &[("Dockerfile", &dockerfile)]);
    world.repo.git(&["push", "-q", "origin", "HEAD:refs/heads/main"]);
    for (branch, runs) in [("wip", true), ("wip", false), ("main", true), ("main", true)] {
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": branch})).await;
        world.daemon.wait_success(&id).await;
        let log = world.daemon.log(&id).await;
        assert_eq!(log.contains("ran by http://proxy:1/\n"), runs, "{branch}: {log}");
    }
}

/// Three builds whose first step is the same and not yet cached. BuildKit runs it once for all of them, so they gain by
/// being built at once, and elsewhere each runs its own. A later build has it from the cache in either case.
async fn builds_at_once_lose_no_cached_step(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("CONCURRENCY", "3")]).await;
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nRUN : {}; sleep 2; head -c 8 /dev/urandom | od -An -tx1 > /drawn\nCOPY own /own\n",
        unique()
    );
    let submit = async |branch: &str| {
        world.repo.commit(branch, &[("Dockerfile", &dockerfile), ("own", branch)]);
        world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": branch})).await
    };
    let drawn = async |id: &str| {
        let job = world.daemon.wait_success(id).await;
        world.engine.run(job["image"].as_str().unwrap(), &["cat", "/drawn"])
    };
    let at_once = [submit("one").await, submit("two").await, submit("three").await];
    let mut found = Vec::new();
    for id in &at_once {
        found.push(drawn(id).await);
    }
    let later = drawn(&submit("later").await).await;
    assert!(found.contains(&later), "{later}: {found:?}");
    if docker.has(Feature::Buildkit) {
        assert!(found.iter().all(|one| *one == later), "{later}: {found:?}");
    }
}
