//! Failures that only an operator can mend are told to operators.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{HipChat, Slack, SmtpServer, SmtpTls, World, eventually};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_only_an_operator_can_mend_goes_to_the_operators_alone() {
    let (team, hipchat, slack) = (Slack::start(&[]), HipChat::start(&[]), Slack::start(&[]));
    let mail = SmtpServer::start(SmtpTls::None).await;
    let room = format!("{}/v2/room/{}/notification?auth_token={}", hipchat.url(), HipChat::ROOM, HipChat::TOKEN);
    let (operators, port) = (format!("ops@acme.org, {}, {room}", slack.url()), mail.port().to_string());
    let world = World::start_with(&[
        ("SLACK_URL", &team.url()),
        ("NOTIFY_OPERATORS", &operators),
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_TLS", "none"),
        ("SMTP_FROM", "ci@acme.org"),
        ("SMTP_TO", "dev@acme.org"),
        ("BASE_URL", "https://ci.acme.org"),
    ])
    .await;
    let sha = world.repo.commit("develop", &[("README", "no Dockerfile")]);
    world.git.authorize(&[]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    assert_eq!(world.daemon.wait_failure(&id).await["class"], "config");
    let to_operators = async || (slack.messages().len(), hipchat.messages().len(), mail.mails().len());
    eventually(LIMIT, "the operators have three messages", async || (to_operators().await == (1, 1, 1)).then_some(()))
        .await;
    let text = slack.messages()[0]["attachments"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("refuses the deploy key"), "{text}");
    assert_eq!(mail.mails()[0].to, ["ops@acme.org"]);

    // The missing Dockerfile is a matter of whoever pushed, and their first failure, so the next success is a fix.
    world.git.authorize(&[&world.key]);
    let rebuilt = world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/rebuild")).send().await.unwrap();
    let rebuilt: Value = rebuilt.json().await.unwrap();
    let job = world.daemon.wait_failure(rebuilt["id"].as_str().unwrap()).await;
    assert_eq!(job["class"], json!("dockerfile"));
    mail.wait(2).await;
    eventually(LIMIT, "the team has its message", async || (team.messages().len() == 1).then_some(())).await;
    assert_eq!(mail.mails()[1].to, ["dev@acme.org"]);
    assert_eq!(to_operators().await, (1, 1, 2));
    let output = world.daemon.output();
    assert!(output.contains("job ended, and an operator has to act"), "{output}");
    assert!(!output.contains(HipChat::TOKEN) && !output.contains(Slack::SECRET), "{output}");
}
