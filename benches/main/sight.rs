//! The time from a line's being written to a log until its followers have it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use image_factory::logs::Logs;
use image_factory::model::{JobId, LogSink};
use zeroize::Zeroizing;

use super::harness::folder;
use super::{Row, ms};

const FOLLOWERS: usize = 100;
const LINES: usize = 500;
/// Pause between two lines in milliseconds, which no tick of a log is a multiple of.
const PAUSE: u64 = 7;

pub async fn measure() -> Vec<Row> {
    let dir = folder();
    let logs = Arc::new(Logs::open(dir.path().join("logs")).unwrap());
    let id = JobId::new();
    let writer = logs.writer(id);
    writer.mask(&[Zeroizing::new("a secret of a daemon".into())]);
    let start = Instant::now();
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|_| {
            let mut follower = logs.follow(id, 0);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(bytes) = follower.next().await.unwrap() {
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                    seen.extend(std::iter::repeat_n(start.elapsed(), lines));
                }
                seen
            })
        })
        .collect();
    let mut written = Vec::new();
    for line in 0..LINES {
        tokio::time::sleep(Duration::from_millis(PAUSE)).await;
        written.push(start.elapsed());
        writer.write(format!("line {line}\n").as_bytes());
    }
    // The end of a log shows what is held, so it comes after the last line was seen.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(writer);
    logs.end(id);
    let mut delays = Vec::new();
    for follower in followers {
        let seen = follower.await.unwrap();
        assert_eq!(seen.len(), LINES);
        delays.extend(seen.iter().zip(&written).map(|(seen, written)| *seen - *written));
    }
    delays.sort_unstable();
    let at = |hundredth: usize| delays[delays.len() * hundredth / 100];
    vec![Row {
        what: format!("from a written line to {FOLLOWERS} followers, p50 and p99"),
        measured: format!("{} and {}", ms(at(50)), ms(at(99))),
        target: "p99 ≤ 100 ms".into(),
        met: at(99) <= Duration::from_millis(100),
    }]
}
