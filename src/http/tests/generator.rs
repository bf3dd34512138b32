//! Tests of generator's API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;
use crate::model::{ImageGrants, JobSource, LogSink};

const DOCKERFILE: &str = "FROM busybox\nRUN echo ü>>?>>\n";

pub async fn generator(change: impl FnOnce(&mut HttpConfig)) -> Server {
    server_with(change, |rules| rules.destinations.grants = ImageGrants::parse(["generator=q.io/cts/*"]).unwrap()).await
}

pub fn path(image: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("imagename", image)
        .append_pair("dockerfile", &STANDARD.encode(DOCKERFILE))
        .finish();
    format!("/b1/build?{query}")
}

/// Makes a job and returns the text of the answer.
async fn make(server: &Server) -> String {
    let answer = send(server.as_role("build", "GET", &path("q.io/cts/example"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

async fn count(server: &Server) -> usize {
    server.store.jobs(99, None).await.unwrap().len()
}

#[tokio::test]
async fn a_dockerfile_in_the_query_makes_a_job() {
    let server = generator(|_| {}).await;
    for path in [
        path("q.io/cts/example"),
        path("q.io/cts/example").replace('?', "/?"),
        path("q.io/cts/example").replace("/b1", "/v1"),
        path("q.io/cts/example").replace("/b1/build?", "/v1/build/?"),
    ] {
        let answer = send(server.as_role("build", "GET", &path)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"), "{path}");
        let id = answer.text();
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let job = server.store.job(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((job.image.as_str(), job.dialect.as_str()), ("q.io/cts/example:latest", "generator"));
        assert_eq!(
            (job.source, job.repository.as_str()),
            (JobSource::Dockerfile(DOCKERFILE.into()), "generator:/q.io/cts/example")
        );
        // Both forms of the id work, and so does the beginning of either.
        for form in [&*id, &job.id.to_string(), &id[..30]] {
            let shown = server.get(&format!("/job/{form}")).await.json();
            assert_eq!(
                (&shown["id"], &shown["dockerfile"]),
                (&job.id.to_string().into(), &DOCKERFILE.into()),
                "{form}"
            );
        }
    }
    let with_password = server.request("GET", &path("q.io/cts/example")).basic_auth("x", Some("build".repeat(8)));
    assert_eq!(send(with_password).await.status, 200);
}

#[tokio::test]
async fn a_refusal_is_one_line_of_text() {
    let server = generator(|_| {}).await;
    let admin = send(
        server
            .as_role("admin", "POST", "/tokens")
            .json(&serde_json::json!({"name": "ci", "role": "build", "repositories": ["generator/*"]})),
    );
    let limited = admin.await.json()["token"].as_str().unwrap().to_owned();
    let mut answers = Vec::new();
    let good = path("q.io/cts/example");
    for (about, request) in [
        ("no token", server.request("GET", &good)),
        ("a token to read", server.as_role("read", "GET", &good)),
        ("a token of some repositories", server.request("GET", &good).bearer_auth(&limited)),
        ("an image that is not granted", server.as_role("admin", "GET", &path("q.io/other/example"))),
        ("no image", server.as_role("build", "GET", "/b1/build?dockerfile=RlJPTSBh")),
        ("no base64", server.as_role("build", "GET", "/b1/build?imagename=q.io/cts/a&dockerfile=%3F")),
        (
            "a secret in the Dockerfile",
            server.as_role(
                "build",
                "GET",
                &format!(
                    "/b1/build?imagename=q.io/cts/a&dockerfile={}",
                    STANDARD.encode(format!("FROM a\nENV S {SECRET}\n"))
                ),
            ),
        ),
    ] {
        let answer = send(request).await;
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{about}");
        answers.push(format!("{about}: {} {}", answer.status, answer.text().trim_end()));
    }
    insta::assert_snapshot!("refusals", answers.join("\n"));
    let head = send(server.as_role("build", "HEAD", &good)).await;
    assert_eq!((head.status, head.header("allow")), (405, "GET"));
    // No client library sends a line as long.
    let mut socket = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    let request = format!("GET {good}&x={} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(70_000));
    // The server may close the connection before it has read all.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert!([*b"HTTP/1.1 414", *b"HTTP/1.1 431"].contains(&answer), "{}", String::from_utf8_lossy(&answer));
    let large = STANDARD.encode(format!("FROM a\n#{}", "x".repeat(JobSource::LARGEST_DOCKERFILE)));
    let large =
        send(server.as_role("build", "GET", &format!("/b1/build?imagename=q.io/cts/a&dockerfile={large}"))).await;
    assert!(large.status == 400 && large.text().contains("40960 are the most"), "{} {}", large.status, large.text());
    assert_eq!(count(&server).await, 0);
}

/// A page of any site can make a browser send a GET: by an image, a link, a form, a script, a prefetch or an old browser
/// without Sec-Fetch headers. None of them builds, whatever the browser adds by itself.
#[tokio::test]
async fn no_browser_makes_a_job() {
    let image: &[(&str, &str)] =
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")];
    let link: &[(&str, &str)] = &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-User", "?1")];
    let own_page: &[(&str, &str)] = &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")];
    let script: &[(&str, &str)] = &[("Origin", "https://evil.example")];
    let prefetch: &[(&str, &str)] = &[("Sec-Purpose", "prefetch;prerender")];
    let old_prefetch: &[(&str, &str)] = &[("Purpose", "prefetch")];
    let plain_http: &[(&str, &str)] =
        &[("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")];
    let page: &[(&str, &str)] = &[("Origin", "https://dashboard.acme.org")];
    for open in [false, true] {
        let server = generator(|config| {
            config.open = open;
            config.cors_origins = vec!["https://dashboard.acme.org".into()];
        })
        .await;
        let mail: &[(&str, &str)] = &[("Accept", "image/png, image/*;q=0.8")];
        for headers in [image, link, own_page, script, prefetch, old_prefetch, plain_http, page, mail] {
            let mut request = server.request("GET", &path("q.io/cts/example"));
            if !open {
                request = request.basic_auth("x", Some("admin".repeat(8)));
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = send(request).await;
            assert!(
                answer.status == 403 && answer.text().contains("A browser sent"),
                "{headers:?}: {} {}",
                answer.status,
                answer.text()
            );
        }
        let rebound = server.request("GET", &path("q.io/cts/example")).header("Host", "evil.example");
        let rebound = send(if open { rebound } else { rebound.basic_auth("x", Some("admin".repeat(8))) }).await;
        assert_eq!(rebound.status, 403, "{}", rebound.text());
        assert_eq!(count(&server).await, 0);
    }
    // A bearer token shows that a program has made the request.
    let server = generator(|_| {}).await;
    let named =
        server.as_role("build", "GET", &path("q.io/cts/example")).header("User-Agent", "Mozilla/5.0 PowerShell");
    assert_eq!(send(named).await.status, 200);
}

/// Reads a log by WebSocket to its end. Returns its messages.
async fn stream(server: &Server, id: &str, headers: &[(&'static str, &str)]) -> Result<Vec<String>, Error> {
    let address = format!("{}/b1/build/log/ws/{id}", server.base.replace("http://", "ws://"));
    let mut request = address.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (mut socket, _) = connect_async(request).await?;
    let mut messages = Vec::new();
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => messages.push(text.to_string()),
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    Ok(messages)
}

fn bearer(role: &str) -> String {
    format!("Bearer {}", role.repeat(8))
}

#[tokio::test]
async fn a_log_comes_by_websocket_in_the_words_of_the_original() {
    let server = generator(|_| {}).await;
    let (id, token) = (make(&server).await, bearer("read"));
    let read = async |id: &str| stream(&server, id, &[("authorization", &token)]).await.unwrap();
    assert_eq!(read(&id).await, ["waitting build ..."]);
    for unknown in ["0123456789abcdef0123456789abcdef", "nope"] {
        assert_eq!(read(unknown).await, ["invalid id ..."]);
    }

    let job = server.claim().await;
    let writer = server.logs.writer(job.id);
    writer.write("Step 1/2 : FROM busybox\n ü".as_bytes());
    writer.flush();
    let live = tokio::spawn({
        let address = format!("{}/b1/build/log/ws/{id}", server.base.replace("http://", "ws://"));
        let mut request = address.into_client_request().unwrap();
        request.headers_mut().insert("authorization", token.parse().unwrap());
        async move {
            let (mut socket, _) = connect_async(request).await.unwrap();
            let mut text = String::new();
            while let Some(Ok(Message::Text(part))) = socket.next().await {
                text += &part;
            }
            text
        }
    });
    for n in 0..500 {
        writer.write(format!("line {n}\n").as_bytes());
    }
    writer.flush();
    server.finish(&job, Status::Failure, Stages::pending()).await;
    let expected = [
        "{\"stream\":\"Step 1/2 : FROM busybox\\n\"}\r\n".to_owned(),
        "{\"stream\":\" üline 0\\n\"}\r\n".into(),
    ]
    .into_iter()
    .chain((1..500).map(|n| format!("{{\"stream\":\"line {n}\\n\"}}\r\n")))
    .chain([
        "{\"error\":\"the branch x does not exist\",\"errorDetail\":{\"message\":\"the branch x does not exist\"}}\r\n"
            .into(),
    ]);
    let expected: Vec<String> = expected.collect();
    assert_eq!(live.await.unwrap(), expected.concat() + "bye");
    // A late reader gets the same, and the last message is alone.
    let late = read(&id).await;
    assert_eq!(late.concat(), expected.concat() + "bye");
    assert_eq!(late.last().map(String::as_str), Some("bye"));
    assert!(late.iter().all(|message| message.len() <= 4096));

    // The pieces by HTTP are the same, each by its number.
    let piece = async |n: usize| server.get(&format!("/b1/build/log/http/{id}?count={n}")).await;
    for (n, text) in expected.iter().chain([&"bye".to_owned(), &String::new()]).enumerate().step_by(50).chain([
        (0, &expected[0]),
        (501, &expected[501]),
        (502, &"bye".to_owned()),
        (503, &String::new()),
    ]) {
        let answer = piece(n).await;
        assert_eq!(
            (answer.status, &answer.text(), answer.header("content-type")),
            (200, text, "text/plain; charset=utf-8"),
            "{n}"
        );
    }
    assert_eq!(server.get("/b1/build/log/http/nope?count=0").await.text(), "invalid id ...");
    assert_eq!(server.get("/b1/build/log/http/nope?count=1").await.text(), "bye");
    assert_eq!(server.get("/b1/build/log/http/nope?count=1&count=0").await.text(), "bye");
    assert_eq!(server.get("/b1/build/log/http/nope?count=-1").await.text(), "invalid id ...");
    assert_eq!(server.get("/b1/build/log/http/nope?count=99999999999999999999").await.text(), "");
    assert_eq!(server.get(&format!("/b1/build/log/smoke/{id}")).await.text(), "");
    let plain = server.get(&format!("/b1/build/log/ws/{id}")).await;
    assert!(plain.status == 400 && plain.text().starts_with("The WebSocket cannot be opened"), "{}", plain.text());
}

/// Pieces that a reader has seen stay what they are while the log grows, and a line is a piece once it is whole.
#[tokio::test]
async fn a_piece_keeps_its_number_while_the_log_grows() {
    let server = generator(|_| {}).await;
    let id = make(&server).await;
    let piece = async |n: usize| server.get(&format!("/b1/build/log/http/{id}?count={n}")).await.text();
    assert_eq!(piece(0).await, "");
    let job = server.claim().await;
    let writer = server.logs.writer(job.id);
    writer.write(b"one\ntw");
    writer.flush();
    assert_eq!((piece(0).await, piece(1).await), ("{\"stream\":\"one\\n\"}\r\n".into(), String::new()));
    writer.write(b"o");
    writer.flush();
    server.finish(&job, Status::Success, Stages::pending()).await;
    assert_eq!(
        (piece(0).await, piece(1).await),
        ("{\"stream\":\"one\\n\"}\r\n".into(), "{\"stream\":\"two\"}\r\n".into())
    );
    assert_eq!((piece(2).await, piece(3).await), ("bye".into(), String::new()));
}

#[tokio::test]
async fn a_page_of_another_origin_reads_no_log() {
    let server = generator(|config| config.cors_origins = vec!["https://dashboard.acme.org".into()]).await;
    let id = make(&server).await;
    let password = format!("Basic {}", STANDARD.encode(format!("x:{}", "read".repeat(8))));
    let token = bearer("read");
    let status = |result: Result<Vec<String>, Error>| match result {
        Ok(messages) => (101, messages.concat()),
        Err(Error::Http(answer)) => (answer.status().as_u16(), String::new()),
        Err(error) => panic!("{error}"),
    };
    let waits = || (101, "waitting build ...".to_owned());
    for (headers, expected) in [
        (vec![], (401, String::new())),
        (vec![("authorization", "Bearer wrong")], (401, String::new())),
        (vec![("authorization", &*password)], waits()),
        (vec![("authorization", &*password), ("origin", "https://evil.example")], (403, String::new())),
        (vec![("authorization", &*password), ("origin", "https://dashboard.acme.org")], waits()),
        (vec![("authorization", &*token), ("origin", "https://evil.example")], waits()),
    ] {
        assert_eq!(status(stream(&server, &id, &headers).await), expected, "{headers:?}");
    }
    let open = generator(|config| config.open = true).await;
    let id = make(&open).await;
    assert_eq!(status(stream(&open, &id, &[("origin", "https://evil.example")]).await), (403, String::new()));
    assert_eq!(status(stream(&open, &id, &[]).await), waits());
}

/// A reader that takes nothing for a while holds up neither the writer of the log nor another reader, and loses nothing.
#[tokio::test]
async fn a_slow_reader_holds_nothing_up() {
    const LINES: usize = 150_000;
    let server = generator(|_| {}).await;
    let (id, token) = (make(&server).await, bearer("read"));
    let job = server.claim().await;
    let writer = server.logs.writer(job.id);
    writer.write(b"begin\n");
    let address = format!("{}/b1/build/log/ws/{id}", server.base.replace("http://", "ws://"));
    let mut request = address.into_client_request().unwrap();
    request.headers_mut().insert("authorization", token.parse().unwrap());
    let (mut slow, _) = connect_async(request).await.unwrap();
    let line = |n: usize| format!("{n} {}\n", "x".repeat(90));
    // 15 MB are more than the buffers of both ends of a connection take.
    for n in 0..LINES {
        writer.write(line(n).as_bytes());
    }
    writer.flush();
    server.finish(&job, Status::Success, Stages::pending()).await;
    let quick = stream(&server, &id, &[("authorization", &token)]).await.unwrap();
    let mut messages = Vec::new();
    while let Some(Ok(Message::Text(text))) = slow.next().await {
        messages.push(text.to_string());
    }
    assert_eq!(messages.concat().split("\r\n").count(), LINES + 2);
    assert_eq!(messages.concat(), quick.concat());
}
