//! Commit statuses at GitHub.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};

use crate::harness::{
    Capture, Daemon, GitHubApi, INSTALLATION, Repo, Settings, Trouble, World, eventually, push_payload, unique,
};

const LIMIT: Duration = Duration::from_secs(30);

/// With GITHUB_TOKEN.
async fn world(github: &GitHubApi, more: &[(&str, &str)]) -> World {
    let url = github.url();
    let own = [("GITHUB_API", url.as_str()), ("GITHUB_TOKEN", github.token())];
    World::start_with(&[own.as_slice(), more].concat()).await
}

/// A new commit whose only step is this.
fn commit(repo: &Repo, step: &str) -> String {
    repo.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN : {}; {step}\n", unique()))])
}

fn states(github: &GitHubApi, sha: &str) -> Vec<String> {
    github.statuses(sha).into_iter().map(|status| status.state).collect()
}

fn posts(github: &GitHubApi) -> usize {
    github.calls().iter().filter(|call| call.method == Method::POST && call.path.contains("/statuses/")).count()
}

/// No file of the data folder, and no line of the daemon, has this in it.
fn assert_absent(daemon: &Daemon, secret: &str) {
    fn look(dir: &Path, secret: &str) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => look(&entry.path(), secret),
                kind if kind.is_file() => {
                    let content = std::fs::read(entry.path()).unwrap();
                    let found = content.windows(secret.len()).any(|part| part == secret.as_bytes());
                    assert!(!found, "a secret is in {}", entry.path().display());
                }
                _ => {}
            }
        }
    }
    look(&daemon.data_dir(), secret);
    assert!(!daemon.output().contains(secret), "a secret is in the daemon's output");
}

#[tokio::test]
async fn a_commit_is_told_what_becomes_of_it() {
    let github = GitHubApi::start();
    let world = world(&github, &[("BASE_URL", "https://factory.example/if/")]).await;
    let good = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &good).await;
    world.daemon.wait_success(&id).await;
    let told = github.wait(&good, "success").await;
    assert_eq!(states(&github, &good), ["pending", "success"]);
    for status in &told {
        assert_eq!(status.context, "image-factory");
        assert_eq!(status.target_url, format!("https://factory.example/if/job/{id}"));
    }
    let took = told[1].description.strip_prefix("Image built in ").and_then(|rest| rest.strip_suffix("s."));
    assert!(took.is_some_and(|took| took.bytes().all(|b| b.is_ascii_digit())), "{told:?}");

    let bad = commit(&world.repo, "exit 7");
    let id = world.daemon.push_event("acme/hello", "develop", &bad).await;
    let job = world.daemon.wait_failure(&id).await;
    let told = github.wait(&bad, "failure").await;
    assert_eq!(states(&github, &bad), ["pending", "failure"]);
    assert!(told[1].description.starts_with("dockerfile: ") && job["cause"].is_string(), "{told:?}");

    // A branch's name becomes a commit while the job runs.
    let named = commit(&world.repo, "true");
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": "develop"})).await;
    world.daemon.wait_success(&id).await;
    github.wait(&named, "success").await;
    assert_eq!(states(&github, &named), ["pending", "success"]);
    // Again, and by no one whom GitHub is to be told of.
    let before = posts(&github);
    let silent = json!({"owner": "acme", "repo": "hello", "branch": "develop", "github": false, "tag": "x"});
    world.daemon.wait_success(&world.daemon.submit(silent).await).await;
    let id = world.daemon.push_event("acme/hello", "develop", &named).await;
    world.daemon.wait_success(&id).await;
    let both = async || (states(&github, &named) == ["pending", "success", "pending", "success"]).then_some(());
    eventually(LIMIT, "the commit is told again", both).await;
    assert_eq!(posts(&github), before + 2);
    assert_eq!(github.faults(), [""; 0]);
    assert_absent(&world.daemon, github.token());
}

/// GitHub takes a status of a commit alone, and a tag's push or a request may name the tag's object.
#[tokio::test]
async fn an_annotated_tag_is_told_of_as_its_commit() {
    let github = GitHubApi::start();
    let world = world(&github, &[]).await;
    let sha = commit(&world.repo, "true");
    world.repo.tag("v1");
    let object = world.repo.git(&["rev-parse", "v1"]);
    assert_ne!(object, sha);
    github.tag_object(&object);
    let pushed = world.daemon.hook("push", &push_payload("acme/hello", "refs/tags/v1", &object)).await;
    let pushed: serde_json::Value = pushed.json().await.unwrap();
    let job = world.daemon.wait_success(pushed["id"].as_str().unwrap()).await;
    assert_eq!((&job["resolvedCommit"], &job["context"]["commit"]), (&json!(sha), &json!(object)));
    github.wait(&sha, "success").await;
    let asked = json!({"owner": "acme", "repo": "hello", "branch": "v1", "commit": object});
    world.daemon.wait_success(&world.daemon.submit(asked).await).await;
    let told = ["pending", "success", "pending", "success"];
    let all = async || (states(&github, &sha) == told).then_some(());
    eventually(LIMIT, "both jobs are told of", all).await;
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_job_is_no_failure_of_its_commit() {
    let github = GitHubApi::start();
    let world = world(&github, &[]).await;
    let sha = commit(&world.repo, "sleep 60");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_stage(&id, "build").await;
    github.wait(&sha, "pending").await;
    world.daemon.request(Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    let told = github.wait(&sha, "error").await;
    assert!(told.last().unwrap().description.contains("cancelled"), "{told:?}");
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn an_app_gets_itself_tokens() {
    let github = GitHubApi::start();
    let key = github.key("pkcs1").display().to_string();
    let url = github.url();
    let settings = [("GITHUB_API", url.as_str()), ("GITHUB_APP_ID", "4242"), ("GITHUB_PRIVATE_KEY_FILE", &key)];
    let mut world = World::start_with(&settings).await;
    let sha = commit(&world.repo, "true");
    let build = async |world: &World| {
        let seen = github.statuses(&sha).len();
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        world.daemon.wait_success(&id).await;
        let told = async || (github.statuses(&sha).len() == seen + 2).then_some(());
        eventually(LIMIT, "both statuses are there", told).await;
        assert_eq!(states(&github, &sha)[seen..], ["pending", "success"]);
    };
    build(&world).await;
    build(&world).await;
    assert_eq!(github.granted(), 1, "a token is good for an hour");
    let lookups = github.calls().iter().filter(|call| call.path.ends_with("/installation")).count();
    assert_eq!(lookups, 1);

    github.revoke();
    build(&world).await;
    assert_eq!(github.granted(), 2, "one that was revoked is renewed once");
    // In its last minutes it is not used any more.
    github.set_life(Duration::from_secs(240));
    github.revoke();
    build(&world).await;
    assert_eq!(github.granted(), 4);
    assert_eq!(github.faults(), [""; 0]);

    // By PKCS#8 in one line, with the installation's id.
    let pem = std::fs::read_to_string(github.key("pkcs8")).unwrap();
    world.daemon.term(LIMIT).await;
    world.daemon.set("GITHUB_PRIVATE_KEY_FILE", "");
    world.daemon.set("GITHUB_PRIVATE_KEY", &pem.replace('\n', "\\n"));
    world.daemon.set("GITHUB_INSTALLATION_ID", &INSTALLATION.to_string());
    world.daemon.restart().await;
    let before = github.calls().len();
    build(&world).await;
    assert!(github.calls()[before..].iter().all(|call| !call.path.ends_with("/installation")));
    assert_eq!(github.faults(), [""; 0]);
    let secret = pem.lines().nth(3).unwrap();
    assert_absent(&world.daemon, secret);
    assert_absent(&world.daemon, "ghs_");

    // One that GitHub does not know.
    world.daemon.term(LIMIT).await;
    world.daemon.set("GITHUB_APP_ID", "4243");
    world.daemon.restart().await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_success(&id).await;
    let said = async || world.daemon.output().contains("check GITHUB_APP_ID, GITHUB_PRIVATE_KEY").then_some(());
    eventually(LIMIT, "it says what is wrong", said).await;
}

#[tokio::test]
async fn a_rate_limit_is_kept() {
    let github = GitHubApi::start();
    let world = world(&github, &[]).await;
    for trouble in [Trouble::RetryAfter(2), Trouble::UsedUp(2)] {
        let before = github.calls().len();
        github.trouble(std::slice::from_ref(&trouble));
        let sha = commit(&world.repo, "true");
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        world.daemon.wait_success(&id).await;
        github.wait(&sha, "success").await;
        let calls = &github.calls()[before..];
        assert_eq!(calls[0].status, 403, "{calls:?}");
        let rest = calls[1].at - calls[0].at;
        // The reset is told in whole seconds.
        assert!(rest >= Duration::from_millis(1900), "{trouble:?}: asked again after {rest:?}");
    }
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn a_token_stays_with_its_host() {
    let (github, other) = (GitHubApi::start(), Capture::start(&[]));
    let world = world(&github, &[]).await;
    github.trouble(&[Trouble::Redirect(other.url())]);
    let sha = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    github.wait(&sha, "success").await;
    assert!(other.requests().is_empty(), "a redirect was followed: {:?}", other.requests());
    assert!(world.daemon.output().contains("which is not given the token"), "{}", world.daemon.output());

    // A repository that was renamed sends on to itself.
    github.rename();
    let sha = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    github.wait(&sha, "success").await;
    assert_eq!(states(&github, &sha), ["pending", "success"]);
}

/// GitHub does not answer: the build and the post-build hook do not wait for it.
#[tokio::test]
async fn what_hangs_or_breaks_is_sent_again() {
    let (github, hook) = (GitHubApi::start(), Capture::start(&[]));
    let world = world(&github, &[("HOOK_POST_URL", &hook.url())]).await;
    github.trouble(&vec![Trouble::Hang; 100]);
    let sha = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    hook.wait(1, LIMIT).await;
    assert_eq!(github.statuses(&sha), []);
    github.mend();
    github.trouble(&[Trouble::Answer(502), Trouble::Answer(500)]);
    github.wait(&sha, "success").await;
}

/// A day of GitHub's outage, or one without its token, is made good.
#[tokio::test]
async fn what_was_missed_is_made_good() {
    let github = GitHubApi::start();
    let url = github.url();
    let mut world = World::start_with(&[("GITHUB_API", &url)]).await;
    let (first, second) = (commit(&world.repo, "true"), commit(&world.repo, "exit 7"));
    for sha in [&first, &second] {
        let response = world.daemon.hook("push", &push_payload("acme/hello", "refs/heads/develop", sha)).await;
        let id = response.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
        world.daemon.wait(&id).await;
    }
    // The first commit is pushed again: only its last outcome counts.
    let again = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "commit": first})).await;
    world.daemon.wait_success(&again).await;
    assert_eq!(github.calls().len(), 0);

    world.daemon.term(LIMIT).await;
    world.daemon.set("GITHUB_TOKEN", github.token());
    world.daemon.restart().await;
    let told = github.wait(&first, "success").await;
    assert!(told[0].target_url.ends_with(&again), "{told:?}");
    github.wait(&second, "failure").await;
    assert_eq!(posts(&github), 2);

    // GitHub was away for a day, until what was to be sent was dead.
    world.daemon.term(LIMIT).await;
    github.forget();
    sql(&world.daemon, "UPDATE jobs SET told = 0").await;
    sql(
        &world.daemon,
        "UPDATE outbox SET state = 'dead', next_at = created + 24 * 3600 * 1000 - 60000 WHERE channel = 'github'",
    )
    .await;
    world.daemon.restart().await;
    github.wait(&first, "success").await;
    github.wait(&second, "failure").await;
    assert_eq!(posts(&github), 4);

    // Statuses that are there are looked at and left alone.
    world.daemon.term(LIMIT).await;
    sql(&world.daemon, "DELETE FROM outbox").await;
    sql(&world.daemon, "UPDATE jobs SET told = 0").await;
    let before = github.calls().len();
    world.daemon.restart().await;
    let settled = async || (count(&world.daemon, "SELECT COUNT(*) FROM jobs WHERE told = 0").await == 0).then_some(());
    eventually(LIMIT, "every job is looked at", settled).await;
    world.daemon.term(LIMIT).await;
    assert_eq!(count(&world.daemon, "SELECT COUNT(*) FROM outbox").await, 0);
    let calls = github.calls()[before..].iter().map(|call| call.path.contains("/commits/")).collect::<Vec<_>>();
    assert_eq!(calls, [true, true], "one look at each commit, and nothing is sent");

    // At the start GitHub is in trouble: it is looked at again when it answers, which the next job finds out.
    github.forget();
    sql(&world.daemon, "UPDATE jobs SET told = 0").await;
    github.trouble(&[Trouble::Answer(502)]);
    world.daemon.restart().await;
    let said = async || world.daemon.output().contains("GitHub cannot be asked which statuses it has").then_some(());
    eventually(LIMIT, "the trouble is told", said).await;
    let third = commit(&world.repo, "true");
    world.daemon.push_event("acme/hello", "develop", &third).await;
    github.wait(&first, "success").await;
    github.wait(&second, "failure").await;
    github.wait(&third, "success").await;
    assert_eq!(github.faults(), [""; 0]);
}

async fn database(daemon: &Daemon) -> SqliteConnection {
    let url = format!("sqlite://{}", daemon.data_dir().join("image-factory.db").display());
    SqliteConnection::connect(&url).await.unwrap()
}

async fn sql(daemon: &Daemon, statement: &'static str) {
    let mut conn = database(daemon).await;
    sqlx::query(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

async fn count(daemon: &Daemon, statement: &'static str) -> i64 {
    let mut conn = database(daemon).await;
    let count = sqlx::query(statement).fetch_one(&mut conn).await.unwrap().get(0);
    conn.close().await.unwrap();
    count
}

#[test]
fn wrong_settings_stop_the_start() {
    let github = GitHubApi::start();
    let key = std::fs::read_to_string(github.key("pkcs8")).unwrap();
    let elliptic =
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----";
    for (settings, name) in [
        (vec![("GITHUB_APP_ID", "1")], "GITHUB_PRIVATE_KEY"),
        (vec![("GITHUB_PRIVATE_KEY", key.as_str())], "GITHUB_APP_ID"),
        (vec![("GITHUB_APP_ID", "our app"), ("GITHUB_PRIVATE_KEY", &key)], "GITHUB_APP_ID"),
        (vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", "nonsense")], "GITHUB_PRIVATE_KEY"),
        (vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", elliptic)], "GITHUB_PRIVATE_KEY"),
        (
            vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", &key), ("GITHUB_INSTALLATION_ID", "acme")],
            "GITHUB_INSTALLATION_ID",
        ),
        (vec![("GITHUB_TOKEN", "x"), ("GITHUB_API", "http://192.0.2.1/api/v3")], "GITHUB_API"),
    ] {
        let settings: Settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let output = Daemon::fail(&settings, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(name), "{name}: {said}");
        assert!(!said.contains("nonsense") && !said.contains("PRIVATE KEY-----"), "{said}");
    }
}
