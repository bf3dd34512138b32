//! The main path: a signed push becomes an image.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Capture, Docker, Engine, Feature, World, masked_json, push_payload, unique};

on_each_engine!(
    a_signed_push_becomes_an_image,
    the_second_push_sends_what_changed,
    only_a_signed_push_builds_a_commit_that_no_branch_has,
);
// Podman finds a pushed image by its tag alone.
on_docker!(a_commit_can_be_named_by_branch_tag_id_and_short_id);

/// Returns a Dockerfile whose step has not run before and whose output is not in its own text.
fn dockerfile() -> String {
    format!("FROM image-factory-busybox:1\nCOPY hello.txt /\nCOPY src /src\nRUN echo a st''ep ran {}\n", unique())
}

async fn a_signed_push_becomes_an_image(docker: Docker) {
    let capture = Capture::start(&[500]);
    let world = World::start_at(Engine::of(docker), &[("HOOK_POST_URL", &capture.url())]).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("hello.txt", "hello\n"), ("src/a", "1")]);
    let response = world.daemon.hook("push", &push_payload("acme/hello", "refs/heads/develop", &sha)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["content-type"], "application/vnd.sh.melt.cdp.if.job.v1+json");
    let made: Value = response.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let image = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    let registry = world.registry.address();
    let values = [(id, "job"), (sha.as_str(), "sha"), (&registry, "registry")];
    insta::assert_snapshot!("made_job", masked_json(&made, &values));

    let job = world.daemon.wait_success(id).await;
    insta::assert_snapshot!("successful_job", masked_json(&job, &values));
    for stage in ["clone", "checkout", "build", "push"] {
        let result = &job["results"][stage];
        assert!(result["startTime"].as_str() <= result["endTime"].as_str() && result["endTime"].is_string(), "{stage}");
    }

    // The digest is the registry's, and the image has the commit's content.
    assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest(&sha).await);
    assert_eq!(world.engine.run(&image, &["cat", "/hello.txt"]), "hello");
    let mut labels: Value = serde_json::from_str(&world.engine.inspect(&image, "{{json .Config.Labels}}")).unwrap();
    labels.as_object_mut().unwrap().remove("io.buildah.version");
    insta::assert_snapshot!("labels", masked_json(&labels, &values));

    let log = world.daemon.log(id).await;
    let stars = "*".repeat(80);
    for command in ["git clone", "git checkout", "docker build", "docker push"] {
        assert!(log.contains(&format!("{stars}\nExecuting: {command}")), "{command} is not framed in\n{log}");
    }
    assert_eq!(log.matches("completed successfuly\nTotal execution time: ").count(), 4, "{log}");
    // Each frame ends with an empty line, as in the original.
    assert_eq!(log.matches(&format!(" ms\n{stars}\n\n")).count(), 4, "{log}");
    assert!(log.contains("a step ran"), "{log}");

    // The first try was answered with 500: the hook is sent again.
    let sent = capture.wait(2, Duration::from_secs(30)).await;
    assert_eq!(sent[0].body, sent[1].body);
    let body: Value = serde_json::from_slice(&sent[1].body).unwrap();
    let digest = &job["digest"];
    let expected = json!({"git": {"owner": "acme", "repo": "hello", "ref": "develop", "commit": sha}, "type": "builder",
        "name": "image-factory", "status": "success", "result": {"image": image},
        "job": {"id": id, "url": format!("http://localhost:8080/job/{id}")}, "commit": sha, "digest": digest,
        "tags": [{"name": image, "digest": digest, "kept": null}], "class": null, "cause": null, "cancelled": false,
        "extra": {}});
    assert_eq!(body, expected);
    let signature = world.daemon.sha1(std::str::from_utf8(&sent[1].body).unwrap());
    assert_eq!(sent[1].headers["x-hook-signature"], signature.as_str());
    assert_eq!(sent[1].headers["content-type"], "application/json");

    // The same delivery again makes no other job.
    let again = world.daemon.hook("push", &push_payload("acme/hello", "refs/heads/develop", &sha)).await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.json::<Value>().await.unwrap()["id"], id);
    assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), 1);
}

async fn the_second_push_sends_what_changed(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let dockerfile = dockerfile();
    let first = world
        .repo
        .commit("develop", &[("Dockerfile", &dockerfile), ("hello.txt", "one\n"), ("src/a", "1"), ("src/b", "2")]);
    let id = world.daemon.push_event("acme/hello", "develop", &first).await;
    world.daemon.wait_success(&id).await;
    let second = world.repo.commit("develop", &[("hello.txt", "two\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &second).await;
    world.daemon.wait_success(&id).await;

    let log = world.daemon.log(&id).await;
    let sent = docker.sent(4, &dockerfile);
    assert_eq!(log.contains(&sent), docker.has(Feature::Buildkit), "{sent}: {log}");
    let image = |sha: &str| format!("{}/totem/acme-hello:{sha}", world.registry.address());
    assert_eq!(world.engine.run(&image(&second), &["cat", "/hello.txt", "/src/b"]), "two\n2");
    assert_eq!(world.engine.run(&image(&first), &["cat", "/hello.txt"]), "one");
    assert_ne!(world.digest(&first).await, world.digest(&second).await);
}

async fn a_commit_can_be_named_by_branch_tag_id_and_short_id(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let dockerfile = "FROM image-factory-busybox:1\nCOPY which /\n";
    let first = world.repo.commit("develop", &[("Dockerfile", dockerfile), ("which", "first")]);
    world.repo.tag("v1.2");
    let second = world.repo.commit("develop", &[("which", "second")]);
    world.repo.commit("feature/x", &[("which", "third")]);

    let cases = [
        (json!({}), "second", "HEAD"),
        (json!({"branch": "develop", "commit": first}), "first", first.as_str()),
        (json!({"branch": "develop", "commit": first[..7]}), "first", &first[..7]),
        (json!({"branch": "feature/x"}), "third", "HEAD"),
        (json!({"branch": "feature/x", "commit": second, "tag": "mine"}), "second", "mine"),
        (json!({"branch": "v1.2", "tag": "release"}), "first", "release"),
    ];
    for (mut request, content, tag) in cases {
        request["owner"] = json!("acme");
        request["repo"] = json!("hello");
        let id = world.daemon.submit(request.clone()).await;
        let job = world.daemon.wait_success(&id).await;
        assert_eq!(job["context"]["tag"], tag, "{request}");
        let image = format!("{}/totem/acme-hello@{}", world.registry.address(), job["digest"].as_str().unwrap());
        assert_eq!(world.engine.run(&image, &["cat", "/which"]), content, "{request}");
        assert_eq!(job["digest"].as_str().map(str::to_owned), world.digest(tag).await, "{request}");
    }

    // The push of a tag makes a job whose branch has the tag's name.
    let response = world.daemon.hook("push", &push_payload("acme/hello", "refs/tags/v1.2", &first)).await;
    let made: Value = response.json().await.unwrap();
    assert_eq!(made["context"]["branch"], "v1.2");
    world.daemon.wait_success(made["id"].as_str().unwrap()).await;
}

/// A commit that a force push has left behind is still built for the signed push that named it. A request without a
/// signature may not name it.
async fn only_a_signed_push_builds_a_commit_that_no_branch_has(docker: Docker) {
    let token = "token-of-who-may-only-build";
    let world = World::start_at(Engine::of(docker), &[("API_TOKENS", &format!("ci:build:{token}"))]).await;
    let first = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY a /\n"), ("a", "1")]);
    let lost = world.repo.commit("develop", &[("a", "2")]);
    world.repo.force("develop", &first);
    // An admin may build any commit. The role `build` may only name one that a ref reaches or that a push named.
    let asked = async || {
        let request = world.daemon.bare_request(reqwest::Method::POST, "/job").bearer_auth(token);
        let made = request.json(&json!({"owner": "acme", "repo": "hello", "commit": lost})).send().await.unwrap();
        made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let job = world.daemon.wait_failure(&asked().await).await;
    assert!(job["cause"].as_str().unwrap().contains(&lost), "{job:#}");

    let id = world.daemon.push_event("acme/hello", "develop", &lost).await;
    world.daemon.wait_success(&id).await;
    let image = format!("{}/totem/acme-hello:{lost}", world.registry.address());
    assert_eq!(world.engine.run(&image, &["cat", "/a"]), "2");
    world.daemon.wait_success(&asked().await).await;
}
