//! The logins of a repository wherever an image of a registry is asked for: tests, caches, `doctor`.

use std::process::Command;

use super::realms::{conveyor_build, with};
use super::{BASE_PASSWORD, put_base, stored};
use crate::harness::{
    COMPOSE_CI, Docker, Engine, PASSPHRASE, REGISTRY_PASSWORD, Registry, World, dockercfg, eventually, gpg_encrypt,
    masked, succeed, unique,
};

on_each_engine!(images_of_tests_come_with_the_login_of_the_repository);
// Podman takes no cache by a tag or a digest.
on_docker!(a_cache_comes_with_the_login_of_the_repository);

/// Has compose-ci's API test a new commit, and returns the job's id.
async fn tested(world: &World, repo: &str, more: &[(&str, &str)]) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1\nLABEL unique={}\n", unique());
    let files = [&[("Dockerfile", dockerfile.as_str())], more].concat();
    let sha = world.git.repo("acme", repo).commit("develop", &files);
    world.ci_push(&format!("acme/{repo}"), "develop", &sha).await
}

async fn images_of_tests_come_with_the_login_of_the_repository(docker: Docker) {
    let bases = Registry::with_password("reader", BASE_PASSWORD).await;
    let base = format!("{}/private/base:{}", bases.address(), unique());
    let own = [("HOOK", "true"), ("BUILD_IMAGE", base.as_str())];
    let mut world = World::start_at(Engine::of(docker), &[&COMPOSE_CI[..], &own, docker.limits()].concat()).await;
    world.daemon.guard("the password of the base images", BASE_PASSWORD);
    put_base(&world.engine, &bases, &base);
    world.engine.docker(&["rmi", &base]);
    stored(&world, "acme/mine", &dockercfg(&bases.address(), "reader", BASE_PASSWORD)).await;

    let job = world.daemon.wait_failure(&tested(&world, "other", &[]).await).await;
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("test: BUILD_IMAGE={base} cannot be had: ")), "{cause}");
    world.daemon.wait_success(&tested(&world, "mine", &[]).await).await;
    world.engine.docker(&["rmi", &base]);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/compose-image");
    let version = if docker == Docker::V20 { "1" } else { "2" };
    let made = succeed(Command::new(script).arg(version).env("DOCKER_HOST", &world.engine.host), b"").stdout;
    let compose = String::from_utf8(made).unwrap();
    with(&mut world, &[("HOOK", ""), ("HOOK_SOCKET", "acme/*"), ("BUILD_IMAGE", compose.trim())]).await;
    let file = format!("version: '2.4'\nservices:\n  tests: {{image: '{base}', command: 'true'}}\n");
    let files = [("docker-compose.yml", file.as_str())];
    let other = tested(&world, "other", &files).await;
    world.daemon.wait_failure(&other).await;
    let log = world.daemon.log(&other).await;
    assert!(log.contains(&format!("{base} is not pulled: ")), "{log}");
    let mine = tested(&world, "mine", &files).await;
    world.daemon.wait_success(&mine).await;
    let log = world.daemon.log(&mine).await;
    assert!(log.contains(&format!("{base} is pulled\n")), "{log}");
    world.engine.docker(&["rmi", &base]);
}

/// Replaces the common dockercfg.
async fn common(world: &World, config: &str) {
    let before = world.daemon.output().matches("image-factory/dockercfg: loaded").count();
    world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(config, PASSPHRASE)).await;
    let read =
        async || (world.daemon.output().matches("image-factory/dockercfg: loaded").count() > before).then_some(());
    eventually(super::LIMIT, "the common dockercfg is read", read).await;
}

async fn a_cache_comes_with_the_login_of_the_repository(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("INLINE_CACHE", "1")]).await;
    stored(&world, "acme/hello", &dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD)).await;
    common(&world, &dockercfg(&world.registry.address(), "builder", "not its password")).await;
    let job = world.daemon.wait_success(&conveyor_build(&world, "image-factory-busybox:1").await).await;
    // An engine with an image of its own asks for no other.
    for tag in job["tags"].as_array().unwrap() {
        world.engine.docker(&["rmi", tag["name"].as_str().unwrap()]);
    }
    let id = conveyor_build(&world, "image-factory-busybox:1").await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    let image = format!("{}/totem/acme-hello:develop", world.registry.address());
    assert!(log.contains(&format!("The layers of {image} (sha256:")), "{log}");
}

#[tokio::test]
async fn doctor_tries_the_login_of_the_repository() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    stored(&world, "acme/hello", &dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD)).await;
    common(&world, &dockercfg(&world.registry.address(), "builder", "not its password")).await;
    let mut said = String::new();
    for repo in ["acme/hello", "acme/other"] {
        let found = String::from_utf8(world.daemon.beside(&["doctor", "--repo", repo]).run().stdout).unwrap();
        said += found.lines().find(|line| line[5..].starts_with("registry: ")).unwrap();
        said += "\n";
    }
    insta::assert_snapshot!(masked(&said, &[(&world.registry.address(), "registry")]), @r"
    ok   registry: [registry] takes pushes to totem/acme-hello from builder
    BAD  registry: [registry] does not accept the login of builder in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    ");
}
