mod migrating;
mod outbox;
mod reconcile;
mod superseding;
mod turns;

use std::os::unix::fs::MetadataExt;

use sqlx::Row;

use super::*;
use crate::model::{
    Context, FailureClass, Job, JobId, NewJob, Origin, Outcome, StageName, StageStatus, Stages, Status,
};

const LEASE: Duration = Duration::from_secs(30);

async fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).await.unwrap();
    (dir, store)
}

fn context(repo: &str) -> Context {
    let text = format!(
        r#"{{"owner":"acme","repo":"{repo}","branch":"develop","commit":"HEAD","github":true,
            "dockerRepoBase":"quay.io/totem","tag":"HEAD","else":{{"a":[1]}}}}"#
    );
    Context { pushed: true, ..serde_json::from_str(&text).unwrap() }
}

fn new(repo: &str) -> NewJob {
    NewJob::new(context(repo), image())
}

fn image() -> String {
    "quay.io/totem/acme-hello:HEAD".into()
}

fn delivery(body: &str) -> Option<NewDelivery> {
    Some(NewDelivery {
        route: "/hooks/github",
        digest: body.into(),
        delivery_id: Some("an id".into()),
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

fn outcome(status: Status) -> Outcome {
    Outcome {
        status,
        stages: Stages::pending(),
        resolved_commit: Some("c0ffee".into()),
        digest: Some("sha256:1".into()),
        cause: None,
        class: None,
        superseded_by: None,
    }
}

async fn sql(store: &Store, sql: &'static str) {
    store.write(move |conn| async move { Ok(query(sql).execute(conn).await.map(drop)?) }.boxed()).await.unwrap();
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
        let context = Context { branch: branch.into(), ..context(repo) };
        let Added::New(job) = store.add_job(NewJob::new(context, image()), None).await.unwrap() else { panic!() };
        ids.push(job.id);
    }
    store.cancel(ids[0], &announce()).await.unwrap();
    let found = async |repository: Option<&str>, branch: Option<&str>, status, before| {
        let (repository, branch) = (repository.map(str::to_owned), branch.map(str::to_owned));
        let jobs = store.jobs_like(&JobFilter { repository, branch, status }, 9, before).await.unwrap();
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
async fn a_tag_has_the_commit_that_it_was_last_given() {
    let (_dir, store) = open().await;
    assert_eq!(store.tag_holder("q.io/t/a:latest").await.unwrap(), None);
    for commit in ["a", "b"] {
        store.hold_tag("q.io/t/a:latest", commit).await.unwrap();
        assert_eq!(store.tag_holder("q.io/t/a:latest").await.unwrap().as_deref(), Some(commit));
    }
    assert_eq!(store.tag_holder("q.io/t/b:latest").await.unwrap(), None);
}

#[tokio::test]
async fn a_delivery_makes_one_job_in_24_hours() {
    let (_dir, store) = open().await;
    let Added::New(first) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    let Added::Duplicate(again) = store.add_job(new("b"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(again, first);
    let Added::New(other) = store.add_job(new("a"), delivery("2")).await.unwrap() else { panic!() };
    let elsewhere = delivery("1").map(|d| NewDelivery { route: "/elsewhere", ..d });
    assert!(matches!(store.add_job(new("a"), elsewhere).await.unwrap(), Added::New(_)));
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 3);

    sql(&store, "UPDATE deliveries SET received = received - 24 * 3600 * 1000 - 1 WHERE digest = '1'").await;
    let Added::New(next_day) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    let Added::Duplicate(again) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(again.id, next_day.id);
    assert_ne!(next_day.id, other.id);
}

#[tokio::test]
async fn a_delivery_is_kept_with_its_repeats_for_30_days() {
    let (_dir, store) = open().await;
    let Added::New(first) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    for _ in 0..3 {
        store.add_job(new("a"), delivery("1")).await.unwrap();
    }
    let kept = store.deliveries(9, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].repeats, kept[0].job, &kept[0].context.repo), (1, 3, first.id, &"a".to_owned()));
    assert!(kept[0].repeated >= Some(kept[0].received));
    // The same two days later is another one, and the first is still there.
    sql(&store, "UPDATE deliveries SET received = received - 2 * 24 * 3600 * 1000").await;
    let Added::New(second) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    store.add_job(new("a"), None).await.unwrap();
    let kept = store.deliveries(9, None).await.unwrap();
    assert_eq!(kept.iter().map(|d| (d.job, d.repeats)).collect::<Vec<_>>(), [(second.id, 0), (first.id, 3)]);
    assert_eq!(store.deliveries(9, Some(kept[0].id)).await.unwrap(), kept[1..]);
    assert_eq!(store.delivery(kept[1].id).await.unwrap().as_ref(), Some(&kept[1]));
    assert_eq!(store.delivery(uuid::Uuid::now_v7()).await.unwrap(), None);

    let later = |days: u64| Millis::now() + Duration::from_secs(days * 24 * 3600);
    assert_eq!(store.forget_deliveries(later(29)).await.unwrap(), 0);
    assert_eq!(store.forget_deliveries(later(31)).await.unwrap(), 2);
    assert_eq!(store.deliveries(9, None).await.unwrap(), []);
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 3);
}

/// Whichever comes first, the webhook or who looks for what is missed.
#[tokio::test]
async fn a_commit_that_was_missed_and_its_webhook_are_one_job() {
    let (_dir, store) = open().await;
    let of = |repo: &str, branch: &str, commit: &str, origin| {
        let context = Context { branch: branch.into(), commit: commit.into(), ..context(repo) };
        let git_ref = Some(format!("refs/heads/{branch}"));
        NewJob { origin, git_ref, ..NewJob::new(context, image()) }
    };
    let hook = |branch: &str, commit: &str| of("a", branch, commit, Origin::Hook);
    let missed = |branch: &str, commit: &str| of("A", branch, commit, Origin::Missed);
    let Added::New(_) = store.add_job(hook("x", "1"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(store.add_missed(missed("x", "1"), JobId::new()).await.unwrap(), None);
    let found = store.add_missed(missed("x", "2"), JobId::new()).await.unwrap().unwrap();
    assert_eq!(store.add_missed(missed("x", "2"), JobId::new()).await.unwrap(), None);
    let Added::Duplicate(same) = store.add_job(hook("x", "2"), delivery("2")).await.unwrap() else { panic!() };
    assert_eq!((same.id, same.origin), (found.id, Origin::Missed));
    // On another branch it is another push, and so it is when another one came between.
    let Added::New(_) = store.add_job(hook("y", "2"), delivery("3")).await.unwrap() else { panic!() };
    let Added::New(_) = store.add_job(hook("x", "3"), delivery("4")).await.unwrap() else { panic!() };
    let Added::New(_) = store.add_job(hook("x", "2"), delivery("5")).await.unwrap() else { panic!() };
    // At once: one of the two.
    let (by_hook, by_look) =
        tokio::join!(store.add_job(hook("x", "6"), delivery("6")), store.add_missed(missed("x", "6"), JobId::new()));
    let is_new = matches!(by_hook.unwrap(), Added::New(_));
    assert_ne!(is_new, by_look.unwrap().is_some());
    // A head that was read before another push came may be an old one.
    let asked = JobId::new();
    store.add_job(hook("x", "8"), delivery("8")).await.unwrap();
    assert_eq!(store.add_missed(missed("x", "7"), asked).await.unwrap(), None);
    // What was asked for otherwise and found to be it counts, too.
    let job = add(&store, "b").await;
    while store.claim("n", LEASE, &announce()).await.unwrap().is_some_and(|claimed| claimed.id != job.id) {}
    store.finish(job.id, 1, &outcome(Status::Success), &announce()).await.unwrap();
    assert_eq!(store.add_missed(of("b", "develop", "c0ffee", Origin::Missed), JobId::new()).await.unwrap(), None);
}

#[tokio::test]
async fn branches_are_known_by_their_webhooks() {
    let (_dir, store) = open().await;
    let push = |repo: &str, branch: &str, git_ref: &str, commit: &str| {
        let context = Context { branch: branch.into(), commit: commit.into(), ..context(repo) };
        NewJob { origin: Origin::Hook, git_ref: Some(git_ref.into()), ..NewJob::new(context, image()) }
    };
    for (repo, branch, git_ref, commit) in [
        ("b", "x", "refs/heads/x", "1"),
        ("b", "x", "refs/heads/x", "2"),
        ("b", "v1", "refs/tags/v1", "3"),
        ("b", "develop", "refs/heads/develop", "4"),
        ("c", "v1", "refs/tags/v1", "5"),
    ] {
        store.add_job(push(repo, branch, git_ref, commit), None).await.unwrap();
    }
    add(&store, "a").await;
    let (mut last, mut known) = (String::new(), Vec::new());
    while let Some((repository, branches)) = store.known_branches(&last).await.unwrap() {
        let branches: Vec<_> = branches.into_iter().map(|b| (b.context.branch, b.context.commit)).collect();
        known.push((repository.clone(), branches));
        last = repository;
    }
    let of_b = [("x", "2"), ("develop", "4")].map(|(branch, commit)| (branch.to_owned(), commit.to_owned()));
    assert_eq!(known, [("acme/a".into(), vec![]), ("acme/b".into(), of_b.into()), ("acme/c".into(), vec![])]);
}

#[tokio::test]
async fn deliveries_of_before_keep_their_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image-factory.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut old = options.connect().await.unwrap();
    schema::migrate_to(&mut old, &file, 1).await.unwrap();
    let context = serde_json::to_string(&context("a")).unwrap();
    let (job, received) = (JobId::new(), Millis::now());
    query(
        "INSERT INTO jobs (id, context, pushed, image, status, attempt, stages, cancel_requested, created) \
           VALUES ($1, $2, 1, 'i', 'success', 1, '[]', 0, $3)",
    )
    .bind(job.to_string())
    .bind(context)
    .bind(received.0)
    .execute(&mut old)
    .await
    .unwrap();
    query("INSERT INTO deliveries VALUES ('/hooks/github', '1', 'an id', 'push', $1, $2)")
        .bind(job.to_string())
        .bind(received.0)
        .execute(&mut old)
        .await
        .unwrap();
    sqlx::Connection::close(old).await.unwrap();

    let store = Store::open(dir.path()).await.unwrap();
    let kept = store.deliveries(9, None).await.unwrap();
    assert_eq!((kept.len(), kept[0].job, kept[0].received, kept[0].repeats), (1, job, received, 0));
    let Added::Duplicate(same) = store.add_job(new("a"), delivery("1")).await.unwrap() else { panic!() };
    assert_eq!(same.id, job);
}

#[tokio::test]
async fn the_same_delivery_many_times_at_once_makes_one_job() {
    let (_dir, store) = open().await;
    let all = futures_util::future::join_all((0..50).map(|_| store.add_job(new("a"), delivery("1")))).await;
    let new = all.into_iter().filter(|added| matches!(added.as_ref().unwrap(), Added::New(_))).count();
    assert_eq!(new, 1);
    assert_eq!(store.jobs(9, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_job_is_claimed_once_and_the_oldest_first() {
    let (_dir, store) = open().await;
    let ids = [add(&store, "a").await.id, add(&store, "b").await.id];
    let told = announce();
    let (one, two, three) =
        tokio::join!(store.claim("n", LEASE, &told), store.claim("n", LEASE, &told), store.claim("n", LEASE, &told));
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
    let job = store.claim("n", LEASE, &announce()).await.unwrap().unwrap();
    let mut stages = job.stages.clone();
    stages.get_mut(StageName::Clone).unwrap().status = StageStatus::Running;
    store.save_stages(job.id, 1, &stages, Some("c0ffee"), Some("one"), &announce()).await.unwrap();
    assert!(!store.renew(job.id, 1, LEASE).await.unwrap());
    let stored = store.job(job.id).await.unwrap().unwrap();
    assert_eq!((stored.stages, stored.resolved_commit.as_deref()), (stages.clone(), Some("c0ffee")));
    assert_eq!(stored.engine.as_deref(), Some("one"));

    // Put back and claimed again: the first attempt has no say any more.
    let back = store.requeue(job.id, 1, &announce()).await.unwrap();
    assert_eq!((back.status, back.start, back.stages), (Status::Pending, None, Stages::pending()));
    let second = store.claim("n", LEASE, &announce()).await.unwrap().unwrap();
    assert_eq!((second.id, second.attempt), (job.id, 2));
    let is_late = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Conflict(_))));
    is_late(store.save_stages(job.id, 1, &stages, None, None, &announce()).await);
    is_late(store.renew(job.id, 1, LEASE).await.map(drop));
    is_late(store.requeue(job.id, 1, &announce()).await.map(drop));
    let cause = "the engine is gone".to_owned();
    let retry = Retry { class: FailureClass::Engine, cause, resolved_commit: None, rest: LONGEST_REST };
    is_late(store.retry(job.id, 1, &retry, &announce()).await.map(drop));
    assert_eq!(store.job(job.id).await.unwrap().unwrap().failures, 0);
    is_late(store.finish(job.id, 1, &outcome(Status::Success), &announce()).await.map(drop));
    assert!(store.due_notifications(9).await.unwrap().is_empty());

    let done = store.finish(job.id, 2, &outcome(Status::Success), &announce()).await.unwrap();
    assert_eq!(store.job(job.id).await.unwrap(), Some(done.clone()));
    assert_eq!((done.status, done.digest.as_deref()), (Status::Success, Some("sha256:1")));
    assert!(done.end >= done.start);
    is_late(store.finish(job.id, 2, &outcome(Status::Failure), &announce()).await.map(drop));
    is_late(store.cancel(job.id, &announce()).await.map(drop));
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_outcome_must_be_an_end() {
    let (_dir, store) = open().await;
    add(&store, "a").await;
    let job = store.claim("n", LEASE, &announce()).await.unwrap().unwrap();
    assert!(store.finish(job.id, 1, &outcome(Status::Pending), &announce()).await.is_err());
    assert_eq!(store.job(job.id).await.unwrap().unwrap().status, Status::Running);
}

#[tokio::test]
async fn cancelling_ends_a_pending_job_and_marks_a_running_one() {
    let (_dir, store) = open().await;
    let ids = [add(&store, "a").await.id, add(&store, "b").await.id];
    let running = store.claim("n", LEASE, &announce()).await.unwrap().unwrap();
    let pending = store.cancel(ids[1], &announce()).await.unwrap();
    assert_eq!((pending.status, pending.start), (Status::Cancelled, None));
    assert!(pending.end.is_some());
    let marked = store.cancel(running.id, &announce()).await.unwrap();
    assert_eq!((marked.status, marked.cancel_requested), (Status::Running, true));
    assert!(store.renew(running.id, 1, LEASE).await.unwrap());
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
    // What a user cancelled does not run again.
    let back = store.requeue(running.id, 1, &announce()).await.unwrap();
    assert_eq!(back.status, Status::Cancelled);
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 2);
    assert!(matches!(store.cancel(JobId::new(), &announce()).await, Err(StoreError::NoJob(_))));
}

#[tokio::test]
async fn what_a_former_incarnation_held_is_put_back() {
    let (_dir, store) = open().await;
    for repo in ["mine", "cancelled", "other", "expired"] {
        add(&store, repo).await;
    }
    let mine = store.claim("me", LEASE, &announce()).await.unwrap().unwrap();
    let cancelled = store.claim("me", LEASE, &announce()).await.unwrap().unwrap();
    let mut stages = Stages::pending();
    stages.get_mut(StageName::Build).unwrap().status = StageStatus::Running;
    store.save_stages(cancelled.id, 1, &stages, None, None, &announce()).await.unwrap();
    store.cancel(cancelled.id, &announce()).await.unwrap();
    let other = store.claim("other", LEASE, &announce()).await.unwrap().unwrap();
    let expired = store.claim("gone", Duration::ZERO, &announce()).await.unwrap().unwrap();
    sql(&store, "UPDATE jobs SET lease_until = lease_until - 1").await;

    let swept = store.sweep("me", &announce()).await.unwrap();
    assert_eq!(swept.iter().map(|j| j.id).collect::<Vec<_>>(), [expired.id]);
    let back = store.recover("me", &announce()).await.unwrap();
    assert_eq!(
        back.iter().map(|j| (j.id, j.status)).collect::<Vec<_>>(),
        [(mine.id, Status::Pending), (cancelled.id, Status::Cancelled)]
    );
    assert_eq!(back[1].clone().stages.get_mut(StageName::Build).unwrap().status, StageStatus::Cancelled);
    assert_eq!(store.job(other.id).await.unwrap().unwrap().status, Status::Running);
    assert_eq!(store.claim("me", LEASE, &announce()).await.unwrap().unwrap().id, mine.id);
}

#[tokio::test]
async fn notifications_wait_for_their_time() {
    let (_dir, store) = open().await;
    add(&store, "a").await;
    let job = store.claim("n", LEASE, &announce()).await.unwrap().unwrap();
    // A start is told as well.
    store.notified().await;
    let two: Announce = Arc::new(|_, _| vec![notification("{}"), notification("{}")]);
    store.finish(job.id, 1, &outcome(Status::Failure), &two).await.unwrap();
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
    assert!(matches!(Store::open(&folder).await, Err(StoreError::Newer { found: 99, known: 2, .. })));
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
    let big = || Context { branch: "x".repeat(20_000), ..context("big") };
    // Together with one that has room: it must not be told that it was stored if it was not.
    let (full, small) =
        tokio::join!(store.add_job(NewJob::new(big(), image()), delivery("1")), store.add_job(new("small"), None));
    let full = full.unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    let stored = store.jobs(9, None).await.unwrap().len();
    assert_eq!(stored, 1 + usize::from(small.is_ok()));
    // It works on, in a new connection, which knows no limit; and the delivery was not marked as seen.
    assert!(matches!(store.add_job(NewJob::new(big(), image()), delivery("1")).await.unwrap(), Added::New(_)));
    store.ping().await.unwrap();
    assert_eq!(store.job(first.id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn an_operation_that_fails_takes_nothing_with_it() {
    let (_dir, store) = open().await;
    let fails = store.write(|conn| {
        async move {
            query("INSERT INTO pulse (id, at) VALUES (7, 7)").execute(&mut *conn).await?;
            query("INSERT INTO pulse (id, at) VALUES (7, 8)").execute(conn).await?;
            Ok(())
        }
        .boxed()
    });
    let (before, failed, after) = tokio::join!(add(&store, "a"), fails, add(&store, "b"));
    assert!(matches!(failed, Err(StoreError::Database { .. })));
    assert_eq!(store.jobs(9, None).await.unwrap(), [after, before]);
    let left = query("SELECT COUNT(*) FROM pulse").fetch_one(&store.readers).await.unwrap();
    assert_eq!(left.get::<i64, _>(0), 0);
}
