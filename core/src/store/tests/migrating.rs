//! A database of version 1 with something in it, opened by this version.

use std::collections::BTreeSet;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr, query};

use super::*;

const FIRST: &str = include_str!("../migrations/0001_initial.sql");

/// Jobs in every state, with a delivery each and an outbox row for those that have ended.
async fn version_1(folder: &Path, ids: &[JobId]) {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join("image-factory.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut conn = options.journal_mode(SqliteJournalMode::Wal).connect().await.unwrap();
    let first = Migration::new(1, "initial".into(), MigrationType::Simple, FIRST.into_sql_str(), false);
    Migrator::with_migrations(vec![first]).run(&mut conn).await.unwrap();
    for (n, (id, status)) in
        ids.iter().zip(["success", "failure", "cancelled", "running", "pending", "pending"]).enumerate()
    {
        let (attempt, claimed) = if status == "pending" { (0, "NULL") } else { (1, "'me'") };
        let claimed = if status == "running" { claimed } else { "NULL" };
        let stages = if attempt == 0 { "[]".into() } else { serde_json::to_string(&Stages::pending()).unwrap() };
        let job = format!(
            r#"INSERT INTO jobs VALUES ('{id}', '{{"owner":"Acme","repo":"Hello{n}","branch":"feature/x","commit":"HEAD",
            "github":true,"dockerRepoBase":"q.io/t","tag":"HEAD","own":[1],"build":{{"target":"x"}},"target":"a'' \"b\"","buildArgs":{{"A":"1"}},"keepGitDir":true,"image":null}}', 1, 'q.io/t/acme-hello:HEAD', '{status}',
            {attempt}, '{stages}', NULL, NULL, NULL, 0, 1, NULL, NULL, {claimed}, NULL)"#
        );
        let delivery = format!(
            "INSERT INTO deliveries VALUES ('/hooks/github', '{n}', NULL, 'push', '{id}', {})",
            Millis::now().0
        );
        let state = ["sent", "dead", "due", "", "", ""][n];
        let row = format!("INSERT INTO outbox VALUES ('{id}', '{id}', 'post-build', '{{}}', '{state}', 1, 1, 1, NULL)");
        for sql in [Some(job), Some(delivery), Some(row).filter(|_| !state.is_empty())].into_iter().flatten() {
            query(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        }
    }
    sqlx::Connection::close(conn).await.unwrap();
}

#[tokio::test]
async fn version_1_is_taken_over_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<JobId> = (0..6).map(|_| JobId::new()).collect();
    version_1(dir.path(), &ids).await;
    let store = Store::open(dir.path()).await.unwrap().with_announce(announce());
    let jobs = store.jobs(99, None).await.unwrap();
    assert_eq!(jobs.iter().rev().map(|job| job.id).collect::<Vec<_>>(), ids);
    let state = |job: &Job| (job.origin.as_str(), job.dialect.as_str(), job.priority, job.failures, job.pushed);
    assert!(jobs.iter().all(|job| state(job) == ("api", "totem", 0, 0, true)));
    // The options of the build have come under one name.
    let build = serde_json::json!({"target": "a' \"b\"", "buildArgs": {"A": "1"}, "keepGitDir": true, "image": null});
    let extra = serde_json::json!({"own": [1], "build": build, "formerBuild": {"target": "x"}});
    assert!(jobs.iter().all(|job| serde_json::json!(job.context.extra) == extra), "{:?}", jobs[0].context.extra);
    let filter =
        JobFilter { repository: Some("acme/hello0".into()), branch: Some("feature/x".into()), ..JobFilter::default() };
    assert_eq!(store.jobs_like(&filter, 9, None).await.unwrap()[0].id, ids[0]);

    // Pushed images are known, and nothing else.
    assert_eq!(store.other_users(&jobs[0]).await.unwrap(), ["acme/hello0"]);
    assert_eq!(store.other_users(&jobs[5]).await.unwrap(), Vec::<String>::new());

    // A delivery of before is known, and what was due still is.
    let Added::Duplicate(known) = store.add_job(new("x"), delivery("4")).await.unwrap() else { panic!() };
    assert_eq!(known.id, ids[4]);
    assert_eq!(store.due_notifications(9).await.unwrap().iter().map(|n| n.job).collect::<Vec<_>>(), [ids[2]]);

    // All that had not ended runs: what waited, and what the former process held.
    let back = store.recover("me", "boot").await.unwrap();
    assert_eq!(back.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[3]]);
    let mut claimed = BTreeSet::new();
    while let Some(job) = store.claim("me", LEASE).await.unwrap() {
        store.finish(job.id, job.attempt, &outcome(Status::Success)).await.unwrap();
        claimed.insert(job.id);
    }
    assert_eq!(claimed, BTreeSet::from([ids[3], ids[4], ids[5]]));
    store.close().await;
    Store::open(dir.path()).await.unwrap();
}

/// Older versions stored a job of a commit alone with the branch that the wire has by default.
#[tokio::test]
async fn a_job_of_a_commit_alone_is_of_no_branch() {
    let dir = tempfile::tempdir().unwrap();
    let announce: Announce = Arc::new(|job, previous| match job.status {
        Status::Running => Vec::new(),
        _ => vec![notification(previous.map_or("none", Status::as_str))],
    });
    let store = Store::open(dir.path()).await.unwrap().with_announce(announce);
    let of_commit = JobContext { branch_left_out: true, commit: commit().to_string(), ..context("a") };
    let of_head = JobContext { branch_left_out: true, ..context("a") };
    let mut ids = Vec::new();
    for context in [context("a"), of_commit, of_head] {
        let Added::New(job) = store.add_job(NewJob::new(context, image()), None).await.unwrap() else { panic!() };
        let claimed = store.claim("me", LEASE).await.unwrap().unwrap();
        store.finish(claimed.id, claimed.attempt, &outcome(Status::Success)).await.unwrap();
        ids.push(job.id);
    }
    let branch =
        JobFilter { repository: Some("acme/a".into()), branch: Some("develop".into()), ..JobFilter::default() };
    let listed = async |store: &Store| store.job_ids_like(&branch, 9, None).await.unwrap();
    let expected = [ids[2], ids[0]];
    assert_eq!(listed(&store).await, expected);
    // The job before it on the default branch says nothing about it.
    let said = store.due_notifications(9).await.unwrap().into_iter().map(|n| n.body).collect::<Vec<_>>();
    assert_eq!(said, ["none", "none", "success"]);

    sql(&store, "UPDATE jobs SET branch = 'develop'").await;
    assert_eq!(listed(&store).await.len(), 3);
    sql(&store, "DELETE FROM _sqlx_migrations WHERE version = 24").await;
    store.close().await;
    let store = Store::open(dir.path()).await.unwrap();
    assert_eq!(listed(&store).await, expected);
}
