use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

const SECOND: i64 = 1_000_000_000;

pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn seconds(snapshot: &Snapshot, path: &str) -> i64 {
    time(snapshot, path) / SECOND
}

pub(super) fn time(snapshot: &Snapshot, path: &str) -> i64 {
    snapshot.entry(path.as_bytes()).unwrap_or_else(|| panic!("no {path}")).mtime
}

/// Commits at a time of its own.
fn commit_at(repo: &Repo, on: &str, at: i64, files: &[(&str, &str)]) {
    repo.commit(on, files);
    amend_at(repo, on, at);
}

fn amend_at(repo: &Repo, on: &str, at: i64) {
    let mut git = std::process::Command::new("git");
    git.current_dir(repo.path(".")).args(["commit", "-q", "--amend", "--no-edit", "--allow-empty"]);
    let env = [("GIT_COMMITTER_DATE", &*format!("@{at} +0000")), ("GIT_COMMITTER_NAME", "T")];
    harness::succeed(git.envs(env).env("GIT_COMMITTER_EMAIL", "t@t"), b"");
    repo.git(&["push", "-q", "--force", "origin", &format!("HEAD:refs/heads/{on}")]);
}

#[tokio::test]
async fn first_history_then_the_builds_own_time() {
    let local = Local::new();
    commit_at(&local.repo, "develop", 1000, &[("old", "1"), ("d/a", "1"), ("d/b", "1")]);
    commit_at(&local.repo, "develop", 2000, &[("d/a", "2")]);
    commit_at(&local.repo, "develop", 3000, &[]);
    let first = local.snapshot().await.unwrap();
    let times = ["old", "d", "d/a", "d/b"].map(|path| seconds(&first, path));
    assert_eq!(times, [1000, 2000, 2000, 1000]);
    // The commit is the same.
    let again = local.snapshot().await.unwrap();
    assert_eq!((&again.entries, &again.generation), (&first.entries, &first.generation));
    // A commit that says it is old changes a file; the size stays.
    commit_at(&local.repo, "develop", 1500, &[("d/b", "3"), ("new", "1")]);
    let before = now();
    let second = local.snapshot().await.unwrap();
    assert_eq!(second.generation, first.generation);
    for path in ["d/b", "new", "d"] {
        assert!((before..=now()).contains(&time(&second, path)), "{path}");
    }
    for path in ["old", "d/a"] {
        assert_eq!(time(&second, path), time(&first, path));
    }
    // After a restart it is the same table.
    let mut local = local;
    local.restart();
    assert_eq!(local.snapshot().await.unwrap().entries, second.entries);
    // Another Dockerfile's table knows nothing of this one.
    let other = local.snapshot_of("develop", "another key").await.unwrap();
    assert_ne!(other.generation, second.generation);
    assert_eq!(seconds(&other, "d/b"), 1500);
}

#[tokio::test]
async fn a_merge_touches_what_it_brought() {
    let local = Local::new();
    let repo = &local.repo;
    commit_at(repo, "develop", 1000, &[("a", "1"), ("b", "1")]);
    repo.git(&["checkout", "-q", "-b", "topic"]);
    commit_at(repo, "topic", 2000, &[("a", "2")]);
    repo.git(&["checkout", "-q", "develop"]);
    commit_at(repo, "develop", 3000, &[("b", "2")]);
    repo.git(&["merge", "-q", "--no-ff", "-m", "merge", "topic"]);
    amend_at(repo, "develop", 4000);
    let snapshot = local.snapshot().await.unwrap();
    assert_eq!([seconds(&snapshot, "a"), seconds(&snapshot, "b")], [4000, 3000]);
}

#[tokio::test]
async fn history_is_looked_back_on_for_50_commits() {
    let import: String = (1..=60)
        .map(|i| {
            format!(
                "commit refs/heads/develop\ncommitter T <t@t> {i}000 +0000\ndata 1\nx\nM 644 inline f{i}\ndata 1\nx\n"
            )
        })
        .collect();
    for pure in [false, true] {
        let local = Local::with(|config| config.pure_history_times = pure);
        let mut git = std::process::Command::new("git");
        harness::succeed(git.args(["fast-import", "--quiet"]).current_dir(&local.repo.bare), import.as_bytes());
        let snapshot = local.snapshot().await.unwrap();
        // Pure history has no end: else what is beyond it would change with each commit.
        let oldest = if pure { 1000 } else { 11_000 };
        let times = ["f60", "f11", "f10", "f1"].map(|path| seconds(&snapshot, path));
        let tenth = if pure { 10_000 } else { oldest };
        assert_eq!(times, [60_000, 11_000, tenth, oldest]);
        // The same second, but not the same time: no two contents share one.
        assert_eq!(snapshot.generation == "history", pure);
    }
}

#[tokio::test]
async fn a_lost_or_damaged_table_is_another_generation() {
    let local = Local::new();
    commit_at(&local.repo, "develop", 1000, &[("a", "1")]);
    let first = local.snapshot().await.unwrap();
    let tables = local.dir.path().join("data/filetimes");
    let table = fs::read_dir(&tables).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&table, bytes).unwrap();
    let second = local.snapshot().await.unwrap();
    assert_ne!(second.generation, first.generation);
    // Files of the new generation are newer than all that was built with the lost table.
    assert!(now() - time(&second, "a") < 600 * SECOND);
    fs::remove_file(&table).unwrap();
    let third = local.snapshot().await.unwrap();
    assert_ne!(third.generation, second.generation);
    assert_eq!(third.entries, first.entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn builds_at_the_same_time_agree() {
    let local = Arc::new(Local::new());
    local.repo.commit("a", &[("x", "1"), ("y", "1")]);
    local.repo.commit("b", &[("x", "2"), ("y", "1")]);
    let tasks: Vec<_> = (0..12)
        .map(|i| {
            let local = local.clone();
            tokio::spawn(async move { local.snapshot_of(["a", "b"][i % 2], "key").await.unwrap() })
        })
        .collect();
    let mut seen = std::collections::HashMap::new();
    for task in tasks {
        let snapshot = task.await.unwrap();
        for entry in snapshot.entries {
            let content = seen.entry((snapshot.generation.clone(), entry.path, entry.mtime)).or_insert(entry.oid);
            assert_eq!(*content, entry.oid);
        }
    }
    // One life of the table, "y" with its one time, and "x" with others each time that it changed.
    assert!(seen.len() >= 3 && seen.keys().all(|(generation, ..)| *generation == seen.keys().next().unwrap().0));
    assert_eq!(seen.keys().filter(|(_, path, _)| path == b"y").count(), 1);
}
