use super::*;
use crate::model::LogSink;

const WAIT: Duration = Duration::from_secs(20);

async fn ask(server: &Server, path: &str, range: &str) -> Answer {
    send(server.as_role("read", "GET", path).header("range", range)).await
}

#[tokio::test]
async fn a_log_is_sent_up_to_its_end() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let path = format!("/job/{id}/log");
    let none = server.get(&path).await;
    assert_eq!((none.status, none.text().as_str()), (200, ""));
    assert_eq!(ask(&server, &path, "bytes=0-").await.status, 416);
    let job = server.claim().await;
    let log = server.logs.writer(id);
    log.write(b"one\n");
    log.flush();
    assert_eq!(server.get(&path).await.text(), "one\n");
    log.write(b"two\n");
    log.flush();
    server.finish(&job, Status::Failure, Stages::pending()).await;
    let whole = server.get(&path).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "one\ntwo\n"));
    assert_eq!(whole.header("content-length"), "8");
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert_eq!(server.get(&format!("{path}?follow=1")).await.text(), "one\ntwo\n");
    let head = send(server.as_role("read", "HEAD", &path)).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "8", 0));
}

#[tokio::test]
async fn a_range_is_cut_out() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let job = server.claim().await;
    let log = server.logs.writer(id);
    log.write(b"0123456789");
    log.flush();
    server.finish(&job, Status::Success, Stages::pending()).await;
    for path in [format!("/job/{id}/log"), format!("/job/{id}/log?follow=1")] {
        for (range, status, text, content_range) in [
            ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
            ("bytes=4-", 206, "456789", "bytes 4-9/10"),
            ("bytes=-3", 206, "789", "bytes 7-9/10"),
            ("bytes=8-99999999999999999999999", 206, "89", "bytes 8-9/10"),
            ("bytes=0-1,3-4", 200, "0123456789", ""),
            ("lines=0-1", 200, "0123456789", ""),
            ("nonsense", 200, "0123456789", ""),
        ] {
            let answer = ask(&server, &path, range).await;
            assert_eq!((answer.status, answer.text().as_str()), (status, text), "{range}");
            assert_eq!(answer.header("content-range"), content_range, "{range}");
            assert_eq!(answer.header("content-length"), text.len().to_string(), "{range}");
        }
        for range in ["bytes=10-", "bytes=-0"] {
            let answer = ask(&server, &path, range).await;
            assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"), "{range}");
        }
    }
    let conditional = server.as_role("read", "GET", &format!("/job/{id}/log")).header("if-range", "\"x\"");
    assert_eq!(send(conditional.header("range", "bytes=1-2")).await.status, 200);
}

#[tokio::test]
async fn a_followed_log_ends_with_its_job() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let path = format!("/job/{id}/log?follow=1");
    // The log is followed although the job has not started.
    let mut whole = server.as_role("read", "GET", &path).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert!(whole.headers().get("content-length").is_none());
    let job = server.claim().await;
    let log = server.logs.writer(id);
    log.write(b"one\n");
    log.flush();
    let first = tokio::time::timeout(WAIT, whole.chunk()).await.unwrap().unwrap().unwrap();
    assert_eq!(&first[..], b"one\n");

    let later = ask_following(&server, &path, "bytes=2-").await;
    assert_eq!(later.headers()["content-range"], "bytes 2-9007199254740991/*");
    let last = ask_following(&server, &path, "bytes=-2").await;
    assert_eq!(last.headers()["content-range"], "bytes 2-9007199254740991/*");
    let piece = ask_following(&server, &path, "bytes=3-5").await;
    assert_eq!(ask(&server, &path, "bytes=5-").await.status, 416);
    log.write(b"two\n");
    log.flush();
    // A range that the log has already ends before the job does.
    assert_eq!(tokio::time::timeout(WAIT, piece.text()).await.unwrap().unwrap(), "\ntw");

    server.finish(&job, Status::Success, Stages::pending()).await;
    let text =
        |response: reqwest::Response| async { tokio::time::timeout(WAIT, response.text()).await.unwrap().unwrap() };
    assert_eq!(text(whole).await, "two\n");
    assert_eq!(text(later).await, "e\ntwo\n");
    assert_eq!(text(last).await, "e\ntwo\n");
}

async fn ask_following(server: &Server, path: &str, range: &str) -> reqwest::Response {
    let response = server.as_role("read", "GET", path).header("range", range).send().await.unwrap();
    assert_eq!(response.status(), 206);
    response
}

#[tokio::test]
async fn the_log_of_a_cancelled_job_ends() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let followed = server.as_role("read", "GET", &format!("/job/{id}/log?follow=true")).send().await.unwrap();
    assert_eq!(server.post(&format!("/job/{id}/cancel"), "").await.status, 200);
    tokio::time::timeout(WAIT, followed.bytes()).await.unwrap().unwrap();
}
