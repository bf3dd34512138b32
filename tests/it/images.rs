//! Names, tags and registries of images, from a signed push to the manifest.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Account, Fault, PASSPHRASE, Registry, World, eventually, gpg_encrypt, push_payload, unique};

fn dockerfile() -> String {
    format!("FROM busybox\nCOPY a /\nRUN echo {}\n", unique())
}

async fn digest(world: &World, repository: &str, tag: &str) -> Option<String> {
    Some(world.registry.manifest(repository, tag).await?.0)
}

#[tokio::test]
async fn one_push_has_many_tags() {
    let world = World::start_with(&[("IMAGE_TAGS", "latest,{branch},{sha},{branch}-{short_sha}")]).await;
    let sha = world.repo.commit("feature/x", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let id = world.daemon.push_event("acme/hello", "feature/x", &sha).await;
    let job = world.daemon.wait_success(&id).await;
    let image = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    assert_eq!(job["image"], image);
    let short = format!("feature-x-{}", &sha[..7]);
    for tag in [&sha, "latest", "feature-x", &short] {
        assert_eq!(world.digest(tag).await.as_ref(), job["digest"].as_str().map(str::to_owned).as_ref(), "{tag}");
    }
    assert_eq!(world.registry.calls("PUT", "/manifests/"), 4);
    let log = world.daemon.log(&id).await;
    assert!(log.contains(&format!("Executing: docker push {image} ")), "{log}");
    for tag in ["latest", "feature-x", &short] {
        assert!(log.contains(&format!("\n{tag}: pushed, the same digest\n")), "{tag}: {log}");
    }
    assert_eq!(log.matches(": Pushed\n").count(), log.matches(": Layer already exists\n").count() + 3, "{log}");

    // A pushed tag is a branch of that name; `latest` moves with every push.
    world.repo.commit("feature/x", &[("a", "2")]);
    world.repo.tag("v1.2");
    let response = world.daemon.hook("push", &push_payload("acme/hello", "refs/tags/v1.2", "HEAD")).await;
    let made: Value = response.json().await.unwrap();
    let job = world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    for tag in ["HEAD", "latest", "v1.2", job["resolvedCommit"].as_str().unwrap()] {
        assert_eq!(world.digest(tag).await.as_deref(), job["digest"].as_str(), "{tag}");
    }
    assert_ne!(world.digest("feature-x").await.as_deref(), job["digest"].as_str());
}

#[tokio::test]
async fn a_push_of_some_tags_is_a_failure_that_names_them() {
    let more = [("IMAGE_TAGS", "latest,{branch}"), ("PUSH_RETRIES", "1"), ("PUSH_RETRY_WAIT", "100ms")];
    let world = World::start_with(&more).await;
    world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let registry = world.registry.address();
    for (tag, there) in [("latest", "; pushed: v1, develop; not pushed: latest"), ("v1", "")] {
        world.registry.fault(Fault::Tag { tag, status: 503 });
        let (before, job) = (world.registry.calls("PUT", "/manifests/v1"), json!({"tag": "v1"}));
        let id = submit(&world, job).await;
        let job = world.daemon.wait_failure(&id).await;
        let message = job["results"]["push"]["err"]["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{registry}: ")) && message.contains("503"), "{message}");
        assert!(message.ends_with(there) && message.contains("; pushed") != there.is_empty(), "{message}");
        // The second try leaves alone what is there.
        let own = world.registry.calls("PUT", "/manifests/v1") - before;
        assert_eq!(own, if tag == "v1" { 2 } else { 1 });
        assert_eq!(job["digest"], Value::Null);
        // The job says of each name what is there.
        let listed = job["tags"].as_array().unwrap();
        let pushed: Vec<_> = listed.iter().map(|listed| !listed["digest"].is_null()).collect();
        assert_eq!(pushed, if tag == "v1" { [false; 3] } else { [true, false, true] }, "{job:#}");
        assert!(listed.iter().all(|listed| listed["kept"].is_null()));
    }
}

async fn submit(world: &World, more: Value) -> String {
    let mut request = json!({"owner": "acme", "repo": "hello"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.daemon.submit(request).await
}

#[tokio::test]
async fn odd_names_become_valid_ones() {
    let world = World::start_with(&[("IMAGE_NAME", "{owner}/{repo}"), ("IMAGE_TAGS", "{branch}")]).await;
    let repo = world.git.repo("Acme", "Hello._World-");
    let branch = "fix/#12@home";
    let sha = repo.commit(branch, &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let id = world.daemon.push_event("Acme/Hello._World-", branch, &sha).await;
    let job = world.daemon.wait_success(&id).await;
    let name = "totem/acme/hello-world-6ea2a8a3";
    assert_eq!(job["image"], format!("{}/{name}:{sha}", world.registry.address()));
    assert_eq!(digest(&world, name, "fix-12-home").await.as_deref(), job["digest"].as_str());

    // A repository may lie deep in its registry.
    world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let base = format!("{}/a/b/c-d", world.registry.address());
    let id = submit(&world, json!({"dockerRepoBase": base, "tag": "V_1"})).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(digest(&world, "a/b/c-d/acme/hello", "V_1").await.as_deref(), job["digest"].as_str());
    world.engine.remove_images(&format!("reference={base}/*/*"));
    world.engine.remove_images(&format!("reference={}/totem/acme/*", world.registry.address()));
}

const BUILDER: Account = Account { user: "builder", password: "s3cret:pass", actions: &["pull", "push"] };
const READER: Account = Account { user: "reader", password: "s3cret:read", actions: &["pull"] };

#[tokio::test]
async fn a_registry_with_tokens_is_pushed_to_and_pulled_from() {
    let registry = Registry::with_tokens(&[BUILDER, READER]).await;
    let world = World::start_on(registry, (BUILDER.user, BUILDER.password), &[("IMAGE_TAGS", "latest")]).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_success(&id).await;
    for tag in [&sha, "latest"] {
        assert_eq!(world.digest(tag).await.as_deref(), job["digest"].as_str(), "{tag}");
    }
    let asked = world.registry.token_calls();
    assert!(!asked.is_empty() && asked.iter().all(|call| call.user.as_deref() == Some("builder")), "{asked:?}");
    assert!(asked.iter().any(|call| call.scopes == ["repository:totem/acme-hello:push,pull"]), "{asked:?}");

    // As a base image, by the same login.
    let base = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    world.engine.docker(&["rmi", &base, &base.replace(&sha, "latest")]);
    world.repo.commit("develop", &[("Dockerfile", &format!("FROM {base}\nRUN echo {}\n", unique()))]);
    let id = submit(&world, json!({"tag": "second"})).await;
    world.daemon.wait_success(&id).await;

    world.repo.commit("develop", &[("Dockerfile", &dockerfile())]);
    // Each of these logins is used by the next job, and none is shown.
    let reader = STANDARD.encode(format!("{}:{}", READER.user, READER.password));
    for (entry, message) in [
        (json!({"identitytoken": BUILDER.identity_token()}), None),
        (json!({"auth": STANDARD.encode("builder:s3cret:wrong")}), Some("is the login in the dockercfg right")),
        (json!({"auth": reader}), Some("may it push there?")),
        (Value::Null, Some("the dockercfg has no login for it: `image-factory secrets put dockercfg FILE`")),
    ] {
        let address = world.registry.address();
        let other = if entry.is_null() { "other.invalid" } else { &address };
        let config = json!({"auths": {other: if entry.is_null() { json!({"auth": reader}) } else { entry }}});
        let loaded = || world.daemon.output().matches("dockercfg: loaded").count();
        let before = loaded();
        world.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&config.to_string(), PASSPHRASE)).await;
        eventually(Duration::from_secs(15), "it is read", async || (loaded() > before).then_some(())).await;
        let id = submit(&world, json!({"tag": "third"})).await;
        let job = world.daemon.wait(&id).await;
        match message {
            None => assert_eq!(job["status"], "success", "{job:#}"),
            Some(message) => {
                let said = job["results"]["push"]["err"]["message"].as_str().unwrap_or_else(|| panic!("{job:#}"));
                assert!(said.starts_with(&format!("{address}: ")) && said.contains(message), "{said}");
            }
        }
        let shown = world.daemon.log(&id).await + &world.daemon.output() + &job.to_string();
        assert!(!shown.contains("s3cret") && !shown.contains(&reader), "a secret is shown");
    }
}
