//! Registries that would have their logins sent to another host.

use reqwest::Method;
use serde_json::{Value, json};

use super::{BASE_PASSWORD, LIMIT, build, put_base, stored};
use crate::harness::{Account, COMPOSE_CI, Docker, Engine, Registry, World, dockercfg, unique};

on_each_engine!(no_login_goes_to_the_token_server_of_another_domain);

const READER: Account = Account { user: "reader", password: BASE_PASSWORD, actions: &["pull", "push"] };

pub(super) async fn with(world: &mut World, settings: &[(&str, &str)]) {
    settings.iter().for_each(|(name, value)| world.daemon.set(name, value));
    world.daemon.term(LIMIT).await;
    world.daemon.restart().await;
}

/// Has Conveyor's API build a new commit, and returns the job's id.
pub(super) async fn conveyor_build(world: &World, base: &str) -> String {
    world.repo.commit("develop", &[("Dockerfile", &format!("FROM {base}\nRUN : {}\n", unique()))]);
    let body = json!({"repository": "acme/hello", "branch": "develop"});
    let answer = world.daemon.request(Method::POST, "/builds").json(&body).send().await.unwrap();
    let build: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    build["id"].as_str().unwrap_or_else(|| panic!("{build}")).to_owned()
}

/// The token server is on 127.0.0.2 and the registry on 127.0.0.1. The engine would ask it with the login for a base image
/// of both builders, a test's image, a cache and a push.
async fn no_login_goes_to_the_token_server_of_another_domain(docker: Docker) {
    let foreign = Registry::with_tokens_elsewhere(&[READER]).await;
    let base = format!("{}/private/base:{}", foreign.address(), unique());
    let own = [("HOOK", "true"), ("BUILD_IMAGE", base.as_str()), ("INLINE_CACHE", "1")];
    let mut world = World::start_at(Engine::of(docker), &[&COMPOSE_CI[..], &own].concat()).await;
    world.daemon.guard("the password of the base images", BASE_PASSWORD);
    put_base(&world.engine, &foreign, &base);
    world.engine.docker(&["rmi", &base]);
    stored(&world, "acme/hello", &dockercfg(&foreign.address(), READER.user, READER.password)).await;
    let asked = foreign.token_calls().len();
    let refused = |job: &Value| {
        let cause = job["cause"].as_str().unwrap();
        assert_eq!(job["class"], "config", "{job:#}");
        assert!(cause.contains("have it sent to 127.0.0.2") && cause.contains("TOKEN_SERVERS_ALLOWED"), "{cause}");
    };

    let id = build(&world, &world.repo, "hello", &base).await;
    refused(&world.daemon.wait_failure(&id).await);
    let sha = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let id = world.ci_push("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_failure(&id).await;
    refused(&job);
    assert!(job["cause"].as_str().unwrap().starts_with("test: BUILD_IMAGE="), "{job:#}");
    // The classic builder gets all logins, and a registry that only the engine may reach is a warning.
    let other = json!({"auths": {
        foreign.address(): {"username": READER.user, "password": READER.password},
        "registry.invalid": {"username": "u", "password": "p"},
    }});
    stored(&world, "acme/hello", &other.to_string()).await;
    with(&mut world, &[("BUILDER", "classic")]).await;
    let id = build(&world, &world.repo, "hello", &base).await;
    refused(&world.daemon.wait_failure(&id).await);
    let warning = "the engine gets the login of registry.invalid, whose token server is unknown here";
    assert!(world.daemon.output().contains(warning), "{}", world.daemon.output());

    let images = format!("{}/totem", foreign.address());
    with(&mut world, &[("BUILDER", "auto"), ("DOCKER_REPO_BASE", &images)]).await;
    let id = conveyor_build(&world, "image-factory-busybox:1").await;
    let job = world.daemon.wait_failure(&id).await;
    refused(&job);
    assert!(job["cause"].as_str().unwrap().starts_with("push: "), "{job:#}");
    let log = world.daemon.log(&id).await;
    assert!(log.contains("No image is taken as a cache: its password was not sent"), "{log}");
    let with_login = foreign.token_calls().split_off(asked).into_iter().filter(|call| call.user.is_some());
    assert_eq!(with_login.count(), 0);

    with(&mut world, &[("TOKEN_SERVERS_ALLOWED", "127.0.0.2")]).await;
    let id = conveyor_build(&world, &base).await;
    world.daemon.wait_success(&id).await;
    let pushed = format!("{images}/acme-hello");
    let names = world.engine.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &pushed]);
    names.lines().for_each(|name| drop(world.engine.docker(&["rmi", name])));
}
