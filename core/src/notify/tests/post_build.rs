use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::*;
use crate::model::{CommitId, FailureClass, TagResult};
use crate::notify::post_build::{destination, signature};
use crate::notify::summary::testing;

#[tokio::test]
async fn a_hook_has_the_body_and_the_signature_of_the_original() {
    let mut bench = start(&[], Some("key")).await;
    let id = bench.job(Status::Success, Some("c0ffee0123456789c0ffee0123456789c0ffee01")).await.id;
    let (method, headers, body) = bench.next().await;
    let original = concat!(
        r#"{"git":{"owner":"acme","repo":"hello","ref":"develop","commit":"HEAD"},"type":"builder","#,
        r#""name":"image-factory","status":"success","result":{"image":"quay.io/totem/acme-hello:HEAD"},"#
    );
    let ours = format!(
        r#""job":{{"id":"{id}","url":"/job/{id}"}},"commit":"c0ffee0123456789c0ffee0123456789c0ffee01","digest":"sha256:1","tags":[],"class":null,"cause":null,"cancelled":false,"extra":{{}}}}"#
    );
    assert_eq!((method, &body), (Method::POST, &format!("{original}{ours}")));
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-hook-signature"], signature(&body, "key").as_str());
    // printf %s '{"git":{}}' | openssl dgst -sha1 -hmac key
    assert_eq!(signature(r#"{"git":{}}"#, "key"), "5f8a6d50e9e4ec5af2df7ec0ccfc265e85eab74c");
    bench.settled().await;

    for status in [Status::Failure, Status::Cancelled] {
        bench.job(status, None).await;
        let (_, _, body) = bench.next().await;
        assert!(body.contains(r#""commit":"HEAD""#) && body.contains(r#""status":"failed""#), "{body}");
    }
}

#[tokio::test]
async fn a_body_has_tags_and_the_cause_of_a_failure() {
    let bench = stopped(&[], None).await;
    let body_of = |job: &Job| -> Value { serde_json::from_str(&bench.hook().rows(job, None)[0].body).unwrap() };
    let mut job = bench.job(Status::Success, Some("c0ffee0123456789c0ffee0123456789c0ffee01")).await;
    let tag = |tag: &str, digest: Option<&str>, kept: Option<&str>| TagResult {
        name: format!("quay.io/totem/acme-hello:{tag}"),
        digest: digest.map(str::to_owned),
        kept: kept.map(|id| CommitId::parse(id).unwrap()),
    };
    job.tags = vec![
        tag("HEAD", Some("sha256:1"), None),
        tag("latest", None, Some("dead100123456789dead100123456789dead1001")),
    ];
    job.digest = Some("sha256:1".into());
    job.context.extra =
        json!({"build": {"target": "prod"}, "target": 5, "realm": {"a": [1]}, "job": 7}).as_object().unwrap().clone();
    let body = body_of(&job);
    assert_eq!(
        body["tags"],
        json!([{"name": "quay.io/totem/acme-hello:HEAD", "digest": "sha256:1", "kept": null},
            {"name": "quay.io/totem/acme-hello:latest", "digest": null, "kept": "dead100123456789dead100123456789dead1001"}])
    );
    assert_eq!((&body["digest"], &body["job"]["id"]), (&json!("sha256:1"), &json!(job.id.to_string())));
    assert_eq!(body["extra"], json!({"target": 5, "realm": {"a": [1]}, "job": 7}), "the caller's own names");

    let (class, cause) = (Some(FailureClass::Dockerfile), Some("build: step 2 failed".to_owned()));
    let body = body_of(&Job { status: Status::Failure, class, cause, digest: None, tags: vec![], ..job.clone() });
    assert_eq!((&body["status"], &body["class"]), (&json!("failed"), &json!("dockerfile")));
    assert_eq!((&body["cause"], &body["cancelled"]), (&json!("build: step 2 failed"), &json!(false)));
    let body = body_of(&Job { status: Status::Cancelled, ..job });
    assert_eq!((&body["status"], &body["cancelled"]), (&json!("failed"), &json!(true)));
}

/// The receiver is the library that the makers of Standard Webhooks publish.
#[tokio::test]
async fn a_receiver_can_verify_a_hook_and_refuse_replays() {
    let mut bench = stopped(&[503], None).await;
    bench.hooks.signing_key = Some(Zeroizing::new((0..24).collect()));
    bench.job(Status::Success, Some("c0ffee0123456789c0ffee0123456789c0ffee01")).await;
    let id = bench.records().await[0].id.clone();
    bench.spawn(bench.shutdown.clone());
    let receiver = Webhook::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").unwrap();
    let mut signatures = Vec::new();
    for seconds in [0, 3600] {
        let (_, mut headers, body) = bench.next().await;
        assert_eq!(headers["webhook-id"], id.as_str());
        // The library checks the time as well, and refuses a signature of an hour ahead as it does one of an hour ago.
        let verified = receiver.verify(body.as_bytes(), &headers);
        assert_eq!(verified.is_ok(), seconds == 0, "{verified:?}");
        let stamp: i64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        assert!((stamp - Millis::now().0 / 1000 - seconds).abs() < 20, "{stamp}");
        signatures.push(headers["webhook-signature"].clone());
        assert!(receiver.verify(b"{}", &headers).is_err());
        headers.insert("webhook-id", "another".parse().unwrap());
        assert!(receiver.verify(body.as_bytes(), &headers).is_err());
        bench.ahead.store(3600, Ordering::Relaxed);
    }
    assert_ne!(signatures[0], signatures[1], "it was not signed anew");
    bench.settled().await;

    bench.shutdown.cancel();
    bench.hooks.signing_key = None;
    bench.job(Status::Success, None).await;
    bench.spawn(CancellationToken::new());
    let (_, headers, _) = bench.next().await;
    assert!(headers.contains_key("webhook-id") && !headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn some_addresses_are_never_connected_to() {
    let mut bench = stopped(&[], None).await;
    bench.job(Status::Success, None).await;
    let mut due = bench.store.due_notifications(1).await.unwrap().remove(0);
    for (url, refused) in [
        ("http://169.254.169.254/latest/meta-data", true),
        ("http://2852039166/", true),
        ("http://[::ffff:169.254.169.254]/", true),
        ("http://[fd00:ec2::254]/", true),
        ("http://0.0.0.0:1/", true),
        ("https://224.0.0.1/", true),
        ("http://[fe80::1]/", true),
        ("http://127.0.0.1:1/", false),
        ("http://localhost:1/", false),
    ] {
        bench.hooks.urls = vec![url.into()];
        due.destination = destination(url);
        let error = bench.channels().send(&due, bench.store.now()).await.unwrap_err();
        assert_eq!(
            (error.is_permanent, error.message.contains("which is refused")),
            (refused, refused),
            "{url}: {error:?}"
        );
    }
}

#[tokio::test]
async fn each_url_gets_a_row_and_shows_its_host() {
    let mut bench = stopped(&[], None).await;
    bench.hooks.urls.push("https://user:pw@hooks.example.org:8443/s3cret".into());
    let job = bench.job(Status::Success, None).await;
    let hook = bench.hook();
    let rows = |job: &Job| hook.rows(job, None);
    let [first, second] = rows(&job).try_into().unwrap();
    assert_ne!((&first.lane, &first.destination), (&second.lane, &second.destination));
    assert_eq!(hook.host(&first.destination).as_deref(), Some("127.0.0.1"));
    assert_eq!(bench.channels().host("post-build", &second.destination).as_deref(), Some("hooks.example.org"));
    assert_eq!(hook.host("").as_deref(), Some("127.0.0.1"), "a row of an older version");
    assert_eq!(
        (bench.channels().host("post-build", "gone"), bench.channels().host("else", &first.destination)),
        (None, None)
    );
    let superseded = Job {
        superseded_by: CommitId::read_stored(Some("c0ffee0123456789c0ffee0123456789c0ffee01")),
        status: Status::Cancelled,
        ..job.clone()
    };
    assert_eq!(rows(&superseded), []);
    assert_eq!(rows(&Job { status: Status::Running, ..job.clone() }), []);
    assert_eq!(rows(&Job { status: Status::Cancelled, ..job }).len(), 2);
}

#[test]
fn bodies_are_compatible() {
    crate::outbound::install_tls_provider();
    let (urls, links) = (vec!["https://hooks.example.org/".to_owned()], testing::links());
    let hook = PostBuild::new(PostBuildConfig { urls, links, ..PostBuildConfig::default() }).unwrap();
    for (name, job) in
        [("success", testing::successful_job()), ("failure", testing::job("acme", "develop", "build: step 2 failed"))]
    {
        // The text itself, because its members are in the order of the original.
        insta::assert_snapshot!(format!("post_build_{name}"), hook.rows(&job, None)[0].body);
    }
}
