mod deliveries;
mod images;
mod migrating;
mod outbox;
mod reconcile;
mod repo_case;
mod retention;
mod superseding;
mod tags;
mod turns;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::sqlite::SqlConnection;
use super::*;
use crate::model::{
    CommitId, FailureClass, Job, JobContext, JobId, JobProgress, Millis, NewJob, Origin, Outcome, RepoLimits,
    StageName, StageStatus, Stages, Status, TagResult,
};

const LEASE: Duration = Duration::from_secs(30);

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).await.unwrap().with_announce(announce());
    (dir, store)
}

fn context(repo: &str) -> JobContext {
    let text = format!(
        r#"{{"owner":"acme","repo":"{repo}","branch":"develop","commit":"HEAD","github":true,
            "dockerRepoBase":"quay.io/totem","tag":"HEAD","else":{{"a":[1]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn new(repo: &str) -> NewJob {
    NewJob { pushed: true, ..NewJob::new(context(repo), image()) }
}

fn image() -> String {
    "quay.io/totem/acme-hello:HEAD".into()
}

fn delivery(body: &str) -> Option<NewDelivery> {
    Some(NewDelivery {
        route: "/hooks/github",
        digest: body.into(),
        delivery_id: Some("an id".into()),
        forge: crate::model::Forge::GitHub,
        event: "push".into(),
    })
}

async fn add(store: &Store, repo: &str) -> Job {
    match store.add_job(new(repo), None).await.unwrap() {
        Added::New(job) => job,
        Added::Duplicate(job) => panic!("{} is a duplicate", job.id),
    }
}

fn notification(body: &str) -> NewNotification {
    let lane = uuid::Uuid::now_v7().to_string();
    NewNotification { channel: "test", destination: String::new(), lane, replaces: false, body: body.into() }
}

fn announce() -> Announce {
    Arc::new(|job, _| match job.status {
        Status::Running => Vec::new(),
        status => vec![notification(status.as_str())],
    })
}

fn commit() -> CommitId {
    "c0ffee01".repeat(5).parse().unwrap()
}

fn outcome(status: Status) -> Outcome {
    Outcome {
        status,
        stages: Stages::pending(),
        resolved_commit: Some(commit()),
        digest: Some("sha256:1".into()),
        cause: None,
        class: None,
        superseded_by: None,
        tags: Vec::new(),
    }
}

async fn sql(store: &Store, sql: &'static str) {
    store.write(move |conn| conn.execute(sql, &[])).await.unwrap();
}

#[tokio::test]
async fn a_job_is_stored_as_it_came() {
    let (_dir, store) = open().await;
    let job = add(&store, "hello").await;
    assert_eq!(store.job(job.id).await.unwrap(), Some(job.clone()));
    assert_eq!(job.context, context("hello"));
    assert_eq!(job.image, "quay.io/totem/acme-hello:HEAD");
    assert_eq!((job.status, job.attempt, job.stages), (Status::Pending, 0, Stages::default()));
    assert_eq!(store.job(JobId::new()).await.unwrap(), None);
}

#[tokio::test]
async fn a_job_whose_stored_commits_are_no_ids_is_read_without_them() {
    let (_dir, store) = open().await;
    let job = add(&store, "hello").await;
    let tags = r#"[{"name":"q.io/a:b","digest":null,"kept":"dead10"},{"name":"q.io/a:c","digest":"sha256:1"}]"#;
    let old = "UPDATE jobs SET resolved_commit = 'c0ffee', before = 'what?', superseded_by = '', tags = $1";
    store.write(move |conn| conn.execute(old, &[&tags])).await.unwrap();
    let tag = |name: &str, digest: Option<&str>| TagResult {
        name: name.into(),
        digest: digest.map(str::to_owned),
        kept: None,
    };
    let expected = Job { tags: vec![tag("q.io/a:b", None), tag("q.io/a:c", Some("sha256:1"))], ..job };
    assert_eq!(store.job(expected.id).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn jobs_are_listed_newest_first_in_pages() {
    let (_dir, store) = open().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(add(&store, &format!("r{n}")).await.id);
    }
    ids.reverse();
    let page = async |limit, before| {
        store.jobs(limit, before).await.unwrap().into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(page(2, None).await, ids[..2]);
    assert_eq!(page(2, Some(ids[1])).await, ids[2..4]);
    assert_eq!(page(9, Some(ids[3])).await, ids[4..]);
    assert_eq!(page(9, Some(ids[4])).await, []);
}

#[tokio::test]
async fn jobs_are_found_by_repository_branch_and_status() {
    let (_dir, store) = open().await;
    let mut ids = Vec::new();
    for (repo, branch) in [("a", "x"), ("a", "y"), ("b", "x"), ("A", "x")] {
        let context = JobContext { branch: branch.into(), ..context(repo) };
        let Added::New(job) = store.add_job(NewJob::new(context, image()), None).await.unwrap() else { panic!() };
        ids.push(job.id);
    }
    store.cancel(ids[0], "me").await.unwrap();
    let found = async |repository: Option<&str>, branch: Option<&str>, status, before| {
        let (repository, branch) = (repository.map(str::to_owned), branch.map(str::to_owned));
        let jobs = store
            .jobs_like(&JobFilter { repository, branch, status, ..JobFilter::default() }, 9, before)
            .await
            .unwrap();
        jobs.iter().map(|job| ids.iter().position(|id| *id == job.id).unwrap()).collect::<Vec<_>>()
    };
    let pending = Some(Status::Pending);
    assert_eq!(found(Some("acme/a"), None, None, None).await, [3, 1, 0]);
    assert_eq!(found(Some("Acme/A"), Some("x"), None, None).await, [3, 0]);
    assert_eq!(found(Some("acme/a"), Some("x"), pending, None).await, [3]);
    assert_eq!(found(Some("acme/a"), None, pending, None).await, [3, 1]);
    assert_eq!(found(Some("acme/a"), None, None, Some(ids[3])).await, [1, 0]);
    assert_eq!(found(None, None, pending, None).await, [3, 2, 1]);
    assert_eq!(found(None, None, Some(Status::Cancelled), None).await, [0]);
    assert!(found(Some("acme/none"), None, None, None).await.is_empty());
}

#[tokio::test]
async fn a_job_is_claimed_once_and_the_oldest_first() {
    let (_dir, store) = open().await;
    let ids = [add(&store, "a").await.id, add(&store, "b").await.id];
    let (one, two, three) = tokio::join!(store.claim("n", LEASE), store.claim("n", LEASE), store.claim("n", LEASE));
    let one = one.unwrap().unwrap();
    assert_eq!((one.id, one.status, one.attempt, one.stages.clone()), (ids[0], Status::Running, 1, Stages::pending()));
    assert!(one.start.is_some() && one.end.is_none());
    assert_eq!(two.unwrap().unwrap().id, ids[1]);
    assert_eq!(three.unwrap(), None);
}

#[tokio::test]
async fn a_runner_writes_only_in_its_attempt() {
    let (_dir, store) = open().await;
    add(&store, "a").await;
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    let mut stages = job.stages.clone();
    stages.get_mut(StageName::Clone).unwrap().status = StageStatus::Running;
    let tags = vec![TagResult { name: "q/a:b".into(), digest: Some("sha256:1".into()), kept: None }];
    let (resolved_commit, engine) = (Some(commit()), Some("one".to_owned()));
    let git_ref = Some("refs/heads/develop".to_owned());
    let progress =
        JobProgress { stages: stages.clone(), resolved_commit, git_ref, engine, tags: tags.clone(), is_exposed: true };
    store.save_progress(job.id, 1, &progress).await.unwrap();
    assert!(!store.renew(job.id, 1, LEASE).await.unwrap());
    let stored = store.job(job.id).await.unwrap().unwrap();
    assert_eq!((stored.stages, stored.resolved_commit), (stages.clone(), Some(commit())));
    assert_eq!(stored.engine.as_deref(), Some("one"));

    // Put back and claimed again: the first attempt has no say any more.
    let back = store.requeue(job.id, 1).await.unwrap();
    assert_eq!((back.status, back.start, back.stages), (Status::Pending, None, Stages::pending()));
    let second = store.claim("n", LEASE).await.unwrap().unwrap();
    assert_eq!((second.id, second.attempt), (job.id, 2));
    assert_eq!(second.first_start, job.start);
    let is_late = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Conflict(_))));
    is_late(store.save_progress(job.id, 1, &progress).await);
    is_late(store.renew(job.id, 1, LEASE).await.map(drop));
    is_late(store.requeue(job.id, 1).await.map(drop));
    let cause = "the engine is gone".to_owned();
    let retry = Retry { class: FailureClass::Engine, cause, resolved_commit: None, rest: LONGEST_REST };
    is_late(store.retry(job.id, 1, &retry).await.map(drop));
    assert_eq!(store.job(job.id).await.unwrap().unwrap().failures, 0);
    is_late(store.finish(job.id, 1, &outcome(Status::Success)).await.map(drop));
    assert!(store.due_notifications(9).await.unwrap().is_empty());

    let done = store.finish(job.id, 2, &outcome(Status::Success)).await.unwrap();
    assert_eq!(store.job(job.id).await.unwrap(), Some(done.clone()));
    // The second attempt told of no tag: what the first one pushed is still there.
    assert_eq!(done.tags, tags);
    assert_eq!((done.status, done.digest.as_deref()), (Status::Success, Some("sha256:1")));
    assert!(done.end >= done.start);
    assert_eq!(done.took(), Some(done.end.unwrap().since(job.start.unwrap())));
    is_late(store.finish(job.id, 2, &outcome(Status::Failure)).await.map(drop));
    is_late(store.cancel(job.id, "me").await.map(drop));
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_outcome_must_be_an_end() {
    let (_dir, store) = open().await;
    add(&store, "a").await;
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    assert!(store.finish(job.id, 1, &outcome(Status::Pending)).await.is_err());
    assert_eq!(store.job(job.id).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test]
async fn cancelling_ends_a_pending_job_and_marks_a_running_one() {
    let (_dir, store) = open().await;
    let ids = [add(&store, "a").await.id, add(&store, "b").await.id];
    let running = store.claim("n", LEASE).await.unwrap().unwrap();
    let pending = store.cancel(ids[1], "me").await.unwrap();
    assert_eq!((pending.status, pending.start), (Status::Cancelled, None));
    assert!(pending.end.is_some());
    let marked = store.cancel(running.id, "me").await.unwrap();
    assert_eq!((marked.status, marked.cancel_requested), (Status::Running, true));
    assert!(store.renew(running.id, 1, LEASE).await.unwrap());
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
    // A job that a user cancelled does not run again.
    let back = store.requeue(running.id, 1).await.unwrap();
    assert_eq!(back.status, Status::Cancelled);
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 2);
    assert!(matches!(store.cancel(JobId::new(), "me").await, Err(StoreError::NoJob(_))));
}

#[tokio::test]
async fn what_a_former_incarnation_held_is_put_back() {
    let (_dir, store) = open().await;
    for repo in ["mine", "cancelled", "other", "expired"] {
        add(&store, repo).await;
    }
    let mine = store.claim("me", LEASE).await.unwrap().unwrap();
    let cancelled = store.claim("me", LEASE).await.unwrap().unwrap();
    let mut stages = Stages::pending();
    stages.get_mut(StageName::Build).unwrap().status = StageStatus::Running;
    store.save_progress(cancelled.id, 1, &JobProgress { stages, ..JobProgress::default() }).await.unwrap();
    store.cancel(cancelled.id, "me").await.unwrap();
    let other = store.claim("other", LEASE).await.unwrap().unwrap();
    let expired = store.claim("gone", Duration::ZERO).await.unwrap().unwrap();
    sql(&store, "UPDATE jobs SET lease_until = lease_until - 1").await;

    let swept = store.sweep("me").await.unwrap();
    assert_eq!(swept.iter().map(|j| j.id).collect::<Vec<_>>(), [expired.id]);
    let back = store.recover("me", "boot").await.unwrap();
    assert_eq!(
        back.iter().map(|j| (j.id, j.status)).collect::<Vec<_>>(),
        [(mine.id, Status::Pending), (cancelled.id, Status::Cancelled)]
    );
    assert_eq!(back[1].clone().stages.get_mut(StageName::Build).unwrap().status, StageStatus::Cancelled);
    assert_eq!(store.job(other.id).await.unwrap().unwrap().status, Status::Running);
    assert_eq!(store.claim("me", LEASE).await.unwrap().unwrap().id, mine.id);
}

/// Has the daemon's former process end, and the next one of this boot start.
async fn restart(store: &Store, boot: &str) {
    store.recover("me", boot).await.unwrap();
}

#[tokio::test]
async fn a_death_by_a_signal_counts_for_the_jobs_that_were_exposed() {
    let (_dir, store) = open().await;
    restart(&store, "one").await;
    let (exposed, other) = (add(&store, "a").await.id, add(&store, "b").await.id);
    let claim = async |is_exposed: bool| {
        for _ in 0..2 {
            let job = store.claim("me", LEASE).await.unwrap().unwrap();
            let is_exposed = is_exposed && job.id == exposed;
            let progress = JobProgress { is_exposed, ..JobProgress::default() };
            store.save_progress(job.id, job.attempt, &progress).await.unwrap();
        }
    };
    let kills = async || {
        let of = async |id| store.job(id).await.unwrap().unwrap().kills;
        (of(exposed).await, of(other).await)
    };
    // A power failure, a stop and a death elsewhere say nothing about a job.
    claim(true).await;
    restart(&store, "two").await;
    claim(true).await;
    store.note_stop("me").await.unwrap();
    restart(&store, "two").await;
    claim(false).await;
    restart(&store, "two").await;
    assert_eq!(kills().await, (0, 0));
    for kill in 1..=3 {
        claim(true).await;
        restart(&store, "two").await;
        assert_eq!(kills().await, (kill, 0));
    }
    // A claim begins without what the former attempt did.
    claim(false).await;
    restart(&store, "two").await;
    assert_eq!(kills().await, (3, 0));
    // Two suspects at once are told by nobody.
    sql(&store, "UPDATE jobs SET kills = 2").await;
    claim(true).await;
    sql(&store, "UPDATE jobs SET exposed = 1").await;
    restart(&store, "two").await;
    assert_eq!(kills().await, (2, 2));
}

#[tokio::test]
async fn notifications_wait_for_their_time() {
    let (_dir, store) = open().await;
    add(&store, "a").await;
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    // A start is told as well.
    store.notified().await;
    let two: Announce = Arc::new(|_, _| vec![notification("{}"), notification("{}")]);
    store.clone().with_announce(two).finish(job.id, 1, &outcome(Status::Failure)).await.unwrap();
    store.notified().await;
    let due = store.due_notifications(9).await.unwrap();
    assert_eq!(due.len(), 2);
    assert_eq!((due[0].job, due[0].channel.as_str(), due[0].attempts), (job.id, "test", 0));
    let later = Millis::now() + Duration::from_secs(60);
    store.notification_failed(&due[0].id, "refused", Some(later)).await.unwrap();
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
    assert_eq!(store.next_notification().await.unwrap(), Some(later));
    sql(&store, "UPDATE outbox SET next_at = 0").await;
    assert_eq!(store.due_notifications(1).await.unwrap().len(), 1);
    let again = store.due_notifications(9).await.unwrap();
    assert_eq!(again.iter().find(|n| n.id == due[0].id).unwrap().attempts, 1);
    store.notification_sent(&due[0].id).await.unwrap();
    store.notification_failed(&due[1].id, "404", None).await.unwrap();
    assert!(store.due_notifications(9).await.unwrap().is_empty());
    assert_eq!(store.next_notification().await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_has_one_daemon_and_keeps_its_jobs() {
    let (dir, store) = open().await;
    let folder = dir.path().join("data");
    let job = add(&store, "a").await;
    let refused = Store::open(&folder).await.err().unwrap();
    assert!(matches!(refused, StoreError::Locked { .. }));
    assert!(refused.to_string().contains(&format!("the process {}:", std::process::id())), "{refused}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["image-factory.db", "image-factory.db-wal", "image-factory.db-shm", "lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Closed)));
    assert!(matches!(store.job(job.id).await, Err(StoreError::Closed)));
    let store = Store::open(&folder).await.unwrap();
    assert_eq!(store.job(job.id).await.unwrap(), Some(job));
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_file_are_refused() {
    let (dir, store) = open().await;
    let folder = dir.path().join("data");
    sql(
        &store,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', 1, 'x', 0)",
    )
    .await;
    store.close().await;
    assert!(matches!(Store::open(&folder).await, Err(StoreError::Newer { found: 99, known: sqlite::NEWEST, .. })));
    std::fs::write(folder.join("image-factory.db"), "this is no database".repeat(100)).unwrap();
    assert!(matches!(Store::open(&folder).await, Err(StoreError::Damaged { .. })));
    let error = Store::open(Path::new("/proc/nowhere")).await.err().unwrap();
    assert!(matches!(error, StoreError::Folder { .. }), "{error}");
}

/// A limit on the database's size fails as a full disk does, by SQLITE_FULL.
#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let (_dir, store) = open().await;
    let first = add(&store, "a").await;
    sql(&store, "PRAGMA max_page_count = 1").await;
    let big = || JobContext { branch: "x".repeat(20_000), ..context("big") };
    // Together with one that has room: it must not be told that it was stored if it was not.
    let (full, small) =
        tokio::join!(store.add_job(NewJob::new(big(), image()), delivery("1")), store.add_job(new("small"), None));
    let full = full.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    let stored = store.jobs(9, None).await.unwrap().len();
    assert_eq!(stored, 1 + usize::from(small.is_ok()));
    // The store works on in a new connection, which has no limit, and the delivery was not marked as seen.
    assert!(matches!(store.add_job(NewJob::new(big(), image()), delivery("1")).await.unwrap(), Added::New(_)));
    store.ping().await.unwrap();
    assert_eq!(store.job(first.id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn an_operation_that_fails_takes_nothing_with_it() {
    let (_dir, store) = open().await;
    let fails = store.write(|conn| {
        conn.execute("INSERT INTO pulse (id, at) VALUES (7, 7)", &[])?;
        conn.execute("INSERT INTO pulse (id, at) VALUES (7, 8)", &[])
    });
    let (before, failed, after) = tokio::join!(add(&store, "a"), fails, add(&store, "b"));
    assert!(matches!(failed, Err(StoreError::Database { .. })));
    assert_eq!(store.jobs(9, None).await.unwrap(), [after, before]);
    let count = store.read(|conn| conn.first("SELECT COUNT(*) FROM pulse", &[], |row| row.get::<_, i64>(0)));
    assert_eq!(count.await.unwrap(), Some(0));
}

/// No filter of a list looks at every job.
#[tokio::test]
async fn every_filter_of_jobs_has_its_index() {
    let (_dir, store) = open().await;
    let given = || Some(String::new());
    let none = JobFilter::default;
    for (filter, index) in [
        (none(), "sqlite_autoindex_jobs_1"),
        (JobFilter { status: Some(Status::Running), ..none() }, "jobs_by_status"),
        (JobFilter { repository: given(), ..none() }, "jobs_by_repository"),
        (JobFilter { repository: given(), branch: given(), ..none() }, "jobs_by_branch"),
        (JobFilter { commit: given(), ..none() }, "jobs_by_commit"),
        (JobFilter { image: given(), ..none() }, "jobs_by_image"),
        (JobFilter { updated_since: Some(Millis(0)), ..none() }, "jobs_by_update"),
    ] {
        for oldest_first in [false, true] {
            let sql = JobFilter { oldest_first, ..filter.clone() }.sql("*");
            let plan = store.read(move |conn| conn.plan(&sql)).await.unwrap();
            let steps: Vec<_> = plan.iter().filter(|step| step.contains(" jobs ")).collect();
            let is_indexed = |step: &&String| step.starts_with("SEARCH") && step.contains("INDEX");
            assert!(steps[0].contains(index) && steps.iter().all(is_indexed), "{filter:?}: {plan:#?}");
        }
    }
}
