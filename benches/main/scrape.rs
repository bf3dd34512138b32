//! `GET /metrics` of a daemon that has ended a million jobs and sent a million notifications.

use std::time::{Duration, Instant};

use reqwest::Method;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::harness::{Daemon, Settings};
use super::{Row, median, ms};

const SCRAPES: usize = 50;

pub async fn measure() -> Vec<Row> {
    let settings = [("CONCURRENCY", "0"), ("RUST_LOG", "warn")];
    let mut daemon = Daemon::start(Settings::from(settings.map(|(name, value)| (name.into(), value.into())))).await;
    daemon.term(Duration::from_secs(10)).await;
    let file = daemon.data_dir().join("image-factory.db");
    let mut store = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    // The youngest 10,000 jobs wait, and as many notifications are dead.
    for sql in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1010000) \
         INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created, repository, branch) \
         SELECT printf('01a00000-0000-7000-8000-%012x', i), '{}', 0, 'image', iif(i > 1000000, 'pending', 'success'), 1, '[]', \
         0, i, 'acme/hello', 'develop' FROM n",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1010000) \
         INSERT INTO outbox (id, job, channel, body, state, attempts, created, next_at) \
         SELECT printf('01b00000-0000-7000-8000-%012x', i), printf('01a00000-0000-7000-8000-%012x', i), 'post-build', '{}', \
         iif(i > 1000000, 'dead', 'sent'), 1, i, i FROM n",
        "INSERT INTO ended (status, class, jobs) VALUES ('success', '', 1000000)",
    ] {
        sqlx::query(sql).execute(&mut store).await.unwrap();
    }
    store.close().await.unwrap();
    daemon.restart().await;
    let mut times = Vec::with_capacity(SCRAPES);
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        let answer = daemon.request(Method::GET, "/metrics").send().await.unwrap();
        let text = answer.text().await.unwrap();
        times.push(begun.elapsed());
        assert!(text.contains("image_factory_jobs{status=\"pending\"} 10000"), "{text}");
    }
    let longest = times.iter().max().copied().unwrap_or_default();
    vec![Row {
        what: "GET /metrics after 1,000,000 jobs and notifications, 10,000 jobs pending".into(),
        measured: format!("median {}, longest {}", ms(median(times)), ms(longest)),
        target: "longest < 50 ms".into(),
        met: longest < Duration::from_millis(50),
    }]
}
