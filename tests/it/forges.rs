//! Pushes that Gitea reports, and the tags that depend on the ref.

use serde_json::{Value, json};

use crate::harness::{World, unique};

const TAGS: &str = "latest@default,{branch}@release/*,{version},{major}.{minor},newest@version";

/// Sends a push as Gitea does, as a form. Returns the job's id.
async fn pushed(world: &World, git_ref: &str, commit: &str) -> String {
    let payload = json!({
        "ref": git_ref, "before": "0".repeat(40), "after": commit, "commits": null, "head_commit": {"id": commit},
        "repository": {"name": "hello", "full_name": "acme/hello", "default_branch": "main",
            "owner": {"login": "acme", "username": "acme"}},
    });
    let payload = serde_json::to_string_pretty(&payload).unwrap();
    let signature = world.daemon.sha256(&payload);
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload).finish();
    let request = world.daemon.bare_request(reqwest::Method::POST, "/hooks/github");
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").header("X-Gitea-Event", "push");
    let request = request.header("X-GitHub-Event", "push").header("X-Gitea-Signature", signature);
    let answer = request.body(form).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

fn commit(world: &World, branch: &str) -> String {
    let dockerfile = "FROM image-factory-busybox:1\nCOPY n /\n";
    world.repo.commit(branch, &[("Dockerfile", dockerfile), ("n", &unique())])
}

/// Returns the tags that the job has pushed beside its own, and those that it left where they are.
async fn tags(world: &World, id: &str) -> [Vec<String>; 2] {
    let job = world.daemon.wait_success(id).await;
    let tags = job["tags"].as_array().unwrap()[1..].to_vec();
    [false, true].map(|is_kept| {
        let tags = tags.iter().filter(|tag| tag["kept"].is_null() != is_kept);
        tags.map(|tag| tag["name"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
    })
}

#[tokio::test]
async fn a_condition_decides_which_pushes_get_a_tag() {
    let world = World::start_with(&[("IMAGE_TAGS", TAGS)]).await;
    let none: [&str; 0] = [];
    let main = commit(&world, "main");
    assert_eq!(tags(&world, &pushed(&world, "refs/heads/main", &main).await).await, [vec!["latest"], vec![]]);
    let wip = commit(&world, "wip");
    assert_eq!(tags(&world, &pushed(&world, "refs/heads/wip", &wip).await).await, [none, none]);
    let release = commit(&world, "release/1.2");
    let release = pushed(&world, "refs/heads/release/1.2", &release).await;
    assert_eq!(tags(&world, &release).await, [vec!["release-1.2"], vec![]]);

    // A request has no payload, so the server is asked for its default branch.
    let asked =
        async |branch: &str| world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": branch})).await;
    let bare = world.repo.bare.to_str().unwrap();
    world.repo.git(&["--git-dir", bare, "symbolic-ref", "HEAD", "refs/heads/wip"]);
    assert_eq!(tags(&world, &asked("wip").await).await, [vec!["latest"], vec![]]);
    assert_eq!(tags(&world, &asked("main").await).await, [none, none]);
    let detached = std::fs::read_to_string(world.repo.bare.join("refs/heads/wip")).unwrap();
    std::fs::write(world.repo.bare.join("HEAD"), detached).unwrap();
    let job = asked("wip").await;
    assert_eq!(tags(&world, &job).await, [none, none]);
    let log = world.daemon.log(&job).await;
    let line = "latest@default is left out, because the server does not say which branch is the default one";
    assert!(log.contains(line), "{log}");
}

#[tokio::test]
async fn the_greatest_version_has_the_tags_of_versions() {
    let world = World::start_with(&[("IMAGE_TAGS", TAGS)]).await;
    let mut jobs = Vec::new();
    for (name, pushes, keeps) in [
        ("v1.2.4", vec!["1.2.4", "1.2", "newest"], vec![]),
        ("v1.2.10", vec!["1.2.10", "1.2", "newest"], vec![]),
        ("v1.2.9", vec!["1.2.9"], vec!["1.2", "newest"]),
        ("v1.1.1", vec!["1.1.1", "1.1"], vec!["newest"]),
        ("v2.0.0-rc.1", vec!["2.0.0-rc.1"], vec![]),
        ("nightly", vec![], vec![]),
    ] {
        let commit = commit(&world, "main");
        world.repo.tag(name);
        let job = pushed(&world, &format!("refs/tags/{name}"), &commit).await;
        assert_eq!(tags(&world, &job).await, [pushes, keeps], "{name}");
        jobs.push(job);
    }
    let log = world.daemon.log(&jobs[2]).await;
    assert!(log.contains("1.2: stays at ") && log.contains(", which is the greater version v1.2.10;"), "{log}");
    // A rebuild moves all of them, as it does with every tag.
    let path = format!("/job/{}/rebuild", jobs[2]);
    let rebuilt: Value = world.daemon.request(reqwest::Method::POST, &path).send().await.unwrap().json().await.unwrap();
    assert_eq!(tags(&world, rebuilt["id"].as_str().unwrap()).await, [vec!["1.2.9", "1.2", "newest"], vec![]]);
}
