//! compose-ci's clients: the call of its README, its statuses, and the files that come from a tarball.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{GitHubApi, Served, World, eventually, push_payload, unique};

const TOKEN: &str = "the-token-of-an-address";
const DIALECTS: (&str, &str) = ("DIALECTS", "totem,conveyor,generator,compose-ci");

async fn world(github: &GitHubApi, more: &[(&str, &str)]) -> World {
    let url = github.url();
    let own = [
        DIALECTS,
        ("CI_TOKEN", TOKEN),
        ("HOOK", "sh -c 'echo the test ran'"),
        ("GITHUB_API", url.as_str()),
        ("GITHUB_TOKEN", github.token()),
    ];
    let mut world = World::start_with(&[own.as_slice(), more].concat()).await;
    world.daemon.guard("CI_TOKEN", TOKEN);
    world
}

/// Calls the daemon by curl, and returns the status and the body of the answer.
fn curl(world: &World, path: &str, body: &str) -> (String, String) {
    let url = format!("{}{path}", world.daemon.url());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-X", "POST", &url, "-d", body, "-w", "%{http_code}"]);
    let output = curl.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.split_at(text.len() - 3);
    (status.to_owned(), body.to_owned())
}

/// Sends a call, and returns the job's id.
fn build(world: &World, body: &Value) -> String {
    let (status, id) = curl(world, &format!("/?token={TOKEN}"), &body.to_string());
    assert_eq!(status, "202", "{id}");
    id.strip_suffix('\n').unwrap().to_owned()
}

fn dockerfile(steps: &str) -> String {
    format!("FROM image-factory-busybox:1\nRUN : {}\n{steps}", unique())
}

#[tokio::test]
async fn the_call_of_its_readme_is_tested_pushed_and_told() {
    let github = GitHubApi::start();
    let world = world(&github, &[("GITHUB_REPO", "acme/hello")]).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile(""))]);
    let id = build(&world, &json!({ "after": sha }));
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(
        (&job["context"]["commit"], &job["results"]["test"]["status"]),
        (&json!(sha), &json!("success")),
        "{job:#}"
    );
    assert!(world.daemon.log(&id).await.contains("the test ran\n") && world.digest(&sha).await.is_some());
    let statuses = github.wait(&sha, "success").await;
    assert!(statuses.iter().all(|status| status.context == "[acme/hello CI]"), "{statuses:#?}");
    // A wrong token builds nothing, and neither the address nor the token is in a log.
    assert_eq!(curl(&world, "/?token=wrong", "{}"), ("401".into(), String::new()));
    assert_eq!(curl(&world, "/any/path", "{}"), ("401".into(), String::new()));
    assert_eq!(world.daemon.get("/job").await.as_array().unwrap().len(), 1);
    // A push that GitHub sends as a form is one job, however often it comes.
    let payload = push_payload("acme/hello", "refs/heads/develop", &sha);
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    let (path, again) = (format!("/any/path?token={TOKEN}"), curl(&world, &format!("/?token={TOKEN}"), &form));
    assert_eq!(curl(&world, &path, &payload.to_string()), again);
    world.daemon.wait_success(again.1.trim()).await;
}

/// A server of tarballs, as GitHub has one beside its API.
struct Codeload {
    server: Served,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    tarballs: Vec<(String, Vec<u8>)>,
    requests: usize,
    /// True if a request had a login.
    is_authorized: bool,
}

async fn serve(State(kept): State<Arc<Mutex<Kept>>>, request: Request) -> Result<Vec<u8>, StatusCode> {
    let mut kept = kept.lock().unwrap();
    kept.requests += 1;
    kept.is_authorized |= request.headers().contains_key(header::AUTHORIZATION);
    let found = kept.tarballs.iter().find(|(name, _)| request.uri().path() == format!("/{name}"));
    found.map(|(_, tarball)| tarball.clone()).ok_or(StatusCode::NOT_FOUND)
}

impl Codeload {
    fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let router = axum::Router::new().fallback(serve).with_state(kept.clone());
        Self { server: Served::start(router), kept }
    }

    /// Has the API lead to this tarball for the commit.
    fn put(&self, github: &GitHubApi, sha: &str, tarball: Vec<u8>) {
        self.kept.lock().unwrap().tarballs.push((sha.into(), tarball));
        github.tarball(sha, format!("http://{}/{sha}", self.server.address));
    }
}

/// Returns what GitHub gives for a commit.
fn archive(world: &World, sha: &str) -> Vec<u8> {
    let mut git = Command::new("git");
    let prefix = format!("--prefix=acme-hello-{}/", &sha[..7]);
    git.args(["-C", world.repo.bare.to_str().unwrap(), "archive", "--format=tar.gz", &prefix, sha]);
    let output = git.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn a_tarball_is_built_as_the_commit_is() {
    let (github, codeload) = (GitHubApi::start(), Codeload::start());
    // No Git server is there, and the deploy key is of no use.
    let git = ("GIT_URL", "ssh://git@127.0.0.1:1/{owner}/{repo}.git");
    let mut world = world(&github, &[("SOURCE", "tarball"), git]).await;
    world.etcd.put("/totem/image-factory/github-keys/acme/hello", "no key").await;
    eventually(Duration::from_secs(30), "the key is refused", async || {
        world.daemon.get("/ready").await["reasons"].to_string().contains("github-keys/acme/hello").then_some(())
    })
    .await;
    let steps =
        "COPY . /src\nRUN cd /src && test \"$(cat link)\" = words && test -x run.sh -a ! -x deep/words && ls -l\n";
    std::os::unix::fs::symlink("deep/words", world.repo.path("link")).unwrap();
    std::fs::write(world.repo.path("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(world.repo.path("run.sh"), Permissions::from_mode(0o755)).unwrap();
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile(steps)), ("deep/words", "words")]);
    codeload.put(&github, &sha, archive(&world, &sha));
    let id = build(&world, &push_payload("acme/hello", "refs/heads/develop", &sha));
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["resolvedCommit"], json!(sha), "{job:#}");
    github.wait(&sha, "success").await;
    let image = job["image"].as_str().unwrap();
    let labels: Value = serde_json::from_str(&world.engine.inspect(image, "{{json .Config.Labels}}")).unwrap();
    assert_eq!(labels["org.opencontainers.image.revision"], sha);

    // A rebuild, also after a kill, needs no second download.
    world.daemon.kill9();
    world.daemon.restart().await;
    let rebuild = world.daemon.request(Method::POST, &format!("/job/{id}/rebuild")).send().await.unwrap();
    let rebuilt: Value = rebuild.json().await.unwrap();
    let again = rebuilt["id"].as_str().unwrap().to_owned();
    world.daemon.wait_success(&again).await;
    assert!(world.daemon.log(&again).await.contains(&format!("The tarball of {sha} is here already")));
    let kept = codeload.kept.lock().unwrap();
    assert_eq!((kept.requests, kept.is_authorized), (1, false));
    assert!(!world.daemon.output().contains(github.token()));
}

#[tokio::test]
async fn a_tarball_that_cannot_be_built_says_whose_move_it_is() {
    let (github, codeload) = (GitHubApi::start(), Codeload::start());
    let world = world(&github, &[("SOURCE", "tarball"), ("MAX_FILES", "3")]).await;
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile(""))]);
    let call = json!({"after": sha, "repository": {"full_name": "acme/hello"}});
    let absent = world.daemon.wait_failure(&build(&world, &call)).await;
    let cause = absent["cause"].as_str().unwrap();
    assert!(absent["class"] == "config" && cause.contains("GitHub shows no commit"), "{absent:#}");

    let other = world.repo.commit("develop", &[("more", "x")]);
    codeload.put(&github, &sha, archive(&world, &other));
    let wrong = world.daemon.wait_failure(&build(&world, &call)).await;
    let cause = wrong["cause"].as_str().unwrap();
    assert!(wrong["class"] == "source" && cause.contains(&format!("another commit, {other}")), "{wrong:#}");

    // The first digits of an id are enough, and the job is then the whole commit's.
    codeload.put(&github, &other, archive(&world, &other));
    let short = json!({"after": &other[..8], "repository": {"full_name": "acme/hello"}});
    let job = world.daemon.wait_success(&build(&world, &short)).await;
    assert_eq!(job["resolvedCommit"], json!(other));
    tokio::time::timeout(Duration::from_secs(30), github.wait(&other, "success")).await.unwrap();

    // It has the Dockerfile, `more`, and these.
    let large = world.repo.commit("develop", &[("third", "x"), ("fourth", "x")]);
    codeload.put(&github, &large, archive(&world, &large));
    let call = json!({"after": large, "repository": {"full_name": "acme/hello"}});
    let large = world.daemon.wait_failure(&build(&world, &call)).await;
    let cause = large["cause"].as_str().unwrap();
    assert!(large["class"] == "source" && cause.contains("more than 3 files and folders (MAX_FILES)"), "{large:#}");
}
