mod retries;
mod stops;

use sqlx::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::backoff::ATTEMPTS;
use super::*;
use tokio::sync::mpsc;

use crate::model::{CommitId, FailureClass, JobContext, LogSink, NewJob, Origin, StageName, StageStatus, Supersede};
use crate::model::{JobProgress, Stages};
use crate::store::{Added, Announce, NewNotification};

const LIMIT: Duration = Duration::from_secs(20);

/// A queue whose runner hands every run over to the test, and ends as the test says; it panics if that drops `end`.
struct Bench {
    dir: TempDir,
    store: Store,
    logs: Logs,
    handle: QueueHandle,
    ready: watch::Sender<bool>,
    shutdown: CancellationToken,
    runs: mpsc::UnboundedReceiver<(Run, oneshot::Sender<Outcome>)>,
    queue: JoinHandle<()>,
}

fn config(concurrency: usize) -> QueueConfig {
    QueueConfig {
        concurrency,
        node: "me".into(),
        boot: "boot".into(),
        lease: Duration::from_secs(30),
        drain: LIMIT,
        rules: Rules::default(),
        waits: Waits::default(),
        heart: Heartbeat::default(),
    }
}

async fn start(config: QueueConfig) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap().with_announce(announce());
    start_on(dir, store, config)
}

fn start_on(dir: TempDir, store: Store, config: QueueConfig) -> Bench {
    let logs = Logs::open(dir.path().join("logs")).unwrap();
    let (queue, handle) = Queue::new(store.clone(), logs.clone(), config);
    let (ready, is_ready) = watch::channel(true);
    let (runs_in, runs) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let runner = move |run: Run| {
        let (end, outcome) = oneshot::channel();
        runs_in.send((run, end)).ok();
        async move { outcome.await.expect("the test told no outcome") }
    };
    let queue = tokio::spawn(queue.run(is_ready, shutdown.clone(), runner));
    Bench { dir, store, logs, handle, ready, shutdown, runs, queue }
}

fn announce() -> Announce {
    Arc::new(|job, _| {
        let ended = job.status.is_terminal().then(|| NewNotification {
            channel: "test",
            destination: String::new(),
            lane: job.id.to_string(),
            replaces: false,
            body: job.status.as_str().into(),
        });
        ended.into_iter().collect()
    })
}

impl Bench {
    async fn add(&self) -> Job {
        let job = add(&self.store).await;
        self.handle.wake();
        job
    }

    async fn next(&mut self) -> (Run, oneshot::Sender<Outcome>) {
        timeout(LIMIT, self.runs.recv()).await.unwrap().unwrap()
    }

    async fn until(&self, id: JobId, what: impl Fn(&Job) -> bool) -> Job {
        until(async || Some(self.store.job(id).await.unwrap().unwrap()).filter(|job| what(job))).await
    }

    async fn status(&self, id: JobId, status: Status) -> Job {
        self.until(id, |job| job.status == status).await
    }

    /// This attempt has ended by infrastructure; if another one follows, it does at once.
    async fn after(&self, id: JobId, attempt: u32) {
        self.until(id, |job| job.failures == attempt.min(ATTEMPTS - 1) && job.status != Status::Running).await;
        self.sql("UPDATE jobs SET not_before = 1 WHERE not_before > 0").await;
        self.handle.wake();
    }

    /// By a connection of its own.
    async fn sql(&self, sql: &'static str) {
        let mut other = self.connect().await;
        sqlx::query(sql).execute(&mut other).await.unwrap();
    }

    async fn connect(&self) -> sqlx::SqliteConnection {
        let file = format!("sqlite://{}/image-factory.db", self.dir.path().display());
        sqlx::SqliteConnection::connect(&file).await.unwrap()
    }

    fn log(&self, id: JobId) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("logs/{id}.log"))).unwrap()
    }

    async fn stop(self) -> (TempDir, Store) {
        self.shutdown.cancel();
        timeout(LIMIT, self.queue).await.unwrap().unwrap();
        (self.dir, self.store)
    }
}

async fn until<T>(found: impl AsyncFn() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, search).await.unwrap()
}

async fn add(store: &Store) -> Job {
    let text = r#"{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,
        "dockerRepoBase":"quay.io/totem","tag":"HEAD"}"#;
    let context: JobContext = serde_json::from_str(text).unwrap();
    match store.add_job(NewJob::new(context, "quay.io/totem/acme-hello:HEAD".into()), None).await.unwrap() {
        Added::New(job) | Added::Duplicate(job) => job,
    }
}

fn outcome(status: Status) -> Outcome {
    let cause = Some("because".into());
    Outcome {
        status,
        stages: Stages::pending(),
        resolved_commit: None,
        digest: None,
        cause,
        class: None,
        superseded_by: None,
        tags: Vec::new(),
    }
}

fn running(stage: StageName) -> Stages {
    let mut stages = Stages::pending();
    stages.get_mut(stage).unwrap().status = StageStatus::Running;
    stages
}

#[tokio::test]
async fn a_job_runs_and_its_outcome_is_stored_and_announced() {
    let mut bench = start(config(2)).await;
    let id = bench.add().await.id;
    let mut follower = bench.logs.follow(id, 0);
    let (run, end) = bench.next().await;
    assert_eq!((run.job.id, run.job.attempt, run.job.status), (id, 1, Status::Running));
    run.log.write(b"hello\n");
    let stages = running(StageName::Clone);
    let commit: Option<CommitId> = Some("c0ffee01".repeat(5).parse().unwrap());
    run.progress
        .send(JobProgress {
            stages: stages.clone(),
            git_ref: None,
            resolved_commit: commit.clone(),
            engine: Some("one".into()),
            tags: Vec::new(),
            is_exposed: false,
        })
        .ok()
        .unwrap();
    let is_there = |job: &Job| job.stages == stages && job.resolved_commit == commit;
    assert_eq!(bench.until(id, is_there).await.engine.as_deref(), Some("one"));
    end.send(outcome(Status::Success)).unwrap();
    let job = bench.status(id, Status::Success).await;
    assert_eq!((job.stages, job.resolved_commit), (Stages::pending(), commit));
    assert_eq!(bench.store.due_notifications(9).await.unwrap()[0].body, "success");
    // The log's followers end with the job.
    assert_eq!(timeout(LIMIT, follower.next()).await.unwrap().unwrap().unwrap(), "hello\n");
    assert_eq!(timeout(LIMIT, follower.next()).await.unwrap().unwrap(), None);
    bench.stop().await;
}

#[tokio::test]
async fn failures_and_panics_end_a_job() {
    let mut bench = start(config(3)).await;
    let failed = bench.add().await.id;
    let (_run, end) = bench.next().await;
    end.send(outcome(Status::Failure)).unwrap();
    assert_eq!(bench.status(failed, Status::Failure).await.cause.as_deref(), Some("because"));

    let panicked = bench.add().await.id;
    for attempt in 1..=ATTEMPTS {
        let (run, end) = bench.next().await;
        run.progress.send(JobProgress { stages: running(StageName::Build), ..JobProgress::default() }).ok().unwrap();
        drop((run, end));
        bench.after(panicked, attempt).await;
    }
    let mut job = bench.status(panicked, Status::Failure).await;
    assert!(job.cause.unwrap().contains("internal error"));
    assert_eq!(job.class, Some(FailureClass::LostWorker));
    assert_eq!(job.stages.get_mut(StageName::Build).unwrap().status, StageStatus::Failure);

    let nonsense = bench.add().await.id;
    let (_run, end) = bench.next().await;
    end.send(outcome(Status::Pending)).unwrap();
    bench.until(nonsense, |job| job.class == Some(FailureClass::LostWorker)).await;
    bench.stop().await;
}

#[tokio::test]
async fn no_more_run_than_there_are_slots() {
    let mut bench = start(config(2)).await;
    for _ in 0..4 {
        bench.add().await;
    }
    let (mut first, end_first) = bench.next().await;
    let (_second, _end_second) = bench.next().await;
    let pending =
        async || bench.store.jobs(9, None).await.unwrap().iter().filter(|j| j.status == Status::Pending).count();
    assert_eq!(pending().await, 2);
    assert!(bench.runs.try_recv().is_err());
    // A push that waits lets the next one in, and goes on.
    first.slot = BuildSlot(None);
    let (third, end_third) = bench.next().await;
    end_first.send(outcome(Status::Success)).unwrap();
    bench.status(first.job.id, Status::Success).await;
    assert!(bench.runs.try_recv().is_err());
    end_third.send(outcome(Status::Success)).unwrap();
    drop(third);
    bench.next().await;
}

#[tokio::test]
async fn without_slots_or_while_not_ready_nothing_is_claimed() {
    let bench = start(config(0)).await;
    let id = bench.add().await.id;
    let (dir, store) = bench.stop().await;
    assert_eq!(store.job(id).await.unwrap().unwrap().attempt, 0);

    let mut bench = start_on(dir, store, config(1));
    let (run, end) = bench.next().await;
    bench.ready.send(false).unwrap();
    let waits = bench.add().await.id;
    end.send(outcome(Status::Success)).unwrap();
    drop(run);
    bench.status(id, Status::Success).await;
    assert_eq!(bench.store.job(waits).await.unwrap().unwrap().status, Status::Pending);
    bench.ready.send(true).unwrap();
    assert_eq!(bench.next().await.0.job.id, waits);
}

#[tokio::test]
async fn users_cancel_pending_and_running_jobs() {
    let mut bench = start(config(1)).await;
    let ids = [bench.add().await.id, bench.add().await.id];
    let (run, end) = bench.next().await;
    let mut follower = bench.logs.follow(ids[1], 0);
    assert_eq!(bench.handle.cancel(ids[1], "me").await.unwrap().status, Status::Cancelled);
    assert_eq!(timeout(LIMIT, follower.next()).await.unwrap().unwrap(), None);

    assert_eq!(bench.handle.cancel(ids[0], "me").await.unwrap().status, Status::Running);
    timeout(LIMIT, run.cancel.cancelled()).await.unwrap();
    end.send(outcome(Status::Cancelled)).unwrap();
    bench.status(ids[0], Status::Cancelled).await;
    assert!(matches!(bench.handle.cancel(ids[0], "me").await, Err(StoreError::Conflict(Status::Cancelled))));
    assert_eq!(bench.store.due_notifications(9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_cancel_that_the_handle_did_not_see_comes_with_the_lease() {
    let mut bench = start(QueueConfig { lease: Duration::from_millis(1500), ..config(1) }).await;
    let id = bench.add().await.id;
    let (run, end) = bench.next().await;
    bench.store.cancel(id, "me").await.unwrap();
    timeout(LIMIT, run.cancel.cancelled()).await.unwrap();
    end.send(outcome(Status::Cancelled)).unwrap();
    bench.status(id, Status::Cancelled).await;
}

#[tokio::test]
async fn a_newer_commit_stops_what_runs_and_ends_what_waits() {
    let rules = Rules { supersede: Supersede::Running, ..Rules::default() };
    let mut bench = start(QueueConfig { rules, ..config(1) }).await;
    let push = |before: char, after: char| {
        let text = format!(
            r#"{{"owner":"acme","repo":"hello","branch":"develop","commit":"{}","github":true,"dockerRepoBase":"q","tag":"x"}}"#,
            after.to_string().repeat(40)
        );
        let new = NewJob::new(serde_json::from_str(&text).unwrap(), "q/x:x".into());
        let (git_ref, before) =
            (Some("refs/heads/develop".to_owned()), Some(before.to_string().repeat(40).parse().unwrap()));
        NewJob { origin: Origin::Hook, git_ref, before, ..new }
    };
    let add = async |new| match bench.handle.add(new, None).await.unwrap() {
        Added::New(job) | Added::Duplicate(job) => job.id,
    };
    let first = add(push('a', 'b')).await;
    let (run, end) = timeout(LIMIT, bench.runs.recv()).await.unwrap().unwrap();
    let waits = add(push('c', 'd')).await;
    let mut follower = bench.logs.follow(waits, 0);
    assert!(!run.cancel.is_cancelled());
    let last = add(push('d', 'e')).await;
    assert_eq!(bench.store.job(waits).await.unwrap().unwrap().status, Status::Cancelled);
    let said = format!("Superseded by {}\n", "e".repeat(40));
    assert_eq!(timeout(LIMIT, follower.next()).await.unwrap().unwrap().unwrap(), said);
    assert_eq!(timeout(LIMIT, follower.next()).await.unwrap().unwrap(), None);
    let between = add(push('b', 'c')).await;
    timeout(LIMIT, run.cancel.cancelled()).await.unwrap();
    end.send(outcome(Status::Cancelled)).unwrap();
    drop(run);
    for id in [first, between] {
        let job = bench.status(id, Status::Cancelled).await;
        assert_eq!(job.superseded_by, Some("e".repeat(40).parse().unwrap()));
        let log = bench.dir.path().join(format!("logs/{id}.log"));
        until(async || std::fs::read_to_string(&log).ok().filter(|log| *log == said)).await;
    }
    assert_eq!(bench.next().await.0.job.id, last);
}

/// Without waiting for the tick, which is 5 s.
#[tokio::test]
async fn the_end_of_a_rest_and_of_a_job_at_the_cap_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap().with_repo_concurrency(1);
    let ids = [add(&store).await.id, add(&store).await.id];
    let file = format!("sqlite://{}/image-factory.db", dir.path().display());
    let mut other = sqlx::SqliteConnection::connect(&file).await.unwrap();
    let rests = sqlx::query("UPDATE jobs SET not_before = $1 WHERE id = $2");
    rests.bind((Millis::now() + Duration::from_secs(1)).0).bind(ids[1].to_string()).execute(&mut other).await.unwrap();
    let begun = Instant::now();
    let mut bench = start_on(dir, store, config(2));
    let (run, end) = bench.next().await;
    assert_eq!(run.job.id, ids[0]);
    end.send(outcome(Status::Success)).unwrap();
    drop(run);
    let (run, end) = bench.next().await;
    assert_eq!(run.job.id, ids[1]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let third = bench.add().await.id;
    end.send(outcome(Status::Success)).unwrap();
    drop(run);
    let ended = Instant::now();
    assert_eq!(bench.next().await.0.job.id, third);
    assert!(ended.elapsed() < Duration::from_secs(4), "{:?}", ended.elapsed());
}

#[tokio::test]
async fn no_more_run_than_the_engines_have_slots() {
    let (engines, slots) = watch::channel(Some(1));
    let waits = Waits { slots, ..Waits::default() };
    let mut bench = start(QueueConfig { waits, ..config(3) }).await;
    let ids = [bench.add().await.id, bench.add().await.id, bench.add().await.id];
    let (first, end) = bench.next().await;
    let last = bench.store.job(ids[2]).await.unwrap().unwrap();
    let why = bench.handle.wait_reason(&last).await.unwrap().unwrap();
    assert_eq!(why.reason, "1 job waits before it, and 1 run (the engines have 1 slot)");
    assert!(bench.runs.try_recv().is_err());
    engines.send_replace(Some(2));
    let (_second, _end_second) = bench.next().await;
    drop(first);
    end.send(outcome(Status::Success)).unwrap();
    bench.next().await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_run_and_its_outcome_counts_for_nothing() {
    let mut bench = start(QueueConfig { lease: Duration::from_millis(1500), ..config(1) }).await;
    let id = bench.add().await.id;
    let (run, end) = bench.next().await;
    bench.store.requeue(id, 1).await.unwrap();
    timeout(LIMIT, run.cancel.cancelled()).await.unwrap();
    end.send(outcome(Status::Success)).unwrap();
    drop(run);
    let (run, end) = bench.next().await;
    assert_eq!((run.job.id, run.job.attempt), (id, 2));
    assert!(bench.store.due_notifications(9).await.unwrap().is_empty());
    end.send(outcome(Status::Failure)).unwrap();
    assert_eq!(bench.status(id, Status::Failure).await.attempt, 2);
}

/// Another connection's transaction keeps the store from writing, as a disk that hangs does.
#[tokio::test]
async fn while_nothing_can_be_written_runs_stop_in_time_and_outcomes_are_kept() {
    let mut bench = start(QueueConfig { lease: Duration::from_secs(3), ..config(2) }).await;
    let ids = [bench.add().await.id, bench.add().await.id];
    let (done, end_done) = bench.next().await;
    let (stuck, _end_stuck) = bench.next().await;
    let mut other = bench.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let locked = Instant::now();
    end_done.send(outcome(Status::Success)).unwrap();
    drop(done);
    timeout(LIMIT, stuck.cancel.cancelled()).await.unwrap();
    assert!(locked.elapsed() < Duration::from_secs(3), "{:?}", locked.elapsed());
    assert_eq!(bench.store.job(ids[0]).await.unwrap().unwrap().status, Status::Running);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    bench.status(ids[0], Status::Success).await;
    drop(stuck);
    let (again, _end) = bench.next().await;
    assert_eq!((again.job.id, again.job.attempt), (ids[1], 2));
}
