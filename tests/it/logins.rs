//! Registry logins of single repositories.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Docker, Engine, PASSPHRASE, Registry, Repo, World, dockercfg, eventually, folder, gpg_encrypt, unique,
};

mod doors;
mod realms;

on_each_engine!(the_classic_builder_gets_the_login_of_the_repository);
// BuildKit alone asks for a base image's login although the engine has the image.
on_docker!(
    a_repository_has_its_own_logins_and_no_other_ones,
    pull_always_asks_whether_a_repository_may_read_what_the_engine_has
);

const LIMIT: Duration = Duration::from_secs(20);
const BASE_PASSWORD: &str = "password of the base images";

/// Puts an image into the registry, and leaves it in the engine.
fn put_base(engine: &Engine, registry: &Registry, image: &str) {
    let (dir, login) = (folder(), folder());
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {} > /secret\n", unique());
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let config = dockercfg(&registry.address(), "reader", BASE_PASSWORD);
    std::fs::write(login.path().join("config.json"), config).unwrap();
    engine.docker(&["build", "-t", image, dir.path().to_str().unwrap()]);
    engine.docker(&["--config", login.path().to_str().unwrap(), "push", image]);
}

async fn stored(world: &World, repo: &str, config: &str) {
    let name = format!("image-factory/dockercfgs/{repo}");
    world.etcd.put(&format!("/totem/{name}"), gpg_encrypt(config, PASSPHRASE)).await;
    let line = format!("{name}: loaded");
    eventually(LIMIT, "the dockercfg is read", async || world.daemon.output().contains(&line).then_some(())).await;
}

async fn build(world: &World, repo: &Repo, name: &str, base: &str) -> String {
    repo.commit("develop", &[("Dockerfile", &format!("FROM {base}\nRUN : {}\n", unique()))]);
    world.daemon.submit(json!({"owner": "acme", "repo": name, "branch": "develop"})).await
}

async fn a_repository_has_its_own_logins_and_no_other_ones(docker: Docker) {
    let bases = Registry::with_password("reader", BASE_PASSWORD).await;
    let mut world = World::start_at(Engine::of(docker), &[]).await;
    world.daemon.guard("the password of the base images", BASE_PASSWORD);
    let base = format!("{}/private/base:{}", bases.address(), unique());
    put_base(&world.engine, &bases, &base);
    world.engine.docker(&["rmi", &base]);
    let [other, third] = ["other", "third"].map(|name| world.git.repo("acme", name));
    stored(&world, "acme/hello", &dockercfg(&bases.address(), "reader", BASE_PASSWORD)).await;
    stored(&world, "acme/third", &dockercfg(&world.registry.address(), "builder", "not its password")).await;

    // The repository has its own login for the base image, and the common one for its push.
    let id = build(&world, &world.repo, "hello", &base).await;
    world.daemon.wait_success(&id).await;
    // Another repository of the owner has no login for the base image, also right after a build that had it.
    let id = build(&world, &other, "other", &base).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["class"], "registry-auth", "{job:#}");
    assert!(job["cause"].as_str().unwrap().contains("no login that may read it"), "{job:#}");
    let id = build(&world, &other, "other", "image-factory-busybox:1").await;
    world.daemon.wait_success(&id).await;
    // A login of its own is used in the place of the common one.
    let id = build(&world, &third, "third", "image-factory-busybox:1").await;
    let job = world.daemon.wait_failure(&id).await;
    assert!(job["cause"].as_str().unwrap().starts_with("push: "), "{job:#}");
    assert!(!world.registry.has_tag("totem/acme-third", "develop"));
    // Once the owner's repositories have the login, the other repository builds upon the base image, too.
    stored(&world, "acme", &dockercfg(&bases.address(), "reader", BASE_PASSWORD)).await;
    let id = build(&world, &other, "other", &base).await;
    world.daemon.wait_success(&id).await;
}

async fn the_classic_builder_gets_the_login_of_the_repository(docker: Docker) {
    let bases = Registry::with_password("reader", BASE_PASSWORD).await;
    let mut world = World::start_at(Engine::of(docker), &[("BUILDER", "classic")]).await;
    world.daemon.guard("the password of the base images", BASE_PASSWORD);
    let base = format!("{}/private/base:{}", bases.address(), unique());
    put_base(&world.engine, &bases, &base);
    world.engine.docker(&["rmi", &base]);
    let other = world.git.repo("acme", "other");
    stored(&world, "acme/hello", &dockercfg(&bases.address(), "reader", BASE_PASSWORD)).await;
    let id = build(&world, &other, "other", &base).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["class"], "registry-auth", "{job:#}");
    let id = build(&world, &world.repo, "hello", &base).await;
    world.daemon.wait_success(&id).await;
    world.engine.docker(&["rmi", &base]);
}

/// An engine builds upon an image that it has, whoever pulled it.
async fn pull_always_asks_whether_a_repository_may_read_what_the_engine_has(docker: Docker) {
    let bases = Registry::with_password("reader", BASE_PASSWORD).await;
    let mut world = World::start_at(Engine::of(docker), &[("PULL", "always")]).await;
    world.daemon.guard("the password of the base images", BASE_PASSWORD);
    let base = format!("{}/private/base:{}", bases.address(), unique());
    put_base(&world.engine, &bases, &base);
    let other = world.git.repo("acme", "other");
    stored(&world, "acme/hello", &dockercfg(&bases.address(), "reader", BASE_PASSWORD)).await;
    let id = build(&world, &world.repo, "hello", &base).await;
    world.daemon.wait_success(&id).await;
    let id = build(&world, &other, "other", &base).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["class"], "registry-auth", "{job:#}");
    let body = json!({"owner": "acme", "repo": "other", "branch": "develop", "build": {"pull": "missing"}});
    let id = world.daemon.submit(body).await;
    world.daemon.wait_success(&id).await;
    world.engine.docker(&["rmi", &base]);
}
