//! The messages in HipChat and Slack: which jobs cause one, and its content.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{HipChat, Slack, World, eventually, masked, masked_json};

const LIMIT: Duration = Duration::from_secs(30);

async fn world(hipchat: &HipChat, slack: &Slack, more: &[(&str, &str)]) -> World {
    let (api, url) = (hipchat.url(), slack.url());
    let own = [
        ("HIPCHAT_API", api.as_str()),
        ("HIPCHAT_TOKEN", HipChat::TOKEN),
        ("HIPCHAT_ROOM", HipChat::ROOM),
        ("SLACK_URL", &url),
        ("SLACK_ROOM", "#builds"),
        ("TOTEM_ENV", "staging"),
        ("BASE_URL", "https://ci.acme.org"),
    ];
    World::start_with(&[&own[..], more].concat()).await
}

/// Builds the branch and returns the job. The job succeeds if there is a Dockerfile.
async fn build(world: &World, dockerfile: Option<&str>) -> Value {
    let name = if dockerfile.is_some() { "Dockerfile" } else { "README" };
    world.repo.git(&["rm", "-q", "-r", "--ignore-unmatch", "."]);
    let sha = world.repo.commit("develop", &[(name, dockerfile.unwrap_or("nothing"))]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait(&id).await
}

async fn messages(got: impl Fn() -> Vec<Value>, count: usize) -> Vec<Value> {
    eventually(LIMIT, &format!("{count} messages have come"), async || Some(got()).filter(|got| got.len() >= count))
        .await
}

/// Returns the message with the job's id and commit masked.
fn shown(message: &Value, job: &Value) -> String {
    let sha = job["resolvedCommit"].as_str().or(job["context"]["commit"].as_str()).unwrap();
    masked_json(message, &[(job["id"].as_str().unwrap(), "job"), (sha, "sha"), (&sha[..7], "short sha")])
}

#[tokio::test]
async fn by_default_only_a_failure_causes_a_message() {
    let (hipchat, slack) = (HipChat::start(&[(503, None)]), Slack::start(&[(429, Some(2))]));
    let world = world(&hipchat, &slack, &[]).await;
    build(&world, Some("FROM image-factory-busybox:1\n")).await;
    // A cancelled job is no failure.
    let waiting = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN sleep 60\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &waiting).await;
    world.daemon.wait_stage(&id, "build").await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait(&id).await;

    let begun = Instant::now();
    let job = build(&world, None).await;
    let message = &messages(|| hipchat.messages(), 1).await[0];
    insta::assert_snapshot!("hipchat_failure", shown(message, &job));
    // The links lead to the pages of the Git server that GIT_URL names.
    let message = &messages(|| slack.messages(), 1).await[0];
    assert!(begun.elapsed() >= Duration::from_secs(2), "Retry-After was not waited for");
    insta::assert_snapshot!("slack_failure", shown(message, &job));

    assert_eq!((hipchat.messages().len(), slack.messages().len()), (1, 1));
    assert_eq!((hipchat.refused(), slack.refused()), (vec![], vec![]));
    let log = world.daemon.output();
    assert!(!log.contains(HipChat::TOKEN) && !log.contains(Slack::SECRET), "{log}");
}

#[tokio::test]
async fn notify_on_fixed_adds_a_message_for_the_first_success_after_a_failure() {
    let (hipchat, slack) = (HipChat::start(&[]), Slack::start(&[]));
    let world = world(&hipchat, &slack, &[("NOTIFY_ON", "failure, fixed")]).await;
    build(&world, None).await;
    let fixed = build(&world, Some("FROM image-factory-busybox:1\n")).await;
    assert_eq!(fixed["status"], "success");
    build(&world, Some("FROM image-factory-busybox:1\nENV A=1\n")).await;
    build(&world, None).await;
    let sent = messages(|| hipchat.messages(), 3).await;
    let colors: Vec<_> = sent.iter().map(|message| message["color"].as_str().unwrap()).collect();
    assert_eq!(colors, ["red", "green", "red"]);
    insta::assert_snapshot!("hipchat_fixed", shown(&sent[1], &fixed));
    let sent = messages(|| slack.messages(), 3).await;
    let colors: Vec<_> = sent.iter().map(|message| message["attachments"][0]["color"].as_str().unwrap()).collect();
    assert_eq!(colors, ["danger", "good", "danger"]);
    insta::assert_snapshot!("slack_fixed", shown(&sent[1], &fixed));
}

/// A message with a wrong token or address is not sent again, and neither the log nor doctor shows the secret.
#[tokio::test]
async fn a_refusal_is_final_and_shows_no_secret() {
    let (hipchat, slack) = (HipChat::start(&[]), Slack::start(&[]));
    let wrong = slack.url().replace(Slack::SECRET, "WRONGWRONG");
    let world = world(&hipchat, &slack, &[("HIPCHAT_TOKEN", "wrong-token"), ("SLACK_URL", &wrong)]).await;
    let found = world.daemon.beside(&["doctor"]).run();
    let found = String::from_utf8(found.stdout).unwrap();
    let lines: Vec<_> = found.lines().filter(|line| line[5..].starts_with("chat: ")).collect();
    insta::assert_snapshot!(masked(&lines.join("\n"), &[]), @r"
    ok   chat: HipChat is reached at 127.0.0.1:[port]
    ok   chat: Slack is reached at 127.0.0.1:[port]
    ");
    assert!(hipchat.refused().is_empty() && slack.refused().is_empty());
    build(&world, None).await;
    let log = eventually(LIMIT, "both were refused", async || {
        let log = world.daemon.output();
        (log.contains("401 Unauthorized") && log.contains("403 Forbidden")).then_some(log)
    })
    .await;
    for secret in ["wrong-token", "WRONGWRONG"] {
        assert!(!log.contains(secret) && !found.contains(secret), "{secret} is shown");
    }
    assert_eq!((hipchat.refused().len(), slack.refused()), (1, vec!["invalid_token".to_owned()]));
}
