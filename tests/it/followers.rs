//! Many readers of one log, while work comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{World, http_client, unique};

const WAIT: Duration = Duration::from_secs(60);

/// Reads a log to its end in one of the three ways. Tells when it has `first`, and returns the whole text.
async fn follow(
    kind: usize,
    address: String,
    id: String,
    token: String,
    first: tokio::sync::mpsc::Sender<()>,
) -> String {
    let (mut text, mut told) = (String::new(), false);
    let mut take = |part: &str| {
        text += part;
        let is_first = !told && text.contains("the first line");
        told |= is_first;
        is_first
    };
    if kind == 0 {
        let mut request = format!("ws://{address}/job/{id}/log").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(part) if take(part.as_str()) => first.send(()).await.unwrap(),
                Message::Close(end) => {
                    let end = end.unwrap();
                    assert_eq!((u16::from(end.code), end.reason.as_str()), (1000, "cancelled"));
                }
                _ => {}
            }
        }
        return text;
    }
    let (query, accept) = if kind == 1 { ("", "text/event-stream") } else { ("?follow=1", "*/*") };
    // Each has a connection of its own.
    let request = http_client().get(format!("http://{address}/job/{id}/log{query}")).bearer_auth(token);
    let mut response = request.header("accept", accept).send().await.unwrap();
    let (mut block, mut status) = (String::new(), String::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        let mut part = String::from_utf8(chunk.to_vec()).unwrap();
        if kind == 1 {
            block += &part;
            part = String::new();
            while let Some((event, rest)) = block.split_once("\n\n") {
                let lines: Vec<_> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                match event.starts_with("event: end") {
                    true => status = lines.concat(),
                    false => part += &lines.join("\n"),
                }
                block = rest.to_owned();
            }
        }
        if take(&part) {
            first.send(()).await.unwrap();
        }
    }
    assert_eq!(status, if kind == 1 { "cancelled" } else { "" });
    text
}

#[tokio::test]
async fn a_thousand_followers_get_every_byte_while_work_comes_in() {
    let world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo the fi''rst line {}; sleep 1000\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let daemon = &world.daemon;
    let id = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let (first, mut firsts) = tokio::sync::mpsc::channel(1000);
    let followers: Vec<_> = (0..1000)
        .map(|n| {
            let address = format!("127.0.0.1:{}", daemon.port());
            tokio::spawn(follow(n % 3, address, id.clone(), daemon.token(), first.clone()))
        })
        .collect();
    for n in 0..1000 {
        tokio::time::timeout(WAIT, firsts.recv()).await.unwrap_or_else(|_| panic!("{n} followers have the first line"));
    }
    let metrics = daemon.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nimage_factory_log_followers 1000\n"), "{metrics}");
    let open_logs = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
    let open_logs =
        open_logs.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|file| file.ends_with(format!("{id}.log"))));
    assert!(open_logs.count() <= 2, "followers hold the log open");
    daemon.push_event("acme/hello", "develop", &sha).await;

    daemon.request(Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    let mut texts = BTreeMap::new();
    for (n, follower) in followers.into_iter().enumerate() {
        let text = tokio::time::timeout(WAIT, follower).await.expect("it ends").unwrap();
        *texts.entry((n % 3 == 1, text)).or_insert(0) += 1;
    }
    // Events have no carriage returns.
    let log = daemon.log(&id).await;
    let as_events = log.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(texts, BTreeMap::from([((false, log), 667), ((true, as_events), 333)]));
}
