//! Signed push hook → durable 201, over eight connections.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use super::Row;
use super::harness::{Daemon, HOOK_SECRET, Settings, push_payload};

const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(10);

pub async fn measure() -> Vec<Row> {
    let settings = [("CONCURRENCY", "0"), ("HOOK_SECRET", HOOK_SECRET), ("RUST_LOG", "warn")];
    let daemon = Daemon::start(Settings::from(settings.map(|(name, value)| (name.into(), value.into())))).await;
    let (start, cpu_before) = (Instant::now(), cpu(daemon.pid()));
    let workers: Vec<_> = (0..CONNECTIONS).map(|worker| send(&daemon, worker, start)).collect();
    let mut latencies = futures_util::future::join_all(workers).await.concat();
    let (took, cpu_after) = (start.elapsed(), cpu(daemon.pid()));
    latencies.sort_unstable();
    let stored = daemon.get("/job?limit=1000").await.as_array().unwrap().len();
    assert_eq!(stored, latencies.len().min(1000));

    let rate = latencies.len() as f64 / took.as_secs_f64();
    let percent = |part: usize| latencies[latencies.len() * part / 100].as_secs_f64() * 1000.0;
    let [user, system] = [0, 1].map(|kind| (cpu_after[kind] - cpu_before[kind]) * 1e6 / latencies.len() as f64);
    let what = format!("signed hook → durable 201, {CONNECTIONS} connections, {} s", TIME.as_secs());
    vec![
        Row { what: what.clone(), measured: format!("{rate:.0}/s"), target: "≥ 5000/s".into(), met: rate >= 5000.0 },
        Row {
            what,
            measured: format!("p50 {:.2} ms, p99 {:.2} ms", percent(50), percent(99)),
            target: "p99 < 10 ms".into(),
            met: percent(99) < 10.0,
        },
        Row {
            what: "the daemon's CPU time for one of them".into(),
            measured: format!("{:.0} µs: user {user:.0}, system {system:.0}", user + system),
            target: "≤ 105 µs".into(),
            met: user + system <= 105.0,
        },
    ]
}

/// Returns the user and system CPU time that a process has used, in seconds (proc_pid_stat(5), fields 14 and 15).
fn cpu(pid: i32) -> [f64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field, the name in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    [11, 12].map(|field| fields[field].parse::<f64>().unwrap() / ticks)
}

/// One connection's requests, one after the other, each with another commit; how long each took.
async fn send(daemon: &Daemon, worker: usize, start: Instant) -> Vec<Duration> {
    let address = format!("127.0.0.1:{}", daemon.port());
    let stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut latencies = Vec::new();
    while start.elapsed() < TIME {
        // Zeros alone would be a deletion.
        let sha = format!("{worker:08x}{:032x}", latencies.len() + 1);
        let mut payload = push_payload("acme/hello", "refs/heads/develop", &sha);
        // About the size that GitHub's have: 2 KB.
        payload["commits"] = json!([{"id": sha, "message": "x".repeat(1500)}]);
        let body = payload.to_string();
        let request = hyper::Request::post("/hooks/github")
            .header("Host", &address)
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", "push")
            .header("X-GitHub-Delivery", &sha)
            .header("X-Hub-Signature-256", format!("sha256={}", daemon.sha256(&body)))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        sender.ready().await.unwrap();
        let sent = Instant::now();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 201);
        response.into_body().collect().await.unwrap();
        latencies.push(sent.elapsed());
    }
    latencies
}
