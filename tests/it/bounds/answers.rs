use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use reqwest::Method;

use super::DOCKERFILE;
use crate::harness::{World, eventually};

const JOBS: usize = 80;
const CLIENTS: usize = 30;

/// A list of large jobs goes out in parts, and clients that read nothing hold no more than there is for answers.
#[tokio::test]
async fn lists_of_large_jobs_share_their_memory() {
    let settings =
        [("MEMORY_BUDGET", "36MiB"), ("CONCURRENCY", "0"), ("IMAGES_ALLOWED", "generator=quay.io/acme/cts/*")];
    let world = World::start_with(&settings).await;
    let daemon = &world.daemon;
    // JSON makes six bytes of each.
    let dockerfile = URL_SAFE.encode(format!("FROM scratch\n#{}\n", "\x01".repeat(38_000)));
    let mut ids = Vec::new();
    for number in 0..JOBS {
        let path = format!("/b1/build?imagename=quay.io/acme/cts/n{number}:1&dockerfile={dockerfile}");
        let answer = daemon.request(Method::GET, &path).send().await.unwrap().error_for_status().unwrap();
        ids.push(answer.text().await.unwrap());
    }
    ids.reverse();

    let ask = |_| {
        let mut client = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
        let head = format!("GET /job HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", daemon.token());
        client.write_all(head.as_bytes()).unwrap();
        client
    };
    let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
    let budget = daemon.metric("image_factory_answer_memory_budget_bytes").await;
    assert_eq!(budget, f64::from((6 << 20) - (3 << 19)));
    let held = async || daemon.metric("image_factory_answer_memory_held_bytes").await;
    // Parts that nobody takes leave too little for another one.
    let is_taken = async || (held().await > budget / 2.0).then_some(());
    eventually(Duration::from_secs(60), "the memory is taken", is_taken).await;
    let sha = world.repo.commit("develop", &[DOCKERFILE]);
    let pushed = daemon.push_event("acme/hello", "develop", &sha).await;
    assert!(held().await <= budget);
    drop(clients);

    let all_free = async || (held().await == 0.0).then_some(());
    eventually(Duration::from_secs(60), "the memory is free", all_free).await;
    let answer = daemon.request(Method::GET, "/job").send().await.unwrap();
    assert!(answer.status().is_success() && !answer.headers().contains_key("etag"), "{answer:?}");
    let jobs: Vec<serde_json::Value> = answer.json().await.unwrap();
    let listed: Vec<_> = jobs.iter().map(|job| job["id"].as_str().unwrap().replace('-', "")).collect();
    assert_eq!(listed, [&[pushed.replace('-', "")][..], &ids].concat());
    let page = daemon.request(Method::GET, "/job?limit=2").send().await.unwrap();
    assert!(page.headers().contains_key("etag"), "{page:?}");
    // Without the bound the answers of all clients are in memory at once: 18 MB each, and more while they are made.
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 300 << 10, "{peak}");
}
