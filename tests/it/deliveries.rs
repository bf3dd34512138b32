//! Deliveries of webhooks: the list, without secrets, and the replay.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, HOOK_SECRET, Settings, masked, masked_json, push_payload};

async fn daemon(more: &[(&str, &str)]) -> Daemon {
    let own = [("HOOK_SECRET", HOOK_SECRET), ("CONCURRENCY", "0"), ("API_TOKENS", "r:read:reader-reader-reader")];
    let all = own.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
    Daemon::start(all.collect::<Settings>()).await
}

async fn replay(daemon: &Daemon, id: &str) -> (u16, Value) {
    let response = daemon.request(Method::POST, &format!("/deliveries/{id}/replay")).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn deliveries_are_listed_and_replayed() {
    let mut daemon = daemon(&[]).await;
    let shas = ["a", "b", "c"].map(|digit| digit.repeat(40));
    let mut jobs = Vec::new();
    for sha in &shas {
        jobs.push(daemon.push_event("acme/hello", "feature/x", sha).await);
    }
    // A ping and the push of a deleted branch make no job, so they are no deliveries.
    assert_eq!(daemon.hook("ping", &json!({"zen": "x"})).await.status(), 204);
    let mut deleted = push_payload("acme/hello", "refs/heads/gone", &"0".repeat(40));
    deleted["deleted"] = true.into();
    assert_eq!(daemon.hook("push", &deleted).await.status(), 204);
    // The same body comes again, under another id.
    let again = push_payload("acme/hello", "refs/heads/feature/x", &shas[1]);
    assert_eq!(daemon.hook("push", &again).await.headers()["x-image-factory-duplicate"], "true");

    let first = daemon.request(Method::GET, "/deliveries?limit=2").send().await.unwrap();
    let next = first.headers()["link"].to_str().unwrap().to_owned();
    let page: Vec<Value> = first.json().await.unwrap();
    let rest = next.trim_start_matches('<').split('>').next().unwrap();
    let rest = daemon.get(rest).await;
    assert_eq!((page.len(), rest.as_array().unwrap().len()), (2, 1));
    let listed: Vec<_> = page.iter().chain(rest.as_array().unwrap()).rev().collect();
    for ((delivery, sha), job) in listed.iter().zip(&shas).zip(&jobs) {
        let zeros = "0".repeat(40);
        let values = [(job.as_str(), "job"), (sha.as_str(), "sha"), (&zeros, "zeros")];
        let is_repeated = delivery["repeats"] != 0;
        let snapshot = if is_repeated { "repeated_delivery" } else { "delivery" };
        insta::assert_snapshot!(snapshot, masked_json(delivery, &values));
    }
    assert_eq!(listed.iter().map(|d| d["repeats"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 0]);
    let id = listed[1]["id"].as_str().unwrap();
    assert_eq!(daemon.get(&format!("/deliveries/{id}")).await, *listed[1]);

    // Two replays make two jobs with the push's context.
    let (mut made, mut status) = (Vec::new(), 0);
    for _ in 0..2 {
        let (answered, job) = replay(&daemon, id).await;
        (status, made) = (answered, [made, vec![job]].concat());
    }
    assert_eq!(status, 201);
    assert_ne!(made[0]["id"], made[1]["id"]);
    for job in &made {
        assert!(!jobs.contains(&job["id"].as_str().unwrap().to_owned()));
        assert_eq!((&job["context"]["commit"], &job["context"]["tag"]), (&json!(shas[1]), &json!(shas[1])));
        assert_eq!(job["context"]["branch"], "feature/x");
    }
    // The webhook's job is still the first one.
    assert_eq!(daemon.hook("push", &again).await.json::<Value>().await.unwrap()["id"], jobs[1]);

    // The command line does the same.
    let table = String::from_utf8(daemon.cli(&["deliveries", "list"]).run().stdout).unwrap();
    let age = regex::Regex::new("(AGE|[0-9.]+m?s) +").unwrap();
    let values = jobs.iter().zip(["job a", "job b", "job c"]).map(|(id, name)| (id.as_str(), name)).collect::<Vec<_>>();
    insta::assert_snapshot!("table", masked(&age.replace_all(&table, "[age]  "), &values));
    let printed = String::from_utf8(daemon.cli(&["deliveries", "replay", id]).run().stdout).unwrap();
    assert_eq!(daemon.job(printed.trim()).await["context"]["commit"], shas[1]);
    let unknown = daemon.cli(&["deliveries", "replay", "nope"]).run();
    assert_eq!(unknown.status.code(), Some(5));
    insta::assert_snapshot!(String::from_utf8(unknown.stderr).unwrap(), @"image-factory: refused (404 ResourceNotFound): Unable to locate delivery with id: nope");

    // The role `read` may see a delivery and not replay it. The current ALLOW_REPOS counts.
    let path = format!("/deliveries/{id}");
    let reader = "reader-reader-reader";
    assert_eq!(daemon.bare_request(Method::GET, &path).bearer_auth(reader).send().await.unwrap().status(), 200);
    let path = format!("{path}/replay");
    assert_eq!(daemon.bare_request(Method::POST, &path).bearer_auth(reader).send().await.unwrap().status(), 403);
    assert_eq!(daemon.bare_request(Method::GET, "/deliveries").send().await.unwrap().status(), 401);
    daemon.term(std::time::Duration::from_secs(20)).await;
    daemon.set("ALLOW_REPOS", "other/*");
    daemon.restart().await;
    let (status, refused) = replay(&daemon, id).await;
    assert_eq!(status, 403);
    insta::assert_snapshot!("refused_by_allow_repos", masked_json(&refused, &[]));
    for wrong in ["limit=0", "limit=1001", "cursor=x"] {
        let answer = daemon.request(Method::GET, &format!("/deliveries?{wrong}")).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }

    // The database has neither the signature nor the body.
    daemon.term(std::time::Duration::from_secs(20)).await;
    for file in ["image-factory.db", "image-factory.db-wal"] {
        let bytes = std::fs::read(daemon.data_dir().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let signature = daemon.sha256(&again.to_string());
        assert!(!text.contains(&signature) && !text.contains("head_commit"), "{file}");
    }
}
