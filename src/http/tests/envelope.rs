use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use axum::response::IntoResponse;

use crate::http::envelope::{Render, rendered_by};
use crate::http::error::{ApiError, wrong_method};
use crate::http::unrouted::Doors;
use crate::http::{enveloped, messages};

#[tokio::test]
async fn every_answer_has_an_id() {
    let server = server(|_| {}).await;
    let id = |value: &str| {
        let request = server.request("GET", "/health").header("x-request-id", value.to_owned());
        async { send(request).await.header("x-request-id").to_owned() }
    };
    assert_eq!(id("abc-1.2_3").await, "abc-1.2_3");
    for value in ["", "a b", "a\"b", &"x".repeat(129)] {
        let given = id(value).await;
        assert!(given.len() == 36 && given != value, "{given}");
    }
    let answer = server.get("/nothing").await;
    assert_eq!((answer.header("x-request-id").len(), answer.header("request-id")), (36, answer.header("x-request-id")));
}

#[tokio::test]
async fn a_500_names_its_request_and_nothing_else() {
    async fn panics() -> &'static str {
        panic!("the inner life")
    }
    let routes = Router::new()
        .route("/panics", get(panics))
        .route("/fails", get(async || ApiError::Internal("the inner life".into())))
        .route("/full", get(async || ApiError::Unstorable("the inner life".into())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(serve(
        crate::http::testing::plain(listener),
        enveloped(routes, Doors::default(), vec![]),
        Heartbeat::default(),
        stop,
    ));
    let http = server(|_| {}).await.http;
    for (path, status) in [("panics", 500), ("fails", 500), ("full", 503)] {
        let answer = send(http.get(format!("{base}/{path}")).header("x-request-id", "r-1")).await;
        assert_eq!(answer.status, status);
        assert!(!answer.text().contains("inner life"));
        assert_eq!(answer.header("x-request-id"), "r-1");
        if status == 500 {
            assert_eq!(answer.json()["code"], "InternalError");
            assert!(answer.text().contains("r-1"));
        }
    }
}

#[tokio::test]
async fn a_dialect_renders_the_errors_of_its_routes_and_no_others() {
    async fn panics() -> &'static str {
        panic!("the inner life")
    }
    let render: Render =
        |error, id| (error.status(), format!("{} {id}: {}", error.code(), error.text(id))).into_response();
    let dialect = Router::new()
        .route("/fails", get(async || ApiError::Internal("the inner life".into())))
        .route("/panics", get(panics))
        .route("/refuses", get(async || ApiError::with(&messages::REPOSITORY, "a/b")))
        .method_not_allowed_fallback(async |request: Request| wrong_method(&request));
    let routes = rendered_by(dialect, render).route("/neutral", get(async || ApiError::new(&messages::BUSY)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(serve(
        crate::http::testing::plain(listener),
        enveloped(routes, Doors::default(), vec![]),
        Heartbeat::default(),
        stop,
    ));
    let http = server(|_| {}).await.http;
    let mut answers = String::new();
    for (method, path) in
        [("GET", "fails"), ("GET", "panics"), ("GET", "refuses"), ("POST", "refuses"), ("GET", "neutral"), ("GET", "x")]
    {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = send(http.request(method, format!("{base}/{path}")).header("x-request-id", "r-1")).await;
        let (allow, retry) = (answer.header("allow"), answer.header("retry-after"));
        answers += &format!("{path}: {} [{allow}] [{retry}] {}\n", answer.status, answer.text());
    }
    insta::assert_snapshot!(answers);
}

#[tokio::test]
async fn only_configured_pages_may_read() {
    let server = server(|config| config.cors_origins = vec!["https://page.acme.org".into()]).await;
    let from = |method: &str, origin: &str| server.request(method, "/job").header("origin", origin.to_owned());
    let answer = send(from("GET", "https://page.acme.org")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), "https://page.acme.org");
    assert_eq!(answer.header("vary"), "Origin");
    let foreign = send(from("GET", "https://evil.example")).await;
    assert_eq!((foreign.header("access-control-allow-origin"), foreign.header("vary")), ("", "Origin"));

    let preflight = from("OPTIONS", "https://page.acme.org").header("access-control-request-method", "POST");
    let answer = send(preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, "GET, POST"));
    assert!(answer.header("access-control-allow-headers").contains("Authorization"));
    let foreign = from("OPTIONS", "https://evil.example").header("access-control-request-method", "POST");
    assert_eq!(send(foreign).await.status, 405);

    let closed = super::server(|_| {}).await;
    let answer = send(closed.request("GET", "/health").header("origin", "https://page.acme.org")).await;
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn bodies_have_a_limit_with_and_without_a_length() {
    let server = server(|_| {}).await;
    let big = || format!(r#"{{"owner":"a","repo":"b","x":"{}"}}"#, "x".repeat(1 << 20));
    let (status, code, _) = server.post("/job", &big()).await.error();
    assert_eq!((status, code.as_str()), (413, "RequestEntityTooLargeError"));
    let piece = Bytes::from(vec![b' '; 4096]);
    let pieces = futures_util::stream::iter((0..300).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let request = server.as_role("build", "POST", "/job").header("content-type", "application/json");
    assert_eq!(send(request.body(reqwest::Body::wrap_stream(pieces))).await.status, 413);
}

#[tokio::test]
async fn ready_lists_the_reasons_and_is_503_only_without_a_store() {
    let server = server(|_| {}).await;
    let ready = || async {
        let answer = send(server.request("GET", "/ready")).await;
        (answer.status, answer.json()["status"].as_str().unwrap().to_owned(), answer.json()["reasons"].clone())
    };
    assert_eq!(ready().await, (200, "ready".into(), serde_json::json!([])));
    server.degraded.send_replace(vec!["etcd is away".into(), "no engine answers".into()]);
    assert_eq!(ready().await, (200, "degraded".into(), serde_json::json!(["etcd is away", "no engine answers"])));
    server.store.close().await;
    assert_eq!(ready().await.0, 503);
    assert_eq!(send(server.request("GET", "/health")).await.status, 200);
    assert_eq!(server.post("/job", r#"{"owner":"a","repo":"b"}"#).await.status, 503);
}

/// The requests are ones that no client library sends.
#[tokio::test]
async fn odd_requests_are_answered() {
    let server = server(|config| config.open = true).await;
    let address = server.base.strip_prefix("http://").unwrap();
    for (request, status) in [
        ("GET /job HTTP/1.0\r\n\r\n", "200"),
        ("GET //job HTTP/1.0\r\n\r\n", "200"),
        ("GET ///job//?limit=1 HTTP/1.0\r\n\r\n", "404"),
        ("GET //_schema///job?x=//y HTTP/1.0\r\n\r\n", "200"),
        ("GET http://localhost//health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200"),
        ("GET /job/..%2f..%2fetc HTTP/1.0\r\n\r\n", "404"),
        ("BREW /job HTTP/1.0\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}");
    }
}

/// Scripts look for `^Link: ` with grep.
#[tokio::test]
async fn header_names_go_out_in_title_case() {
    let server = server(|config| config.open = true).await;
    let mut stream = tokio::net::TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(b"GET /job HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap();
    let mut names: Vec<_> = head.lines().skip(1).map(|line| line.split(": ").next().unwrap()).collect();
    names.sort();
    let expected = [
        "Content-Length",
        "Content-Type",
        "Date",
        "Etag",
        "Link",
        "Request-Id",
        "X-Content-Type-Options",
        "X-Request-Id",
    ];
    assert_eq!(names, expected, "{head}");
}

#[tokio::test]
async fn a_stop_lets_answers_end_and_cuts_what_waits() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let mut followed = server.as_role("read", "GET", &format!("/job/{id}/log?follow=1")).send().await.unwrap();
    drop(server._stop);
    let cut = tokio::time::timeout(Duration::from_secs(30), followed.chunk()).await.unwrap();
    assert!(cut.is_err());
    assert!(server.http.get(format!("{}/health", server.base)).send().await.is_err());
}
