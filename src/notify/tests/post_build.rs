use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::*;
use crate::model::{CommitId, FailureClass, TagResult};
use crate::notify::post_build::{destination, host, rows, signature};

#[tokio::test]
async fn the_hook_is_sent_as_the_original_did() {
    let mut bench = start(&[], Some("key")).await;
    let id = bench.job(Status::Success, Some("c0ffee0123456789c0ffee0123456789c0ffee01")).await.id;
    let (method, headers, body) = bench.next().await;
    let original = concat!(
        r#"{"git":{"owner":"acme","repo":"hello","ref":"develop","commit":"HEAD"},"type":"builder","#,
        r#""name":"image-factory","status":"success","result":{"image":"quay.io/totem/acme-hello:HEAD"},"#
    );
    let ours = format!(
        r#""job":{{"id":"{id}","url":"/job/{id}"}},"commit":"c0ffee0123456789c0ffee0123456789c0ffee01","digest":null,"tags":[],"class":null,"cause":null,"cancelled":false,"extra":{{}}}}"#
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
async fn a_hook_says_which_tags_the_image_has_and_why_it_has_none() {
    let bench = stopped(&[], None).await;
    let told = |job: &Job| -> Value { serde_json::from_str(&rows(&bench.config, job)[0].body).unwrap() };
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
        json!({"target": "prod", "buildArgs": {"A": "1"}, "realm": {"a": [1]}, "job": 7}).as_object().unwrap().clone();
    let body = told(&job);
    assert_eq!(
        body["tags"],
        json!([{"name": "quay.io/totem/acme-hello:HEAD", "digest": "sha256:1", "kept": null},
            {"name": "quay.io/totem/acme-hello:latest", "digest": null, "kept": "dead100123456789dead100123456789dead1001"}])
    );
    assert_eq!((&body["digest"], &body["job"]["id"]), (&json!("sha256:1"), &json!(job.id.to_string())));
    assert_eq!(body["extra"], json!({"realm": {"a": [1]}, "job": 7}), "the caller's own names");

    let (class, cause) = (Some(FailureClass::Dockerfile), Some("build: step 2 failed".to_owned()));
    let body = told(&Job { status: Status::Failure, class, cause, digest: None, tags: vec![], ..job.clone() });
    assert_eq!((&body["status"], &body["class"]), (&json!("failed"), &json!("dockerfile")));
    assert_eq!((&body["cause"], &body["cancelled"]), (&json!("build: step 2 failed"), &json!(false)));
    let body = told(&Job { status: Status::Cancelled, ..job });
    assert_eq!((&body["status"], &body["cancelled"]), (&json!("failed"), &json!(true)));
}

/// By the library that the makers of Standard Webhooks publish for receivers.
#[tokio::test]
async fn a_receiver_can_verify_it_and_refuse_replays() {
    let mut bench = stopped(&[503], None).await;
    bench.config.signing_key = Some(Zeroizing::new((0..24).collect()));
    bench.job(Status::Success, Some("c0ffee0123456789c0ffee0123456789c0ffee01")).await;
    let id = bench.letters().await[0].id.clone();
    tokio::spawn(run(bench.store.clone(), bench.config.clone(), Metrics::new().unwrap(), bench.shutdown.clone()));
    let receiver = Webhook::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").unwrap();
    let mut signatures = Vec::new();
    for seconds in [0, 3600] {
        let (_, mut headers, body) = bench.next().await;
        assert_eq!(headers["webhook-id"], id.as_str());
        // It looks at the time as well: what was signed an hour ahead of its clock is as wrong to it as an hour ago.
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
    bench.config.signing_key = None;
    bench.job(Status::Success, None).await;
    tokio::spawn(run(bench.store.clone(), bench.config.clone(), Metrics::new().unwrap(), CancellationToken::new()));
    let (_, headers, _) = bench.next().await;
    assert!(headers.contains_key("webhook-id") && !headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn some_addresses_are_never_connected_to() {
    let bench = stopped(&[], None).await;
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
        let mut sender = bench.sender();
        sender.config.post_build = vec![url.into()];
        due.destination = destination(url);
        let failure = sender.send(&due).await.unwrap_err();
        assert_eq!(
            (failure.permanent, failure.error.contains("which is refused")),
            (refused, refused),
            "{url}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn who_is_told_and_where() {
    let mut bench = stopped(&[], None).await;
    bench.config.post_build.push("https://user:pw@hooks.example.org:8443/s3cret".into());
    let job = bench.job(Status::Success, None).await;
    let [first, second] = rows(&bench.config, &job).try_into().unwrap();
    assert_ne!((&first.lane, &first.destination), (&second.lane, &second.destination));
    assert_eq!(host(&bench.config, &first.destination).as_deref(), Some("127.0.0.1"));
    assert_eq!(bench.config.host("post-build", &second.destination).as_deref(), Some("hooks.example.org"));
    assert_eq!(host(&bench.config, "").as_deref(), Some("127.0.0.1"), "a row of an older version");
    assert_eq!((bench.config.host("post-build", "gone"), bench.config.host("else", &first.destination)), (None, None));
    let superseded = Job {
        superseded_by: CommitId::read_stored(Some("c0ffee0123456789c0ffee0123456789c0ffee01")),
        status: Status::Cancelled,
        ..job.clone()
    };
    assert_eq!(rows(&bench.config, &superseded), []);
    assert_eq!(rows(&bench.config, &Job { status: Status::Running, ..job.clone() }), []);
    assert_eq!(rows(&bench.config, &Job { status: Status::Cancelled, ..job }).len(), 2);
}
