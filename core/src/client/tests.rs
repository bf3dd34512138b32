//! Tests against a server that gives each connection the answer that the test wants, because a real server does not break off
//! on demand.

use std::pin::pin;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::model::StageName;

fn job(status: &str) -> String {
    let body = format!(
        r#"{{"id":"j","context":{{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"HEAD"}},"image":"q/acme-hello:HEAD","status":"{status}","results":{{"push":{{"status":"pending"}},"clone":{{"status":"running","startTime":"2026-11-20T22:59:27.930Z"}}}},"startTime":null,"endTime":null,"createTime":"2026-11-20T22:59:27.930Z","attempt":1,"resolvedCommit":null,"digest":null,"cause":null,"cancelled":false,"cancelRequested":false,"later":1}}"#
    );
    whole("200 OK", &body)
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// Makes the answer to a followed log. Without `is_whole` it lacks the last chunk, as if it was cut off.
fn chunked(status: &str, body: &str, is_whole: bool) -> String {
    let end = if is_whole { "0\r\n\r\n" } else { "" };
    format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n{end}", body.len())
}

/// Gives each connection one answer, and returns the requests' heads.
async fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            heads.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    (url, task)
}

fn client(url: &str) -> ApiClient {
    ApiClient::new(url, Some(Zeroizing::new("t0ken".into())), None).unwrap()
}

async fn read(client: &ApiClient, follow: bool) -> Result<String, ClientError> {
    let mut log = pin!(client.log("j", 0, follow));
    let mut text = String::new();
    while let Some(bytes) = log.next().await {
        text += std::str::from_utf8(&bytes?).unwrap();
    }
    Ok(text)
}

#[tokio::test]
async fn a_broken_log_is_resumed_where_it_broke() {
    let (url, server) = serve(vec![
        chunked("200 OK", "one\n", false),
        chunked("206 Partial Content", "two\n", true),
        // The log has ended and the job has not, because the server was stopped.
        job("pending"),
        // A proxy ignores the range.
        chunked("200 OK", "one\ntwo\nthree\n", true),
        job("failure"),
    ])
    .await;
    assert_eq!(read(&client(&url), true).await.unwrap(), "one\ntwo\nthree\n");
    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /job/j/log?follow=1 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("authorization: Bearer t0ken\r\n") && !heads[0].contains("range:"));
    assert!(heads[1].contains("range: bytes=4-\r\n"), "{}", heads[1]);
    assert!(heads[3].contains("range: bytes=8-\r\n"), "{}", heads[3]);
}

#[tokio::test]
async fn a_range_behind_the_end_ends_the_log() {
    let refused = whole("416 Range Not Satisfiable", r#"{"code":"x","message":"y"}"#);
    let (url, _) = serve(vec![chunked("200 OK", "one\n", false), refused, job("success")]).await;
    assert_eq!(read(&client(&url), true).await.unwrap(), "one\n");
    let (url, _) = serve(vec![chunked("200 OK", "so far", true)]).await;
    assert_eq!(read(&client(&url), false).await.unwrap(), "so far");
}

#[tokio::test]
async fn a_job_is_read_with_its_stage() {
    let (url, server) = serve(vec![job("running"), job("success")]).await;
    let read = client(&format!("{url}/behind/")).job("a/../b").await.unwrap();
    assert_eq!((read.stage(), read.is_over()), (Some(StageName::Clone), false));
    assert_eq!(read.results.keys().next(), Some(&StageName::Clone));
    let new = NewRemoteJob {
        owner: "acme".into(),
        repo: "hello".into(),
        branch: None,
        commit: None,
        ..NewRemoteJob::default()
    };
    assert!(client(&url).create(&new).await.unwrap().is_over());
    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /behind/job/a%2F..%2Fb HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("POST /job HTTP/1.1\r\n"), "{}", heads[1]);
}

#[tokio::test]
async fn an_absent_server_and_a_refusing_one_are_different_errors() {
    // No other test listens on this address.
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&gone).jobs(&JobSearch { limit: 1, ..JobSearch::default() }).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { cause, .. } if cause.contains("refused")), "{error}");
    assert!(matches!(read(&client(&gone), true).await, Err(ClientError::Unreachable { .. })));

    let error = |status: &'static str, body: &'static str| async move {
        let (url, _) = serve(vec![whole(status, body)]).await;
        client(&url).cancel("j").await.unwrap_err()
    };
    let refused = error("409 Conflict", r#"{"code":"ConflictError","message":"It has ended"}"#).await;
    assert_eq!(refused.to_string(), "refused (409 ConflictError): It has ended");
    let violations = r##"{"code":"InvalidContent","message":[
        {"code":"X","message":"bad","path":"#/build/target"},{"message":"none","path":"#/"},{"code":"X"}]}"##;
    let refused = error("400 Bad Request", violations).await;
    let sentence = r#"refused (400 InvalidContent): build.target: bad; none; {"code":"X"}"#;
    assert_eq!(refused.to_string(), sentence);
    assert!(matches!(error("502 Bad Gateway", "<html>").await, ClientError::Unavailable { status: 502, .. }));
    assert!(matches!(error("302 Found", "").await, ClientError::UnexpectedAnswer { .. }));
    assert!(matches!(error("200 OK", "<html>").await, ClientError::UnexpectedAnswer { .. }));
}

#[test]
fn an_address_is_checked() {
    for url in ["", "localhost:8080", "ftp://x", "http://", "/x"] {
        assert!(matches!(ApiClient::new(url, None, None), Err(ClientError::Address { .. })), "{url}");
    }
    for url in ["http://localhost:1", "http://127.0.0.2", "http://[::1]:8080/x", "http://LOCALHOST"] {
        assert!(is_this_machine(url), "{url}");
    }
    for url in ["http://10.0.0.1", "http://localhost.evil.example", "http://127.0.0.1@evil.example", "x"] {
        assert!(!is_this_machine(url), "{url}");
    }
}
