use standardwebhooks::Webhook;

use super::*;
use crate::notify::post_build::{destination, host, rows};

#[tokio::test]
async fn the_hook_is_sent_as_the_original_did() {
    let mut bench = start(&[], Some("key")).await;
    bench.job(Status::Success, Some("c0ffee")).await;
    let (method, headers, body) = bench.next().await;
    let expected = concat!(
        r#"{"git":{"owner":"acme","repo":"hello","ref":"develop","commit":"c0ffee"},"type":"builder","#,
        r#""name":"image-factory","status":"success","result":{"image":"quay.io/totem/acme-hello:HEAD"}}"#
    );
    assert_eq!((method, body.as_str()), (Method::POST, expected));
    assert_eq!(headers["content-type"], "application/json");
    // printf %s "$BODY" | openssl dgst -sha1 -hmac key
    assert_eq!(headers["x-hook-signature"], "73b9e5cc6eab1c8779b540756cb85e46d1f5f05d");
    bench.settled().await;

    for status in [Status::Failure, Status::Cancelled] {
        bench.job(status, None).await;
        let (_, _, body) = bench.next().await;
        assert!(body.contains(r#""commit":"HEAD""#) && body.contains(r#""status":"failed""#), "{body}");
    }
}

/// By the library that the makers of Standard Webhooks publish for receivers.
#[tokio::test]
async fn a_receiver_can_verify_it_and_refuse_replays() {
    let mut bench = stopped(&[503], None).await;
    bench.config.signing_key = Some(Zeroizing::new((0..24).collect()));
    bench.job(Status::Success, Some("c0ffee")).await;
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
    let superseded = Job { superseded_by: Some("c0ffee".into()), status: Status::Cancelled, ..job.clone() };
    assert_eq!(rows(&bench.config, &superseded), []);
    assert_eq!(rows(&bench.config, &Job { status: Status::Running, ..job.clone() }), []);
    assert_eq!(rows(&bench.config, &Job { status: Status::Cancelled, ..job }).len(), 2);
}
