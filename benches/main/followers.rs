//! A thousand followers of one live log, in each of the three ways, and a build beside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::harness::{World, unique};
use super::idle::resident_kib;
use super::{Row, median, ms};

const FOLLOWERS: usize = 1000;
/// Lines of the live log, and their distance in milliseconds.
const LINES: (usize, u64) = (100, 100);
/// Connections that are opened at once.
const AT_ONCE: usize = 20;
const KINDS: [(&str, &str, &str); 3] = [
    ("chunked", "?follow=1", ""),
    ("events", "", "Accept: text/event-stream\r\n"),
    (
        "WebSocket",
        "",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
];

pub async fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, query, headers) in KINDS {
        rows.extend(one_way(name, query, headers).await);
    }
    rows
}

async fn one_way(name: &str, query: &str, headers: &str) -> Vec<Row> {
    let world = World::start_with(&[("CONCURRENCY", "2")]).await;
    let (lines, pause) = (LINES.0, LINES.1 as f64 / 1000.0);
    let live = format!(
        "FROM image-factory-busybox:1\nRUN echo be''gun {}; while [ ! -e /tmp/x ] && sleep 0.5; do i=$((i+1)); [ $i -lt 40 ] || break; done; \
         i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo \"li\"\"ne $i.\"; sleep {pause}; done\n",
        unique()
    );
    world.repo.commit("live", &[("Dockerfile", &live)]);
    let beside = "FROM image-factory-busybox:1\nARG NR\n".to_owned()
        + &"RUN echo $NR; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done\n".repeat(4);
    world.repo.commit("beside", &[("Dockerfile", &beside)]);
    let alone = median(vec![build(&world, "a").await, build(&world, "b").await, build(&world, "c").await]);

    let daemon = &world.daemon;
    let id = daemon.submit(json!({"owner": "acme", "repo": "hello", "branch": "live"})).await;
    daemon.wait_log(&id, "begun").await;
    let before = resident_kib(daemon.pid());
    let request = format!(
        "GET /job/{id}/log{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
        daemon.token()
    );
    let (request, slots) = (Arc::new(request), Arc::new(Semaphore::new(AT_ONCE)));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let (opened, mut firsts) = mpsc::unbounded_channel();
    for _ in 0..FOLLOWERS {
        let (address, request, slots) = (format!("127.0.0.1:{}", daemon.port()), request.clone(), slots.clone());
        let (arrived, opened) = (arrived.clone(), opened.clone());
        tokio::spawn(async move {
            let slot = slots.acquire_owned().await.unwrap();
            let start = Instant::now();
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let (mut buffer, mut text, mut slot) = (vec![0; 16 << 10], Vec::new(), Some(slot));
            let mut next = 1;
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                text.extend_from_slice(&buffer[..n]);
                if slot.is_some() && find(&text, b"begun").is_some() {
                    slot = None;
                    opened.send(start.elapsed()).unwrap();
                }
                while let Some(at) = find(&text, format!("line {next}.").as_bytes()) {
                    let _ = arrived.send((next, Instant::now()));
                    text.drain(..at);
                    next += 1;
                }
            }
        });
    }
    let mut first_bytes = Vec::new();
    for _ in 0..FOLLOWERS {
        first_bytes.push(firsts.recv().await.unwrap());
    }
    let each = (resident_kib(daemon.pid()) - before) as f64 / FOLLOWERS as f64;
    daemon.wait_log(&id, "line 2.").await;
    let busy = median(vec![build(&world, "d").await, build(&world, "e").await, build(&world, "f").await]);
    let mut times = vec![Vec::new(); LINES.0];
    while let Some((line, at)) = arrivals.recv().await {
        times[line - 1].push(at);
        if line == LINES.0 && times[line - 1].len() == FOLLOWERS {
            break;
        }
    }
    let peak = (resident_kib(daemon.pid()) - before) as f64 / FOLLOWERS as f64;
    let mut delays: Vec<Duration> = times
        .iter()
        .flat_map(|times| {
            let first = *times.iter().min().unwrap();
            times.iter().map(move |at| *at - first)
        })
        .collect();
    let p99 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() * 99 / 100]
    };
    let (first, line) = (p99(&mut first_bytes), p99(&mut delays));
    let slower = busy.as_secs_f64() / alone.as_secs_f64() - 1.0;
    let row = |what: &str, measured: String, target: &str, met| Row {
        what: format!("{FOLLOWERS} followers by {name}: {what}"),
        measured,
        target: target.into(),
        met,
    };
    let limit = Duration::from_millis(100);
    vec![
        row("first byte, p99", ms(first), "< 100 ms", first < limit),
        row("a line at the last 1 % after the first, p99", ms(line), "< 100 ms", line < limit),
        row(
            "memory of each, idle and after all lines",
            format!("{each:.1} and {peak:.1} KB"),
            "< 20 KB",
            each.max(peak) < 20.0,
        ),
        row(
            "a build beside them",
            format!("{} alone, {} beside: {:+.1} %", ms(alone), ms(busy), slower * 100.0),
            "≤ 5 % slower",
            slower <= 0.05,
        ),
    ]
}

/// Returns how long a build took that finds nothing in the cache.
async fn build(world: &World, number: &str) -> Duration {
    let arguments = json!({"NR": format!("{number}{}", unique())});
    let body = json!({"owner": "acme", "repo": "hello", "branch": "beside", "build": {"buildArgs": arguments}});
    let start = Instant::now();
    let id = world.daemon.submit(body).await;
    world.daemon.wait_success(&id).await;
    start.elapsed()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
