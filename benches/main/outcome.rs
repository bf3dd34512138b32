//! The time from a job's outcome to its notification at a local server, by the daemon's `Store::finish` and outbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use image_factory::metrics::Metrics;
use image_factory::model::{Job, JobContext, NewJob, Outcome, Stages, Status};
use image_factory::notify::{self, Channels, PostBuild, PostBuildConfig};
use image_factory::outbound;
use image_factory::store::{Added, Announce, NewNotification, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, query};
use tokio_util::sync::CancellationToken;

use super::harness::{Served, Silent, folder};
use super::{Row, ms, poll};

const JOBS: usize = 300;
const SENT: u32 = 1_000_000;
/// The notifications that wait for the target that hangs.
const HUNG: usize = 5_000;

/// When the notification of a commit came.
type Came = Arc<Mutex<HashMap<String, Instant>>>;

pub async fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, hangs, sent) in [
        ("outcome → notification", false, 0),
        ("… beside a target that hangs", true, 0),
        ("… after 1,000,000 sent", true, SENT),
    ] {
        let mut took = one(hangs, sent).await;
        took.sort_unstable();
        let percent = |part: usize| took[took.len() * part / 100];
        rows.push(Row {
            what: format!("{what}, {JOBS} jobs"),
            measured: format!("p50 {}, p99 {}", ms(percent(50)), ms(percent(99))),
            target: "p99 < 100 ms".into(),
            met: percent(99) < Duration::from_millis(100),
        });
    }
    rows
}

async fn one(hangs: bool, sent: u32) -> Vec<Duration> {
    outbound::install_tls_provider();
    let came = Came::default();
    let server = Served::start(axum::Router::new().fallback(receive).with_state(came.clone()));
    let silent = Silent::start();
    let good = format!("http://{}/", server.address);
    let hung = format!("http://127.0.0.1:{}/", silent.port());
    let dir = folder();
    fill(dir.path(), sent).await;
    let store = Store::open(dir.path()).await.unwrap();
    if hangs {
        let only = hooks(vec![hung.clone()]);
        let many: Announce = Arc::new(move |job: &Job, previous| {
            let rows = only.announce(job, previous).into_iter();
            rows.flat_map(|row| (0..HUNG).map(move |n| NewNotification { lane: n.to_string(), ..row.clone() }))
                .collect()
        });
        outcomes(&store.clone().with_announce(many), 1).await;
    }
    let channels = hooks(if hangs { vec![hung, good] } else { vec![good] });
    let stop = CancellationToken::new();
    let outbox = tokio::spawn(notify::run(store.clone(), channels.clone(), Metrics::new().unwrap(), stop.clone()));
    let announce: Announce = Arc::new(move |job: &Job, previous| channels.announce(job, previous));
    let ended = outcomes(&store.clone().with_announce(announce), JOBS).await;
    poll("every notification has come", async || (came.lock().unwrap().len() == JOBS).then_some(())).await;
    stop.cancel();
    outbox.await.unwrap();
    store.close().await;
    let came = came.lock().unwrap();
    ended.iter().map(|(commit, at)| came[commit] - *at).collect()
}

fn hooks(urls: Vec<String>) -> Channels {
    let config = PostBuildConfig { urls, ..PostBuildConfig::default() };
    Channels::new(vec![Arc::new(PostBuild::new(config).unwrap())])
}

/// Jobs that end one after another: their commits, and when each outcome was handed in.
async fn outcomes(store: &Store, count: usize) -> Vec<(String, Instant)> {
    let mut ended = Vec::with_capacity(count);
    for n in 0..count {
        let text = r#"{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,
            "dockerRepoBase":"quay.io/totem","tag":"HEAD"}"#;
        let context: JobContext = serde_json::from_str(text).unwrap();
        let new = NewJob::new(context, "quay.io/totem/acme-hello:HEAD".into());
        let Added::New(_) = store.add_job(new, None).await.unwrap() else { unreachable!("no delivery") };
        let job = store.claim("bench", Duration::from_secs(60)).await.unwrap().unwrap();
        let commit = format!("{n:040x}");
        let outcome = Outcome {
            status: Status::Success,
            stages: Stages::pending(),
            resolved_commit: Some(commit.parse().unwrap()),
            digest: None,
            cause: None,
            class: None,
            superseded_by: None,
            tags: Vec::new(),
        };
        let at = Instant::now();
        store.finish(job.id, job.attempt, &outcome).await.unwrap();
        ended.push((commit, at));
    }
    ended
}

async fn receive(State(came): State<Came>, body: String) {
    let at = Instant::now();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    // The first arrival counts.
    came.lock().unwrap().entry(body["commit"].as_str().unwrap().into()).or_insert(at);
}

/// A database in which so many were sent.
async fn fill(dir: &std::path::Path, sent: u32) {
    if sent == 0 {
        return;
    }
    Store::open(dir).await.unwrap().close().await;
    let mut db = SqliteConnectOptions::new().filename(dir.join("image-factory.db")).connect().await.unwrap();
    let rows = query(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $1) \
         INSERT INTO outbox (id, job, channel, destination, lane, body, state, attempts, created, next_at, expires) \
         SELECT printf('0199%032d', n), '0199a1b2-0000-7000-8000-000000000001', 'post-build', n % 3, 'lane ' || n, \
         '{}', 'sent', 1, $2, $2, $2 FROM n",
    );
    let now = image_factory::model::Millis::now().0;
    rows.bind(sent).bind(now).execute(&mut db).await.unwrap();
}
