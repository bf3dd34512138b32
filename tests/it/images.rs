//! Names, tags and registries of images, from a signed push to the manifest.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{
    Account, Fault, PASSPHRASE, Registry, World, eventually, gpg_encrypt, masked, push_payload, unique,
};

fn dockerfile() -> String {
    format!("FROM image-factory-busybox:1\nCOPY a /\nRUN echo {}\n", unique())
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
    let mut messages = Vec::new();
    for tag in ["latest", "v1"] {
        world.registry.fault(Fault::Tag { tag, status: 503 });
        let (before, job) = (world.registry.calls("PUT", "/manifests/v1"), json!({"tag": "v1"}));
        let id = submit(&world, job).await;
        let job = world.daemon.wait_failure(&id).await;
        let message = job["results"]["push"]["err"]["message"].as_str().unwrap();
        messages.push(masked(message, &[(&world.registry.address(), "registry")]));
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
    insta::assert_snapshot!(messages.join("\n"), @r"
    [registry]: received unexpected HTTP status: 503 Service Unavailable; pushed: v1, develop; not pushed: latest
    [registry]: received unexpected HTTP status: 503 Service Unavailable
    ");
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

#[tokio::test]
async fn the_dockerfiles_of_a_commit_are_images_of_their_own() {
    let world = World::start().await;
    let paths = ["Dockerfile", "services/api/Dockerfile", "libs/api/Dockerfile", "web.Dockerfile"];
    let texts = paths.map(|_| dockerfile());
    let mut files: Vec<_> = paths.iter().copied().zip(texts.iter().map(String::as_str)).collect();
    files.push(("a", "1"));
    world.repo.commit("develop", &files);
    // All wait at once: no name is decided by who ends first.
    let mut ids = Vec::new();
    for path in paths {
        ids.push(submit(&world, json!({"build": {"dockerfile": path}, "tag": "v1"})).await);
    }
    ids.push(submit(&world, json!({"build": {"image": "tools/lint"}, "tag": "v1"})).await);
    let base = format!("{}/", world.registry.address());
    let mut made = Vec::new();
    for id in &ids {
        let job = world.daemon.wait_success(id).await;
        let name = job["image"].as_str().unwrap().strip_prefix(&base).unwrap().strip_suffix(":v1").unwrap().to_owned();
        made.push((name, job["digest"].as_str().unwrap().to_owned()));
    }
    let names: Vec<_> = made.iter().map(|(name, _)| name.strip_prefix("totem/acme-hello").unwrap()).collect();
    let hash = names[2].strip_prefix("/api-").unwrap();
    assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{names:?}");
    assert_eq!([names[0], names[1], names[3], names[4]], ["", "/api", "/web", "/tools/lint"]);
    for (name, pushed) in &made {
        assert_eq!(digest(&world, name, "v1").await.as_ref(), Some(pushed), "{name}");
    }
    let digests: std::collections::BTreeSet<_> = made[..4].iter().map(|(_, digest)| digest).collect();
    assert_eq!(digests.len(), 4, "{made:?}");
    let log = world.daemon.log(&ids[0]).await;
    assert!(!log.contains("is also the image of"), "{log}");
}

#[tokio::test]
async fn a_name_elsewhere_is_refused_until_it_is_granted() {
    let registry = Registry::with_password("builder", "registry password").await;
    let elsewhere = format!("{}/elsewhere/site", registry.address());
    let grant = format!("other/*={0}/x,acme/hello={0}/elsewhere/*", registry.address());
    let world = World::start_on(registry, ("builder", "registry password"), &[("IMAGES_ALLOWED", &grant)]).await;
    world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let build = async |image: &str| {
        let output = world.daemon.cli(&["build", "acme/hello", "--image", image, "--tag", "v1"]).run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8(output.stdout).unwrap().trim().to_owned(), said)
    };
    let other = format!("{}/x", world.registry.address());
    let mut refusals = String::new();
    for image in [&*other, "site:v2"] {
        let (code, _, said) = build(image).await;
        assert_eq!(code, Some(5), "{image}: {said}");
        refusals += &said;
    }
    insta::assert_snapshot!(masked(&refusals, &[(&world.registry.address(), "registry")]), @r"
    image-factory: refused (403 NotAuthorized): [registry]/x is not below [registry]/totem/acme-hello: leave the name to the daemon, or have its operator set IMAGES_ALLOWED=acme/hello=[registry]/x
    image-factory: refused (400 InvalidContent): build.image: image is not valid: it must be a name without a tag, such as api or quay.io/acme/api: lower-case letters and digits, and between them one '.', one or two '_', any number of '-', or '/'
    ");
    let (code, id, said) = build(&elsewhere).await;
    assert_eq!(code, Some(0), "{said}");
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["image"], format!("{elsewhere}:v1"));
    assert_eq!(digest(&world, "elsewhere/site", "v1").await.as_deref(), job["digest"].as_str());
}

/// `a-b/c` and `a/b-c` are one name to totem, and stay it.
#[tokio::test]
async fn two_repositories_with_the_same_image_name_are_reported() {
    let world = World::start_with(&[("REPO_CASE", "ignore")]).await;
    let image = format!("{}/totem/a-b-c", world.registry.address());
    let mut logs = Vec::new();
    for (owner, name) in [("a-b", "c"), ("A", "b-c")] {
        let sha = world.git.repo(owner, name).commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
        let id = world.daemon.push_event(&format!("{owner}/{name}"), "develop", &sha).await;
        assert_eq!(world.daemon.wait_success(&id).await["image"], format!("{image}:{sha}"));
        logs.push(world.daemon.log(&id).await);
    }
    assert!(!logs[0].contains("is also the image of"), "{}", logs[0]);
    let told = logs[1].lines().find(|line| line.starts_with(&image)).unwrap_or_else(|| panic!("{}", logs[1]));
    insta::assert_snapshot!(masked(told, &[(&image, "image")]), @"[image] is also the image of a-b/c: their tags replace each other. IMAGE_NAME={owner}/{repo} gives each repository a name of its own.");

    let doctor = |more: &[(&str, &str)]| {
        let cli = world.daemon.beside(&["doctor"]);
        let cli = more.iter().fold(cli, |cli, (name, value)| cli.env(name, value));
        let output = String::from_utf8(cli.run().stdout).unwrap();
        output.lines().find(|line| line.contains(" images: ")).unwrap().to_owned()
    };
    let found = doctor(&[]);
    insta::assert_snapshot!(masked(&found, &[(&image, "image")]), @"warn images: a-b/c and a/b-c are pushed as one image, [image], where their tags replace each other: set IMAGE_NAME={owner}/{repo}");
    assert_eq!(doctor(&[("IMAGE_NAME", "{owner}/{repo}")]), "ok   images: no two repositories share one");
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

    // A base image is pulled with the same login.
    let base = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    world.engine.docker(&["rmi", &base, &base.replace(&sha, "latest")]);
    world.repo.commit("develop", &[("Dockerfile", &format!("FROM {base}\nRUN echo {}\n", unique()))]);
    let id = submit(&world, json!({"tag": "second"})).await;
    world.daemon.wait_success(&id).await;

    world.repo.commit("develop", &[("Dockerfile", &dockerfile())]);
    // Each of these logins is used by the next job, and none is shown.
    let reader = STANDARD.encode(format!("{}:{}", READER.user, READER.password));
    let mut messages = Vec::new();
    for (entry, is_enough) in [
        (json!({"identitytoken": BUILDER.identity_token()}), true),
        (json!({"auth": STANDARD.encode("builder:s3cret:wrong")}), false),
        (json!({"auth": reader}), false),
        (Value::Null, false),
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
        if is_enough {
            assert_eq!(job["status"], "success", "{job:#}");
        } else {
            let said = job["results"]["push"]["err"]["message"].as_str().unwrap_or_else(|| panic!("{job:#}"));
            messages.push(masked(said, &[(&address, "registry")]));
        }
        let shown = world.daemon.log(&id).await + &world.daemon.output() + &job.to_string();
        assert!(!shown.contains("s3cret") && !shown.contains(&reader), "a secret is shown");
    }
    insta::assert_snapshot!(messages.join("\n"), @r"
    [registry]: unauthorized: HTTP Basic: Access denied; is the login in the dockercfg right, and may it push there?
    [registry]: errors: denied: requested access to the resource is denied unauthorized: authentication required; is the login in the dockercfg right, and may it push there?
    [registry] asks for a login, and the dockercfg has none for it (unauthorized: HTTP Basic: Access denied): store one by `image-factory secrets put dockercfg FILE`
    ");
}
