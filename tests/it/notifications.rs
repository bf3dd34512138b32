//! Notifications to targets that fail, stay silent, answer without end or are gone. The tests cancel pending jobs,
//! because that is an outcome without a build.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, Bytes};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::harness::{
    Capture, Daemon, HOOK_SECRET, Received, Served, Settings, Silent, eventually, masked, masked_json,
};

const LIMIT: Duration = Duration::from_secs(20);
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn daemon(hooks: &[&str]) -> Daemon {
    let settings = [
        ("CONCURRENCY", "0"),
        ("HOOK_SECRET", HOOK_SECRET),
        ("HOOK_SIGNING_KEY", KEY),
        ("HOOK_POST_URL", &hooks.join(",")),
    ];
    Daemon::start(Settings::from(settings.map(|(name, value)| (name.into(), value.into())))).await
}

/// Makes a job, cancels it and returns its id.
async fn ended(daemon: &Daemon) -> String {
    let id = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let answer = daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    id
}

/// Waits until the job's only notification is in this state, and returns it.
async fn notification(daemon: &Daemon, job: &str, state: &str) -> Value {
    let path = format!("/notifications?job={job}&state={state}");
    eventually(LIMIT, &format!("the notification is {state}"), async || daemon.get(&path).await.get(0).cloned()).await
}

fn id_of(request: &Received) -> String {
    assert_eq!(request.headers["webhook-id"], request.headers["x-hook-id"]);
    Webhook::new(KEY).unwrap().verify(&request.body, &request.headers).unwrap();
    request.headers["webhook-id"].to_str().unwrap().into()
}

#[tokio::test]
async fn a_notification_is_sent_again_until_the_target_takes_it() {
    let capture = Capture::start(&[500, 503]);
    let daemon = daemon(&[&capture.url()]).await;
    let job = ended(&daemon).await;
    let sent = capture.wait(3, LIMIT).await;
    let ids: BTreeSet<String> = sent.iter().map(id_of).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    for request in &sent {
        assert_eq!(request.body, sent[0].body);
        let body = std::str::from_utf8(&request.body).unwrap();
        insta::assert_snapshot!(
            "post_build_cancelled",
            masked_json(&serde_json::from_str(body).unwrap(), &[(&job, "job")])
        );
        assert_eq!(request.headers["x-hook-signature"], daemon.sha1(body).as_str());
    }
    let record = notification(&daemon, &job, "sent").await;
    assert_eq!(&json!(ids.first()), &record["id"]);
    insta::assert_snapshot!("notification_sent", masked_json(&record, &[(&job, "job")]));
}

/// One of two targets takes the connection and answers nothing. The other one gets every notification at once.
#[tokio::test]
async fn a_silent_target_delays_no_other() {
    let (silent, capture) = (Silent::start(), Capture::start(&[]));
    let daemon = daemon(&[&format!("http://127.0.0.1:{}/hook", silent.port()), &capture.url()]).await;
    for _ in 0..30 {
        ended(&daemon).await;
    }
    // The limit is below the 10 s after which the first request to the silent target is given up.
    capture.wait(30, Duration::from_secs(9)).await;
    // The last of those that arrived may not be stored as sent yet.
    eventually(LIMIT, "30 are left", async || {
        let due = daemon.get("/notifications?state=due").await;
        (due.as_array().unwrap().len() == 30).then_some(())
    })
    .await;
}

/// The answer is read no further than its status.
#[tokio::test]
async fn an_endless_answer_counts_by_its_status() {
    let endless = || {
        let mib = Bytes::from(vec![b'x'; 1 << 20]);
        Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(mib.clone())))
    };
    let target = Served::start(axum::Router::new().fallback(async move || endless()));
    let daemon = daemon(&[&format!("http://{}/", target.address)]).await;
    let job = ended(&daemon).await;
    assert_eq!(notification(&daemon, &job, "sent").await["attempts"], 1);
}

#[tokio::test]
async fn a_permanent_refusal_makes_a_dead_notification_that_an_operator_can_replay() {
    let capture = Capture::start(&[410]);
    let url = format!("{}?token=s3cret", capture.url());
    let daemon = daemon(&[&url]).await;
    let job = ended(&daemon).await;
    let dead = notification(&daemon, &job, "dead").await;
    let id = dead["id"].as_str().unwrap();
    assert_eq!((&dead["error"], &dead["attempts"]), (&json!("it was answered 410 Gone"), &json!(1)));

    let cli = |args: &[&str]| {
        let output = daemon.cli(&[&["notifications"], args].concat()).run();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        (output.status.code().unwrap(), text)
    };
    let (code, listed) = cli(&["list", "--dead"]);
    assert_eq!(code, 0, "{listed}");
    let age = regex::Regex::new(" +[0-9.]+m?s  ").unwrap();
    insta::assert_snapshot!(masked(&age.replace_all(&listed, "  [age]  "), &[(id, "notification"), (&job, "job")]), @r"
    ID                                    JOB                                   CHANNEL     STATE     TRIES     AGE  HOST                  ERROR
    [notification]  [job]  post-build  dead          1  [age]  127.0.0.1             it was answered 410 Gone
    ");
    let (code, said) = cli(&["replay", id]);
    assert_eq!((code, said.trim()), (0, format!("notification {id} is being sent again").as_str()));
    let sent = capture.wait(2, LIMIT).await;
    assert_eq!((id_of(&sent[0]), id_of(&sent[1])), (id.to_owned(), id.to_owned()));
    notification(&daemon, &job, "sent").await;

    assert!(!cli(&["list", "--dead"]).1.contains(id));
    let (_, all) = cli(&["list", "--job", &job, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&all).unwrap()[0]["state"], "sent");
    let (code, refused) = cli(&["replay", id]);
    assert_eq!(code, 5);
    insta::assert_snapshot!(refused, @"image-factory: refused (409 ConflictError): The notification is sent: only a dead one is sent again");
    assert!(!daemon.output().contains("s3cret"));
}

/// The daemon is killed while the target does not answer a request, and again while it waits for the next try.
#[tokio::test]
async fn a_notification_keeps_its_id_when_the_daemon_is_killed() {
    let capture = Capture::start(&[0, 500]);
    let mut daemon = daemon(&[&capture.url()]).await;
    let job = ended(&daemon).await;
    for count in [1, 2] {
        capture.wait(count, LIMIT).await;
        daemon.kill9();
        daemon.restart().await;
    }
    let record = notification(&daemon, &job, "sent").await;
    let sent = capture.requests();
    assert!(sent.len() >= 3, "{sent:?}");
    assert!(sent.iter().all(|request| id_of(request) == record["id"]), "{sent:?}");
}

#[test]
fn an_address_of_cloud_metadata_is_refused_at_the_start() {
    let settings = [("HOOK_POST_URL", "http://[::ffff:169.254.169.254]/latest")];
    let output = Daemon::fail(&Settings::from(settings.map(|(name, value)| (name.into(), value.into()))), &[]);
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"image-factory: HOOK_POST_URL leads to ::ffff:169.254.169.254: no hook goes to an address that is link-local or a cloud's metadata service (in the environment)");
}
