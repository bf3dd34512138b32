//! Logs as events and by WebSocket.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::*;
use crate::model::LogSink;

const WAIT: Duration = Duration::from_secs(20);

async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, value).await.expect("it comes soon")
}

/// Reads events until one is of this kind, and returns id, kind and data of each.
async fn events(response: &mut reqwest::Response, last: &str) -> Vec<(String, String, String)> {
    let mut text = String::new();
    while !text.ends_with("\n\n") || !text.contains(last) {
        let Some(chunk) = soon(response.chunk()).await.unwrap() else { break };
        text += std::str::from_utf8(&chunk).unwrap();
    }
    let event = |block: &str| {
        let field = |name: &str| {
            let lines = block.lines().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
            lines.collect::<Vec<_>>().join("\n")
        };
        (field("id"), field("event"), field("data"))
    };
    text.split_terminator("\n\n").filter(|block| !block.starts_with(':')).map(event).collect()
}

async fn listen(server: &Server, path: &str, last: Option<&str>) -> reqwest::Response {
    let request = server.as_role("read", "GET", path).header("accept", "text/event-stream");
    let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
    request.send().await.unwrap()
}

#[tokio::test]
async fn events_resume_where_they_broke_and_end_with_the_status() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let path = format!("/job/{id}/log");
    let mut first = listen(&server, &path, None).await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    assert_eq!(
        (&first.headers()["cache-control"], &first.headers()["x-accel-buffering"]),
        (&"no-cache".parse().unwrap(), &"no".parse().unwrap())
    );
    let job = server.claim().await;
    let log = server.logs.writer(id);
    let write = |bytes: &[u8]| {
        log.write(bytes);
        log.flush();
    };
    // The first byte of a character waits for the others, and a carriage return for a line feed.
    write(b"one\ntwo \xe2");
    assert_eq!(events(&mut first, "two").await, [("8".into(), String::new(), "one\ntwo ".into())]);
    write(b"\x82\xac\r");
    assert_eq!(events(&mut first, "€").await, [("11".into(), String::new(), "€".into())]);
    write(b"\nx\ry\n\xff");
    let rest = events(&mut first, "y").await;
    assert_eq!(rest.iter().map(|(_, _, data)| data.as_str()).collect::<String>(), "\nx\ny\n\u{fffd}");

    for (last, text) in
        [(None, "one\ntwo €\nx\ny\n\u{fffd}"), (Some("8"), "€\nx\ny\n\u{fffd}"), (Some("11"), "\nx\ny\n\u{fffd}")]
    {
        let mut again = listen(&server, &path, last).await;
        let got = events(&mut again, "y").await;
        assert_eq!(got.iter().map(|(_, _, data)| data.as_str()).collect::<String>(), text, "{last:?}");
    }
    assert_eq!(listen(&server, &path, Some("999")).await.status(), 416);

    server.finish(&job, Status::Failure, Stages::pending()).await;
    assert_eq!(events(&mut first, "event: end").await, [("18".into(), "end".into(), "failure".into())]);
    assert!(soon(first.chunk()).await.unwrap().is_none());
    let mut ended = listen(&server, &path, Some("14")).await;
    let ended = events(&mut ended, "event: end").await;
    assert_eq!(ended.last().unwrap(), &("18".into(), "end".into(), "failure".into()));
    assert_eq!(ended[0].2, "\ny\n\u{fffd}");
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(server: &Server, path: &str, headers: &[(&'static str, String)]) -> Result<Socket, u16> {
    let mut request = format!("{}{path}", server.base.replace("http", "ws")).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match soon(tokio_tungstenite::connect_async(request)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {}", "read".repeat(8)))
}

/// Returns the text up to `last`, and the code and reason of the end if it comes.
async fn texts(socket: &mut Socket, last: &str) -> (String, Option<(u16, String)>) {
    let mut text = String::new();
    while last.is_empty() || !text.ends_with(last) {
        match soon(socket.next()).await.unwrap().unwrap() {
            Message::Text(frame) => text += frame.as_str(),
            Message::Close(end) => return (text, end.map(|end| (end.code.into(), end.reason.to_string()))),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (text, None)
}

#[tokio::test]
async fn a_web_socket_has_the_log_from_a_position_to_its_end() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let path = format!("/job/{id}/log");
    let mut early = open(&server, &path, &[bearer()]).await.unwrap();
    let job = server.claim().await;
    let log = server.logs.writer(id);
    log.write("one €\r\n".as_bytes());
    log.flush();
    assert_eq!(texts(&mut early, "\n").await.0, "one €\r\n");
    // A message of the reader changes nothing.
    early.send(Message::text("hello")).await.unwrap();
    let mut late = open(&server, &format!("{path}?start=4"), &[bearer()]).await.unwrap();
    assert_eq!(open(&server, &format!("{path}?start=99"), &[bearer()]).await.err(), Some(416));
    let long = "long line\n".repeat(20_000);
    log.write(long.as_bytes());
    log.flush();
    server.finish(&job, Status::Success, Stages::pending()).await;
    let end = Some((1000, "success".to_owned()));
    assert_eq!(texts(&mut early, "").await, (long.clone(), end.clone()));
    assert_eq!(texts(&mut late, "").await, (format!("€\r\n{long}"), end.clone()));
    let mut ended = open(&server, &path, &[bearer()]).await.unwrap();
    assert_eq!(texts(&mut ended, "").await, (format!("one €\r\n{long}"), end));
}

#[tokio::test]
async fn a_foreign_page_opens_no_web_socket() {
    let closed = server(|config| config.cors_origins = vec!["https://dashboard.acme.org".into()]).await;
    let open_api = server(|config| config.open = true).await;
    let (basic, foreign) = (
        ("authorization", "Basic eDpyZWFkcmVhZHJlYWRyZWFkcmVhZHJlYWRyZWFkcmVhZA==".to_owned()),
        ("origin", "https://evil.example".to_owned()),
    );
    let own = |server: &Server| ("origin", server.base.clone());
    for (server, headers, refused) in [
        (&closed, vec![], Some(401)),
        (&closed, vec![foreign.clone()], Some(401)),
        (&closed, vec![basic.clone()], None),
        (&closed, vec![basic.clone(), own(&closed)], None),
        (&closed, vec![basic.clone(), foreign.clone()], Some(403)),
        (&closed, vec![basic.clone(), ("sec-fetch-site", "cross-site".into())], Some(403)),
        (&closed, vec![basic, ("origin", "https://dashboard.acme.org".into())], None),
        (&closed, vec![bearer(), foreign.clone()], None),
        (&open_api, vec![], None),
        (&open_api, vec![own(&open_api)], None),
        (&open_api, vec![foreign], Some(403)),
    ] {
        let id = server.job().await;
        let answer = open(server, &format!("/job/{id}/log"), &headers).await;
        assert_eq!(answer.err(), refused, "{headers:?}");
    }
    // A request that says it is one and is none is told what is wrong.
    let id = closed.job().await;
    let odd = closed.as_role("read", "GET", &format!("/job/{id}/log")).header("upgrade", "websocket");
    let (status, code, message) = send(odd).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidArgument"));
    assert!(message.starts_with("The WebSocket cannot be opened: "), "{message}");
}

#[tokio::test]
async fn a_revoked_token_ends_what_it_follows() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let job = server.claim().await;
    let log = server.logs.writer(id);
    log.write(b"one\n");
    log.flush();
    let made = server.as_role("admin", "POST", "/tokens").json(&serde_json::json!({"name": "guest", "role": "read"}));
    let token = send(made).await.json()["token"].as_str().unwrap().to_owned();
    let path = format!("/job/{id}/log");
    let as_guest = |path: &str| server.request("GET", path).bearer_auth(&token);
    let mut chunked = as_guest(&format!("{path}?follow=1")).send().await.unwrap();
    let mut sse = as_guest(&path).header("accept", "text/event-stream").send().await.unwrap();
    let mut socket = open(&server, &path, &[("authorization", format!("Bearer {token}"))]).await.unwrap();
    let mut other = open(&server, &path, &[bearer()]).await.unwrap();
    assert_eq!(soon(chunked.chunk()).await.unwrap().unwrap(), "one\n");
    events(&mut sse, "one").await;
    texts(&mut socket, "one\n").await;

    assert_eq!(send(server.as_role("admin", "POST", "/tokens/guest/revoke")).await.status, 200);
    assert!(soon(chunked.chunk()).await.is_err(), "a cut log does not look like a whole one");
    while let Ok(Some(_)) = soon(sse.chunk()).await {}
    assert_eq!(texts(&mut socket, "").await.1.unwrap().0, 1008);
    server.finish(&job, Status::Success, Stages::pending()).await;
    assert_eq!(texts(&mut other, "").await.1.unwrap(), (1000, "success".into()));
}
