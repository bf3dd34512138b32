//! Many readers of one log, and places for those who bring work meanwhile.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::json;
use sha2::Sha256;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{HOOK_SECRET, Proc, World, eventually, folder, http_client, port, push_payload, unique};

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

/// A daemon that may open 1,024 files has 512 places, of which 32 are kept.
struct Small {
    _server: Proc,
    address: String,
    log: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    async fn start() -> Self {
        let (dir, port) = (folder(), port());
        let log = dir.path().join("log");
        let mut command = Command::new("prlimit");
        command
            .args(["--nofile=1024:1024", env!("CARGO_BIN_EXE_image-factory"), "serve"])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("LISTEN", format!("127.0.0.1:{port}"))
            .env("DATA_DIR", dir.path().join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("HOOK_SECRET", HOOK_SECRET)
            .envs([("API_AUTH", "none"), ("CONCURRENCY", "0")]);
        let server = Proc::spawn("image-factory", &mut command, &log);
        let small = Self { _server: server, address: format!("127.0.0.1:{port}"), log, _dir: dir };
        let alive = async || http_client().get(small.url("/health")).send().await.is_ok().then_some(());
        eventually(WAIT, "it answers", alive).await;
        small
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Opens a connection, and sends a request for this path, if there is one.
    fn connect(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        if !path.is_empty() {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        }
        stream
    }

    async fn push(&self, commit: u8) -> reqwest::StatusCode {
        let body = push_payload("acme/hello", "refs/heads/develop", &commit.to_string().repeat(40)).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let request = http_client().post(self.url("/hooks/github")).timeout(WAIT);
        let request = request.header("content-type", "application/json").header("x-github-event", "push");
        request.header("x-hub-signature-256", signature).body(body).send().await.unwrap().status()
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = http_client().get(self.url("/metrics")).timeout(WAIT).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }
}

#[tokio::test]
async fn webhooks_have_places_while_others_read_nothing() {
    let small = Small::start().await;
    assert_eq!(small.push(1).await, 201);
    let jobs: serde_json::Value = http_client().get(small.url("/job")).send().await.unwrap().json().await.unwrap();
    let path = format!("/job/{}/log?follow=1", jobs[0]["id"].as_str().unwrap());
    let _reading_nothing: Vec<_> = (0..600).map(|_| small.connect(&path)).collect();
    let full = async || (small.metric("image_factory_log_followers").await == 336.0).then_some(());
    eventually(WAIT, "all places of followers are taken", full).await;
    assert_eq!(small.push(2).await, 201);
    assert_eq!(small.metric("image_factory_http_places").await, 512.0);
    assert!(small.metric("image_factory_http_connections").await >= 448.0);
    // What is neither a webhook nor about health is told to come later.
    let refused = http_client().get(small.url("/job")).timeout(WAIT).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    let said = std::fs::read_to_string(&small.log).unwrap();
    assert_eq!(said.matches("all 448 places for connections are taken").count(), 1, "{said}");
}

#[tokio::test]
async fn webhooks_have_places_while_others_say_nothing() {
    let small = Small::start().await;
    let mut silent: Vec<_> = (0..600).map(|_| small.connect("")).collect();
    assert_eq!(small.push(1).await, 201);
    drop(silent.split_off(100));
    let free = async || (http_client().get(small.url("/job")).send().await.ok()?.status() == 200).then_some(());
    eventually(WAIT, "there are places again", free).await;
    assert!(std::fs::read_to_string(&small.log).unwrap().contains("there are places for connections again"));
    // A silent connection ends by itself.
    silent[0].set_read_timeout(Some(WAIT)).unwrap();
    assert_eq!(silent[0].read(&mut [0; 1024]).unwrap_or(0), 0);
}
