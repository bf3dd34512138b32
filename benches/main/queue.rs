//! The store's queue: who is claimed when 10,000 jobs wait, and what 1,000,000 finished jobs cost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image_factory::model::{Job, JobContext, JobId, NewJob, Outcome, StageStatus, Stages, Status};
use image_factory::store::{Added, Announce, Store};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, query};

use super::harness::{Daemon, Settings, folder};
use super::idle::resident_kib;
use super::{Row, ms};

const LEASE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(10);

/// 10,000 jobs wait: 9,900 of one repository before 100 of others, and ten of each of 1,000.
pub async fn waiting() -> Vec<Row> {
    let mut rows = Vec::new();
    let uneven: Vec<_> = (0..10_000).map(|n: usize| if n < 9_900 { 0 } else { n - 9_899 }).collect();
    let even: Vec<_> = (0..10_000).map(|n| n / 10).collect();
    for (what, repos) in [("9,900 of one repository", uneven), ("1,000 repositories", even)] {
        let dir = folder();
        let store = Store::open(&dir.path().join("data")).await.unwrap().with_repo_concurrency(2);
        for chunk in repos.chunks(250) {
            let added = chunk.iter().map(|repo| add(&store, *repo));
            futures_util::future::join_all(added).await;
        }
        let mut turns: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut took = Vec::new();
        for turn in 0..repos.len() {
            let start = Instant::now();
            let job = claim(&store).await.unwrap();
            took.push(start.elapsed());
            turns.entry(job.context.repo.clone()).or_default().push(turn);
            finish(&store, &job).await;
        }
        let (first, last) = (p(&took[..1000], 99), p(&took[9000..], 99));
        rows.push(Row {
            what: format!("claim, 10,000 jobs wait, {what}"),
            measured: format!(
                "p50 {}, p99 {}; p99 of the first 1,000 {}, of the last {}",
                ms(p(&took, 50)),
                ms(p(&took, 99)),
                ms(first),
                ms(last)
            ),
            target: "p99 < 10 ms".into(),
            met: p(&took, 99) < LIMIT && last < LIMIT,
        });
        // A repository's n-th turn is in the n-th round: no round is longer than the repositories that wait.
        let longest = turns.values().flat_map(|turns| turns.windows(2).map(|pair| pair[1] - pair[0])).max().unwrap();
        let first_turns = turns.values().map(|turns| turns[0]).max().unwrap() + 1;
        rows.push(Row {
            what: format!("longest wait of a repository, {what}"),
            measured: format!("{} turns ({} repositories)", longest.max(first_turns), turns.len()),
            target: format!("≤ {}", turns.len()),
            met: longest.max(first_turns) <= turns.len(),
        });
    }
    rows
}

/// A page, a job and a claim beside 1,000,000 finished jobs.
pub async fn finished() -> Vec<Row> {
    let dir = folder();
    let data = dir.path().join("data");
    let few = costs(&data).await;
    let store = Store::open(&data).await.unwrap();
    add(&store, 1).await;
    let job = claim(&store).await.unwrap();
    finish(&store, &job).await;
    store.close().await;
    let mut conn = SqliteConnectOptions::new().filename(data.join("image-factory.db")).connect().await.unwrap();
    copies(&mut conn, job.id, 1_000_000).await;
    conn.close().await.unwrap();
    let many = costs(&data).await;
    let row = |what: &str, of: fn(&Costs) -> &Vec<Duration>| Row {
        what: format!("{what} beside 1,000,000 finished jobs"),
        measured: format!(
            "p50 {}, p99 {} (empty: {})",
            ms(p(of(&many), 50)),
            ms(p(of(&many), 99)),
            ms(p(of(&few), 99))
        ),
        target: "p99 < 10 ms".into(),
        met: p(of(&many), 99) < LIMIT,
    };
    let mut rows = vec![
        row("GET /job?limit=100, anywhere,", |costs| &costs.list),
        row("GET /job?repository=&limit=100", |costs| &costs.of_one),
        row("GET /job/{id}", |costs| &costs.get),
        row("claim", |costs| &costs.claim),
    ];
    rows.push(Row {
        what: "resident memory after 4,000 of these".into(),
        measured: format!("{:.1} MB (empty: {:.1})", many.resident as f64 / 1024.0, few.resident as f64 / 1024.0),
        target: "≤ 10 MB more".into(),
        met: many.resident < few.resident + 10 * 1024,
    });
    rows
}

#[derive(Default)]
struct Costs {
    list: Vec<Duration>,
    of_one: Vec<Duration>,
    get: Vec<Duration>,
    claim: Vec<Duration>,
    /// KiB, of a daemon that answered the first three.
    resident: u64,
}

async fn costs(data: &std::path::Path) -> Costs {
    let mut costs = Costs::default();
    let store = Store::open(data).await.unwrap();
    for n in 0..1000 {
        add(&store, n % 10).await;
        let start = Instant::now();
        let job = claim(&store).await.unwrap();
        costs.claim.push(start.elapsed());
        finish(&store, &job).await;
    }
    store.close().await;

    let settings =
        [("CONCURRENCY", "0"), ("API_AUTH", "none"), ("DATA_DIR", data.to_str().unwrap()), ("RUST_LOG", "warn")];
    let daemon = Daemon::start(Settings::from(settings.map(|(name, value)| (name.into(), value.into())))).await;
    let ask = async |path: String| {
        let start = Instant::now();
        let answer = daemon.bare_request(reqwest::Method::GET, &path).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        (answer.bytes().await.unwrap(), start.elapsed())
    };
    let mut cursor = String::from("ffffffff-ffff-ffff-ffff-ffffffffffff");
    for round in 0..1000u32 {
        let (page, took) = ask(format!("/job?limit=100&cursor={cursor}")).await;
        costs.list.push(took);
        let page: Vec<serde_json::Value> = serde_json::from_slice(&page).unwrap();
        let id = page.last().map_or(cursor.clone(), |job| job["id"].as_str().unwrap().to_owned());
        costs.of_one.push(ask(format!("/job?repository=acme/r{}&limit=100", round % 1000)).await.1);
        if !page.is_empty() {
            costs.get.push(ask(format!("/job/{id}")).await.1);
        }
        // Somewhere else among all of them.
        let at = round.wrapping_mul(2_654_435_761) % 1_000_000;
        cursor = if round % 2 == 0 { copy_id(at) } else { "ffffffff-ffff-ffff-ffff-ffffffffffff".into() };
    }
    costs.resident = resident_kib(daemon.pid());
    costs
}

/// The id of a copy: before all that are made now.
fn copy_id(n: u32) -> String {
    format!("01900000-{:04x}-7{:03x}-8{:03x}-{n:012x}", n >> 16, (n >> 4) & 0xfff, n & 0xf)
}

/// Makes `count` copies of a finished job, of 1,000 repositories, as a daemon would have after years.
async fn copies(conn: &mut SqliteConnection, of: JobId, count: u32) {
    assert_eq!(copy_id(0x123456), "01900000-0012-7345-8006-000000123456");
    // Else it writes its indices' pages again and again: 1 GB of memory for the time of the filling.
    for pragma in ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000"] {
        query(pragma).execute(&mut *conn).await.unwrap();
    }
    query(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
         INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, resolved_commit, digest, \
         cancel_requested, created, start_time, end_time, repository, branch, origin, git_ref, before, after) \
         SELECT printf('01900000-%04x-7%03x-8%03x-%012x', i >> 16, (i >> 4) & 4095, i & 15, i), context, 1, image, status, \
         attempt, stages, resolved_commit, digest, 0, created, start_time, end_time, 'acme/r' || (i % 1000), 'develop', \
         'hook', 'refs/heads/develop', printf('%040x', i - 1000), printf('%040x', i) FROM n, jobs WHERE jobs.id = $1",
    )
    .bind(of.to_string())
    .bind(count)
    .execute(&mut *conn)
    .await
    .unwrap();
}

async fn add(store: &Store, repo: usize) {
    let text = format!(
        r#"{{"owner":"acme","repo":"r{repo}","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"q.io/t","tag":"HEAD"}}"#
    );
    let context: JobContext = serde_json::from_str(&text).unwrap();
    let added = store.add_job(NewJob::new(context, format!("q.io/t/acme-r{repo}:HEAD")), None).await.unwrap();
    assert!(matches!(added, Added::New(_)));
}

async fn claim(store: &Store) -> Option<Job> {
    store.claim("bench", LEASE).await.unwrap()
}

async fn finish(store: &Store, job: &Job) {
    let mut stages = Stages::pending();
    for stage in &mut stages.0 {
        (stage.status, stage.exit_code, stage.start, stage.end) = (StageStatus::Success, Some(0), Some(1), Some(2));
    }
    let outcome = Outcome {
        status: Status::Success,
        stages,
        resolved_commit: Some("a".repeat(40).parse().unwrap()),
        digest: Some(format!("sha256:{}", "b".repeat(64))),
        cause: None,
        class: None,
        superseded_by: None,
        tags: Vec::new(),
    };
    store.finish(job.id, job.attempt, &outcome).await.unwrap();
}

fn p(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
