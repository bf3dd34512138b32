use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::*;
use crate::model::LogSink;

fn logs() -> (tempfile::TempDir, Logs) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path().join("logs")).unwrap();
    (dir, logs)
}

async fn rest(mut log: LogFollower) -> String {
    let mut all = Vec::new();
    while let Some(bytes) = timeout(Duration::from_secs(10), log.next()).await.unwrap().unwrap() {
        assert!(bytes.len() <= 64 * 1024);
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn followers_see_everything_once_and_end() {
    let (_dir, logs) = logs();
    let id = JobId::new();
    // One follower comes before the first byte, one in the middle of a line, and one after the end.
    let early = tokio::spawn(rest(logs.follow(id, 0)));
    let writer = logs.writer(id);
    let big = "0123456789\n".repeat(20_000);
    writer.write(big.as_bytes());
    let middle = tokio::spawn(rest(logs.follow(id, 219_995)));
    for n in 0..100 {
        writer.write(format!("line {n}\n").as_bytes());
        tokio::task::yield_now().await;
    }
    drop(writer);
    logs.end(id);
    let all = std::fs::read_to_string(logs.path(id)).unwrap();
    assert!(all.starts_with("0123") && all.ends_with("line 99\n"));
    assert_eq!(early.await.unwrap(), all);
    assert_eq!(middle.await.unwrap(), all[219_995..]);
    assert_eq!(logs.len(id).await.unwrap(), all.len() as u64);
    let mut late = logs.follow(id, 5);
    late.stop_at_end();
    assert_eq!(rest(late).await, all[5..]);
    assert_eq!(rest(logs.range(id, 11, 22)).await, "0123456789\n");
    assert_eq!(rest(logs.range(id, 300_000, 300_001)).await, "");
}

#[tokio::test]
async fn a_missing_log_is_empty() {
    let (_dir, logs) = logs();
    let id = JobId::new();
    assert_eq!(logs.len(id).await.unwrap(), 0);
    assert_eq!(rest(logs.range(id, 0, 10)).await, "");
}

#[tokio::test]
async fn dropped_followers_and_writers_leave_no_entry() {
    let (_dir, logs) = logs();
    for _ in 0..10 {
        drop(logs.follow(JobId::new(), 0));
        drop(logs.writer(JobId::new()));
    }
    assert!(logs.signals().len() <= 1);
}

#[tokio::test]
async fn a_second_attempt_appends_and_a_secret_is_not_written() {
    let (_dir, logs) = logs();
    let id = JobId::new();
    for attempt in 1..=2 {
        let writer = logs.writer(id);
        writer.mask(&[Zeroizing::new("s3cr3t!".into())]);
        writer.write(b"token s3c");
        assert!(logs.len(id).await.unwrap() <= 20 * attempt);
        writer.write(b"r3t! and s3c");
    }
    assert_eq!(rest(logs.range(id, 0, u64::MAX)).await, "token *** and s3c".repeat(2));
    assert_eq!(std::fs::metadata(logs.path(id)).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(logs.dir.as_path()).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_full_disk_loses_bytes_of_the_log_and_says_how_many() {
    let (_dir, logs) = logs();
    let id = JobId::new();
    symlink("/dev/full", logs.path(id)).unwrap();
    let writer = logs.writer(id);
    writer.write(b"123456");
    writer.flush();
    writer.write(b"7890");
    writer.flush();
    std::fs::remove_file(logs.path(id)).unwrap();
    writer.flush();
    writer.write(b"again");
    writer.flush();
    assert_eq!(rest(logs.range(id, 0, u64::MAX)).await, "\n[10 bytes of this log could not be written]\nagain");
}

/// The beginning of a secret is shown without anything behind it, while the writer is in use.
#[tokio::test]
async fn a_part_of_a_secret_is_shown_without_waiting_for_more() {
    let (_dir, logs) = logs();
    let id = JobId::new();
    let mut follower = logs.follow(id, 0);
    let writer = logs.writer(id);
    writer.mask(&[Zeroizing::new("s3cr3t!".into())]);
    for text in ["s3cr3", "s3cr"] {
        writer.write(text.as_bytes());
        assert_eq!(timeout(Duration::from_secs(10), follower.next()).await.unwrap().unwrap().unwrap(), text);
    }
}

#[tokio::test]
async fn a_log_over_its_limit_keeps_its_end_and_counts_an_earlier_attempt() {
    let (_dir, logs) = logs();
    let (logs, id) = (logs.limited_to(100), JobId::new());
    let notice = "\n[this log is longer than 100 bytes (LOG_LIMIT): the rest of each stage follows, cut to its end, when \
                  the stage ends]\n";
    for _ in 0..2 {
        let writer = logs.writer(id);
        writer.write(&[b'x'; 90]);
        writer.flush();
    }
    let all = rest(logs.range(id, 0, u64::MAX)).await;
    assert_eq!(all, "x".repeat(100) + notice + &"x".repeat(80));
}
