//! HipChat and Slack: who is told of what, and what the messages say.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{HipChat, Slack, World, eventually};

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

/// Builds a branch; with a Dockerfile it succeeds.
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

#[tokio::test]
async fn a_failure_is_told_and_nothing_else() {
    let (hipchat, slack) = (HipChat::start(&[(503, None)]), Slack::start(&[(429, Some(2))]));
    let world = world(&hipchat, &slack, &[]).await;
    build(&world, Some("FROM image-factory-busybox:1\n")).await;
    // A cancelled one is nobody's failure.
    let waiting = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN sleep 60\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &waiting).await;
    world.daemon.wait_stage(&id, "build").await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    world.daemon.wait(&id).await;

    let begun = Instant::now();
    let job = build(&world, None).await;
    let (id, sha) = (job["id"].as_str().unwrap(), job["resolvedCommit"].as_str().map(str::to_owned));
    let sha = sha.unwrap_or_else(|| job["context"]["commit"].as_str().unwrap().to_owned());
    let said = &messages(|| hipchat.messages(), 1).await[0];
    assert_eq!((&said["color"], &said["message_format"]), (&json!("red"), &json!("html")));
    let text = said["message"].as_str().unwrap();
    let link = format!("https://ci.acme.org/job/{id}/log");
    for part in ["IMAGE_BUILD_FAILED", "Dockerfile", "dockerfile", "staging", "acme", "hello", &sha, &link] {
        assert!(text.contains(part), "{part} is not in {text}");
    }

    let said = &messages(|| slack.messages(), 1).await[0];
    assert!(begun.elapsed() >= Duration::from_secs(2), "Retry-After was not waited for");
    assert_eq!((&said["username"], &said["channel"]), (&json!("Image Factory"), &json!("#builds")));
    let attachment = &said["attachments"][0];
    assert_eq!((&attachment["color"], &attachment["title_link"]), (&json!("danger"), &json!(link)));
    assert_eq!(attachment["fields"][0]["value"], "staging");
    // The Git server's own pages, as GIT_URL names it.
    let footer = attachment["footer"].as_str().unwrap();
    assert!(footer.contains(&format!("<https://127.0.0.1/acme/hello/commit/{sha}|{}>", &sha[..7])), "{footer}");

    assert_eq!((hipchat.messages().len(), slack.messages().len()), (1, 1));
    assert_eq!((hipchat.refused(), slack.refused()), (vec![], vec![]));
    let log = world.daemon.output();
    assert!(!log.contains(HipChat::TOKEN) && !log.contains(Slack::SECRET), "{log}");
}

#[tokio::test]
async fn what_was_fixed_is_told_by_choice() {
    let (hipchat, slack) = (HipChat::start(&[]), Slack::start(&[]));
    let world = world(&hipchat, &slack, &[("NOTIFY_ON", "failure, fixed")]).await;
    build(&world, None).await;
    let fixed = build(&world, Some("FROM image-factory-busybox:1\n")).await;
    assert_eq!(fixed["status"], "success");
    build(&world, Some("FROM image-factory-busybox:1\nENV A=1\n")).await;
    build(&world, None).await;
    let said = messages(|| hipchat.messages(), 3).await;
    let colors: Vec<_> = said.iter().map(|said| said["color"].as_str().unwrap()).collect();
    assert_eq!(colors, ["red", "green", "red"]);
    assert!(said[1]["message"].as_str().unwrap().contains("IMAGE_BUILD_FIXED"), "{}", said[1]);
    let said = messages(|| slack.messages(), 3).await;
    let colors: Vec<_> = said.iter().map(|said| said["attachments"][0]["color"].as_str().unwrap()).collect();
    assert_eq!(colors, ["danger", "good", "danger"]);
}

/// A wrong token or address is given up, and shown by neither log nor doctor.
#[tokio::test]
async fn a_refusal_is_final_and_shows_no_secret() {
    let (hipchat, slack) = (HipChat::start(&[]), Slack::start(&[]));
    let wrong = slack.url().replace(Slack::SECRET, "WRONGWRONG");
    let world = world(&hipchat, &slack, &[("HIPCHAT_TOKEN", "wrong-token"), ("SLACK_URL", &wrong)]).await;
    let found = world.daemon.beside(&["doctor"]).run();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("ok   chat: HipChat is reached at 127.0.0.1:"), "{found}");
    assert!(found.contains("ok   chat: Slack is reached at 127.0.0.1:"), "{found}");
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
