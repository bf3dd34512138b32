//! The daemon's costs while it waits, and the time of its start.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::harness::World;
use super::{Row, median, ms, poll};

pub async fn measure() -> Vec<Row> {
    let mut world = World::start().await;
    let resident = resident_kib(world.daemon.pid());
    let mut starts = Vec::new();
    for _ in 0..5 {
        world.daemon.term(Duration::from_secs(10)).await;
        let start = Instant::now();
        world.daemon.spawn();
        poll("ready", async || {
            let answer = world.daemon.bare_request(Method::GET, "/ready").send().await;
            answer.is_ok_and(|response| response.status() == 200).then_some(())
        })
        .await;
        starts.push(start.elapsed());
    }
    let ready = median(starts);
    vec![
        Row {
            what: "resident memory, idle, with etcd".into(),
            measured: format!("{:.1} MB", resident as f64 / 1024.0),
            target: "< 30 MB".into(),
            met: resident < 30 * 1024,
        },
        Row {
            what: "start → ready".into(),
            measured: ms(ready),
            target: "< 200 ms".into(),
            met: ready < Duration::from_millis(200),
        },
    ]
}

pub fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
