//! Commits by their ids, from a request to the image's names.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{World, push_payload, unique};

const TOKENS: &str = "builder:build:token-of-who-may-only-build";

fn dockerfile() -> String {
    format!("FROM image-factory-busybox:1\nCOPY a /\nRUN echo {}\n", unique())
}

/// `POST /job` by a caller with the role build; the job at its end.
async fn build(world: &World, more: Value) -> Value {
    let mut body = json!({"owner": "acme", "repo": "hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = world.daemon.bare_request(Method::POST, "/job").bearer_auth("token-of-who-may-only-build");
    let made: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    world.daemon.wait(made["id"].as_str().unwrap()).await
}

fn cause(job: &Value) -> &str {
    job["cause"].as_str().unwrap_or_default()
}

/// Fetches of the whole repository since the daemon's start.
fn whole_fetches(world: &World) -> usize {
    world.daemon.output().matches("fetching all of a repository").count()
}

#[tokio::test]
async fn only_an_admin_builds_a_commit_of_a_fork_and_it_gets_no_tags_of_a_branch() {
    let more = [("API_TOKENS", TOKENS), ("IMAGE_TAGS", "latest,{branch},c-{short_sha}")];
    let world = World::start_with(&more).await;
    let develop = world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let fork = world.repo.commit("fork", &[("a", "2")]);
    // A forge has a pull request of a fork under such a ref.
    world.repo.git(&["push", "-q", "origin", &format!("{fork}:refs/pull/1/head"), ":refs/heads/fork"]);
    let good = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": "develop"})).await;
    let good = world.daemon.wait_success(&good).await;
    let claimed = json!({"commit": fork, "branch": "develop"});
    for more in [json!({"commit": fork}), claimed.clone()] {
        let job = build(&world, more).await;
        assert_eq!((&job["status"], &job["class"]), (&json!("failure"), &json!("source")));
        assert!(
            cause(&job).contains("on a branch or tag: push it to one") && cause(&job).contains("role admin"),
            "{job}"
        );
    }

    let mut body = json!({"owner": "acme", "repo": "hello"});
    body.as_object_mut().unwrap().extend(claimed.as_object().unwrap().clone());
    let job = world.daemon.wait_success(&world.daemon.submit(body).await).await;
    assert_eq!(job["resolvedCommit"], json!(fork));
    for tag in [&*fork, &format!("c-{}", &fork[..7])] {
        assert_eq!(world.digest(tag).await.as_deref(), job["digest"].as_str(), "{tag}");
    }
    for tag in ["latest", "develop"] {
        assert_eq!(world.digest(tag).await.as_deref(), good["digest"].as_str(), "{tag}");
    }
    let log = world.daemon.log(job["id"].as_str().unwrap()).await;
    assert!(log.contains("develop of acme/hello does not reach") && log.contains("latest is left out"), "{log}");

    // The mirror has it now, which makes it nobody else's; nor does a rebuild of the admin's job.
    assert!(cause(&build(&world, json!({"commit": fork})).await).contains("is on no branch and no tag"));
    let again = format!("/job/{}/rebuild", job["id"].as_str().unwrap());
    let request = world.daemon.bare_request(Method::POST, &again).bearer_auth("token-of-who-may-only-build");
    let made: Value = request.send().await.unwrap().json().await.unwrap();
    let refused = world.daemon.wait_failure(made["id"].as_str().unwrap()).await;
    assert!(cause(&refused).contains("is on no branch and no tag"), "{refused}");
    let made: Value = world.daemon.request(Method::POST, &again).send().await.unwrap().json().await.unwrap();
    assert_eq!(world.daemon.wait_success(made["id"].as_str().unwrap()).await["resolvedCommit"], json!(fork));
    assert_eq!(world.digest("develop").await.as_deref(), good["digest"].as_str());
    assert_eq!(good["resolvedCommit"], json!(develop));
}

#[tokio::test]
async fn a_commit_is_built_though_its_branch_is_merged_and_deleted() {
    let more = [("API_TOKENS", TOKENS), ("IMAGE_TAGS", "{branch}")];
    let world = World::start_with(&more).await;
    world.repo.commit("main", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let topic = world.repo.commit("topic", &[("a", "2")]);
    world.repo.commit("main", &[("a", "3")]);
    world.repo.git(&["push", "-q", "origin", ":refs/heads/topic"]);

    // A signed push names its ref, and so its tag.
    let pushed = world.daemon.wait_success(&world.daemon.push_event("acme/hello", "topic", &topic).await).await;
    assert_eq!(pushed["resolvedCommit"], json!(topic));
    assert_eq!(world.digest("topic").await.as_deref(), pushed["digest"].as_str());
    // A request names none, and `develop`, which is shown, is not there.
    let asked = build(&world, json!({"commit": topic, "tag": "asked"})).await;
    assert_eq!((&asked["status"], &asked["context"]["branch"]), (&json!("success"), &json!("develop")), "{asked}");
    assert_eq!(world.digest("develop").await, None);
    for job in [&pushed, &asked] {
        let path = format!("/job/{}/rebuild", job["id"].as_str().unwrap());
        let made: Value = world.daemon.request(Method::POST, &path).send().await.unwrap().json().await.unwrap();
        world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn an_id_of_no_commit_fails_in_one_attempt() {
    let world = World::start_with(&[("API_TOKENS", TOKENS)]).await;
    world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    world.repo.git(&["push", "-q", "origin", "HEAD^{tree}:refs/tags/tree", "HEAD:a:refs/tags/file"]);
    for (more, told) in [
        (json!({"branch": "tree"}), "refs/tags/tree leads to no commit of acme/hello but to a tree"),
        (json!({"branch": "refs/tags/file"}), "refs/tags/file leads to no commit of acme/hello but to a blob"),
        (json!({"commit": "0".repeat(40)}), "stands for a branch or tag that was deleted"),
        (json!({"commit": "1".repeat(41)}), "an id has 40 or 64 digits"),
        (json!({"commit": "1".repeat(63)}), "an id has 40 or 64 digits"),
    ] {
        let job = build(&world, more.clone()).await;
        assert_eq!((&job["class"], &job["attempt"]), (&json!("source"), &json!(1)), "{job}");
        assert!(cause(&job).contains(told), "{more}: {}", cause(&job));
    }
    assert_eq!(whole_fetches(&world), 1);
    let payload = push_payload("acme/hello", "refs/tags/v1", &"0".repeat(40));
    assert_eq!(world.daemon.hook("push", &payload).await.status(), 204);
}

/// Found only when the engine asks for the file, as a tree tells no types.
#[tokio::test]
async fn a_folder_that_is_called_a_file_is_the_commits_fault() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    let file = hex::decode(world.repo.git(&["rev-parse", "HEAD:Dockerfile"])).unwrap();
    let git_dir = format!("--git-dir={}", world.repo.bare.display());
    let on_server = |args: &[&str]| world.repo.git(&[&[git_dir.as_str()], args].concat());
    // The folder is in no other tree: a server that meets it as both notices.
    let tree = |content: &[&[u8]]| {
        std::fs::write(world.repo.path("crafted"), content.concat()).unwrap();
        on_server(&["hash-object", "-w", "-t", "tree", "--literally", "crafted"])
    };
    let folder = hex::decode(tree(&[b"100644 only here\0", &file])).unwrap();
    let tree = tree(&[b"100644 Dockerfile\0", &file, b"100644 a\0", &folder]);
    let commit = on_server(&["commit-tree", "-m", "x", "-p", "develop", &tree]);
    on_server(&["update-ref", "refs/heads/wrong", &commit]);
    let job = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": "wrong"})).await;
    let job = world.daemon.wait_failure(&job).await;
    assert_eq!((&job["class"], &job["attempt"]), (&json!("source"), &json!(1)), "{job:#}");
    assert!(cause(&job).contains("as a file, and it is a tree"), "{}", cause(&job));
    assert_eq!(whole_fetches(&world), 1);
}

/// A tag's push is the tag's, also where a branch has its name.
#[tokio::test]
async fn a_branch_and_a_tag_of_the_same_name_are_distinct() {
    let world = World::start().await;
    let first = world.repo.commit("develop", &[("Dockerfile", &dockerfile()), ("a", "1")]);
    world.repo.tag("v1");
    let second = world.repo.commit("v1", &[("a", "2")]);
    for (tag, branch, expected) in
        [("bare", "v1", &second), ("branch", "refs/heads/v1", &second), ("tag", "refs/tags/v1", &first)]
    {
        let body = json!({"owner": "acme", "repo": "hello", "branch": branch, "tag": tag});
        let id = world.daemon.submit(body).await;
        let job = world.daemon.wait_success(&id).await;
        assert_eq!((&job["resolvedCommit"], &job["context"]["branch"]), (&json!(expected), &json!(branch)));
        let told = "acme/hello has refs/heads/v1 and refs/tags/v1: v1 means refs/heads/v1";
        assert_eq!(world.daemon.log(&id).await.contains(told), branch == "v1");
    }
    let pushed = world.daemon.hook("push", &push_payload("acme/hello", "refs/tags/v1", "HEAD")).await;
    let made: Value = pushed.json().await.unwrap();
    let job = world.daemon.wait_success(made["id"].as_str().unwrap()).await;
    assert_eq!((&job["resolvedCommit"], &job["context"]["branch"]), (&json!(first), &json!("v1")));
}
