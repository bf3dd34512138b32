//! Commit statuses at GitHub.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};

use crate::harness::{
    Capture, Daemon, GitHubApi, INSTALLATION, Repo, SetStatus, Settings, Trouble, World, eventually, masked,
    push_payload, unique,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Starts a world with GITHUB_TOKEN.
async fn world(github: &GitHubApi, more: &[(&str, &str)]) -> World {
    let url = github.url();
    let own = [("GITHUB_API", url.as_str()), ("GITHUB_TOKEN", github.token())];
    World::start_with(&[own.as_slice(), more].concat()).await
}

/// Makes a commit whose Dockerfile has this one step.
fn commit(repo: &Repo, step: &str) -> String {
    repo.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN : {}; {step}\n", unique()))])
}

fn states(github: &GitHubApi, sha: &str) -> Vec<String> {
    github.statuses(sha).into_iter().map(|status| status.state).collect()
}

fn posts(github: &GitHubApi) -> usize {
    github.calls().iter().filter(|call| call.method == Method::POST && call.path.contains("/statuses/")).count()
}

/// Asserts that neither a file of the data folder nor the daemon's output contains the secret.
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
async fn a_commit_gets_a_pending_and_a_final_status() {
    let github = GitHubApi::start();
    let world = world(&github, &[("BASE_URL", "https://factory.example/if/")]).await;
    let good = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &good).await;
    world.daemon.wait_success(&id).await;
    let statuses = github.wait(&good, "success").await;
    assert_eq!(states(&github, &good), ["pending", "success"]);
    let took = regex::Regex::new("built in [0-9]+s").unwrap();
    let shown = |statuses: &[SetStatus], id: &str, sha: &str| {
        let text = format!("{statuses:#?}");
        masked(&took.replace_all(&text, "built in [seconds]s"), &[(id, "job"), (sha, "sha")])
    };
    insta::assert_snapshot!("statuses_of_a_success", shown(&statuses, &id, &good));

    let bad = commit(&world.repo, "exit 7");
    let id = world.daemon.push_event("acme/hello", "develop", &bad).await;
    let job = world.daemon.wait_failure(&id).await;
    let statuses = github.wait(&bad, "failure").await;
    assert_eq!(states(&github, &bad), ["pending", "failure"]);
    assert!(job["cause"].is_string(), "{job:#}");
    insta::assert_snapshot!("statuses_of_a_failure", shown(&statuses, &id, &bad));

    // A branch's name becomes a commit while the job runs.
    let named = commit(&world.repo, "true");
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": "develop"})).await;
    world.daemon.wait_success(&id).await;
    github.wait(&named, "success").await;
    assert_eq!(states(&github, &named), ["pending", "success"]);
    // A repeated job sets statuses again, but a job with `github: false` sets none.
    let before = posts(&github);
    let silent = json!({"owner": "acme", "repo": "hello", "branch": "develop", "github": false, "tag": "x"});
    world.daemon.wait_success(&world.daemon.submit(silent).await).await;
    let id = world.daemon.push_event("acme/hello", "develop", &named).await;
    world.daemon.wait_success(&id).await;
    let both = async || (states(&github, &named) == ["pending", "success", "pending", "success"]).then_some(());
    eventually(LIMIT, "the commit has new statuses", both).await;
    assert_eq!(posts(&github), before + 2);
    assert_eq!(github.faults(), [""; 0]);
    assert_absent(&world.daemon, github.token());
}

/// GitHub takes a status only for a commit, but the push of a tag and a request may name the tag's object.
#[tokio::test]
async fn the_status_of_an_annotated_tag_goes_to_its_commit() {
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
    let expected = ["pending", "success", "pending", "success"];
    let all = async || (states(&github, &sha) == expected).then_some(());
    eventually(LIMIT, "both jobs have set their statuses", all).await;
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_job_sets_the_state_error() {
    let github = GitHubApi::start();
    let world = world(&github, &[]).await;
    let sha = commit(&world.repo, "sleep 60");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_stage(&id, "build").await;
    github.wait(&sha, "pending").await;
    world.daemon.request(Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    let statuses = github.wait(&sha, "error").await;
    insta::assert_snapshot!(masked(&statuses.last().unwrap().description, &[]), @"cancelled");
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn an_app_requests_and_renews_its_tokens() {
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
        let both = async || (github.statuses(&sha).len() == seen + 2).then_some(());
        eventually(LIMIT, "both statuses are there", both).await;
        assert_eq!(states(&github, &sha)[seen..], ["pending", "success"]);
    };
    build(&world).await;
    build(&world).await;
    assert_eq!(github.granted(), 1, "a token is good for an hour");
    let lookups = github.calls().iter().filter(|call| call.path.ends_with("/installation")).count();
    assert_eq!(lookups, 1);

    github.revoke();
    build(&world).await;
    assert_eq!(github.granted(), 2, "a revoked token is renewed once");
    // A token in its last minutes is not used.
    github.set_life(Duration::from_secs(240));
    github.revoke();
    build(&world).await;
    assert_eq!(github.granted(), 4);
    assert_eq!(github.faults(), [""; 0]);

    // The key is PKCS#8 in one line, and the installation's id is set.
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

    // GitHub does not know this app.
    world.daemon.term(LIMIT).await;
    world.daemon.set("GITHUB_APP_ID", "4243");
    world.daemon.restart().await;
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_success(&id).await;
    let said = async || world.daemon.output().contains("check GITHUB_APP_ID, GITHUB_PRIVATE_KEY").then_some(());
    eventually(LIMIT, "it says what is wrong", said).await;
}

#[tokio::test]
async fn a_rate_limit_is_waited_for() {
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
        // GitHub gives the reset in whole seconds.
        assert!(rest >= Duration::from_millis(1900), "{trouble:?}: asked again after {rest:?}");
    }
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_get_the_token() {
    let (github, other) = (GitHubApi::start(), Capture::start(&[]));
    let world = world(&github, &[]).await;
    github.trouble(&[Trouble::Redirect(other.url())]);
    let sha = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    github.wait(&sha, "success").await;
    assert!(other.requests().is_empty(), "a redirect was followed: {:?}", other.requests());
    assert!(world.daemon.output().contains("which is not given the token"), "{}", world.daemon.output());

    // A renamed repository redirects on the same host.
    github.rename();
    let sha = commit(&world.repo, "true");
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    github.wait(&sha, "success").await;
    assert_eq!(states(&github, &sha), ["pending", "success"]);
}

/// The build and the post-build hook do not wait for a GitHub that does not answer.
#[tokio::test]
async fn a_status_is_sent_again_after_a_timeout_or_an_error() {
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

/// Statuses that are missing after a day's outage, or after a day without a token, are set later.
#[tokio::test]
async fn missing_statuses_are_set_at_the_next_start() {
    let github = GitHubApi::start();
    let url = github.url();
    let mut world = World::start_with(&[("GITHUB_API", &url)]).await;
    let (first, second) = (commit(&world.repo, "true"), commit(&world.repo, "exit 7"));
    for sha in [&first, &second] {
        let response = world.daemon.hook("push", &push_payload("acme/hello", "refs/heads/develop", sha)).await;
        let id = response.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
        world.daemon.wait(&id).await;
    }
    // The first commit is built again, because only its last outcome counts.
    let again = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "commit": first})).await;
    world.daemon.wait_success(&again).await;
    assert_eq!(github.calls().len(), 0);

    world.daemon.term(LIMIT).await;
    world.daemon.set("GITHUB_TOKEN", github.token());
    world.daemon.restart().await;
    let statuses = github.wait(&first, "success").await;
    assert!(statuses[0].target_url.ends_with(&again), "{statuses:?}");
    github.wait(&second, "failure").await;
    assert_eq!(posts(&github), 2);

    // GitHub was away for a day, until the rows in the outbox were dead.
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

    // Statuses that GitHub has are not set again.
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

    // GitHub fails at the start. The missing statuses are set once it answers again, which the next job finds out.
    github.forget();
    sql(&world.daemon, "UPDATE jobs SET told = 0").await;
    github.trouble(&[Trouble::Answer(502)]);
    world.daemon.restart().await;
    let said = async || world.daemon.output().contains("GitHub cannot be asked which statuses it has").then_some(());
    eventually(LIMIT, "the log names the failure", said).await;
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
    let mut messages = String::new();
    for (case, settings) in [
        ("an app without a key", vec![("GITHUB_APP_ID", "1")]),
        ("a key without an app", vec![("GITHUB_PRIVATE_KEY", key.as_str())]),
        ("an app that is no number", vec![("GITHUB_APP_ID", "our app"), ("GITHUB_PRIVATE_KEY", &key)]),
        ("a key that is no PEM", vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", "nonsense")]),
        ("a key that is not RSA", vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", elliptic)]),
        (
            "an installation that is no number",
            vec![("GITHUB_APP_ID", "1"), ("GITHUB_PRIVATE_KEY", &key), ("GITHUB_INSTALLATION_ID", "acme")],
        ),
        ("an API by plain http", vec![("GITHUB_TOKEN", "x"), ("GITHUB_API", "http://192.0.2.1/api/v3")]),
    ] {
        let settings: Settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let output = Daemon::fail(&settings, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{case}: {said}");
        assert!(!said.contains("nonsense") && !said.contains("PRIVATE KEY-----"), "{said}");
        let _ = writeln!(messages, "{case}\n{said}");
    }
    insta::assert_snapshot!("refused_settings", messages);
}
