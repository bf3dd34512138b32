//! Deliveries of webhooks are listed without their secrets, and can be replayed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Daemon, HOOK_SECRET, Settings, push_payload};

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
    // An event that makes no job is no delivery: a ping, a deleted branch.
    assert_eq!(daemon.hook("ping", &json!({"zen": "x"})).await.status(), 204);
    let mut deleted = push_payload("acme/hello", "refs/heads/gone", &"0".repeat(40));
    deleted["deleted"] = true.into();
    assert_eq!(daemon.hook("push", &deleted).await.status(), 204);
    // The same once more, under another id.
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
        assert_eq!((&delivery["after"], &delivery["job"]), (&json!(sha), &json!(job)));
        assert_eq!(delivery["ref"], "refs/heads/feature/x");
        assert_eq!((&delivery["owner"], &delivery["repo"]), (&json!("acme"), &json!("hello")));
        assert_eq!((&delivery["route"], &delivery["event"]), (&json!("/hooks/github"), &json!("push")));
        assert_eq!(delivery["before"], "0".repeat(40));
        assert_eq!(delivery["digest"].as_str().unwrap().len(), 64);
    }
    assert_eq!(listed.iter().map(|d| d["repeats"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(listed[1]["repeatTime"].is_string() && listed[0]["repeatTime"].is_null());
    let id = listed[1]["id"].as_str().unwrap();
    assert_eq!(daemon.get(&format!("/deliveries/{id}")).await, *listed[1]);

    // Replayed twice it is two jobs, as of the push.
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
    // The webhook still belongs to the first job.
    assert_eq!(daemon.hook("push", &again).await.json::<Value>().await.unwrap()["id"], jobs[1]);

    // By the command line.
    let table = String::from_utf8(daemon.cli(&["deliveries", "list"]).run().stdout).unwrap();
    assert!(table.lines().count() == 4 && table.contains("acme/hello  feature/x  bbbbbbbbbbbb"), "{table}");
    let printed = String::from_utf8(daemon.cli(&["deliveries", "replay", id]).run().stdout).unwrap();
    assert_eq!(daemon.job(printed.trim()).await["context"]["commit"], shas[1]);
    let unknown = daemon.cli(&["deliveries", "replay", "nope"]).run();
    assert_eq!(unknown.status.code(), Some(5));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("Unable to locate delivery with id: nope"), "{said}");

    // A reader may look and not replay; ALLOW_REPOS counts as it is now.
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
    assert!(refused["message"].as_str().unwrap().contains("acme/hello is not built here"), "{refused}");
    for wrong in ["limit=0", "limit=1001", "cursor=x"] {
        let answer = daemon.request(Method::GET, &format!("/deliveries?{wrong}")).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }

    // Nothing of the signature is kept.
    daemon.term(std::time::Duration::from_secs(20)).await;
    for file in ["image-factory.db", "image-factory.db-wal"] {
        let bytes = std::fs::read(daemon.data_dir().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let signature = daemon.sha256(&again.to_string());
        assert!(!text.contains(&signature) && !text.contains("head_commit"), "{file}");
    }
}
