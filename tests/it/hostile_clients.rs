//! Clients that hold connections without need, and places for those who bring work meanwhile.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::{Daemon, HOOK_SECRET, Proc, Settings, World, eventually, folder, http_client, port, push_payload};

const WAIT: Duration = Duration::from_secs(60);

/// A daemon that may open 1,024 files has 512 places, of which 32 are kept.
struct Small {
    _server: Proc,
    port: u16,
    log: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (dir, port) = (folder(), port());
        let log = dir.path().join("log");
        let mut command = Command::new("prlimit");
        command
            .args(["--nofile=1024:1024", env!("CARGO_BIN_EXE_image-factory"), "serve"])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("LISTEN", format!("0.0.0.0:{port}"))
            .env("DATA_DIR", dir.path().join("data"))
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("HOOK_SECRET", HOOK_SECRET)
            .envs([("API_AUTH", "none"), ("CONCURRENCY", "0")])
            .envs(settings.iter().copied());
        let server = Proc::spawn("image-factory", &mut command, &log);
        let small = Self { _server: server, port, log, _dir: dir };
        let alive = async || http_client().get(small.url("/health")).send().await.is_ok().then_some(());
        eventually(WAIT, "it answers", alive).await;
        small
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// Opens a connection, and sends a GET with these further headers.
    fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        stream
    }

    /// Makes a job, and returns the path at which its log is followed.
    async fn log_path(&self) -> String {
        assert_eq!(self.push(1, "").await, 201);
        let jobs: serde_json::Value = http_client().get(self.url("/job")).send().await.unwrap().json().await.unwrap();
        format!("/job/{}/log?follow=1", jobs[0]["id"].as_str().unwrap())
    }

    /// Sends the webhook of a push, as a proxy that was called from this address, if there is one.
    async fn push(&self, commit: u8, forwarded: &str) -> reqwest::StatusCode {
        let body = push_payload("acme/hello", "refs/heads/develop", &commit.to_string().repeat(40)).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(HOOK_SECRET.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        let request = http_client().post(self.url("/hooks/github")).timeout(WAIT);
        let request = request.header("content-type", "application/json").header("x-github-event", "push");
        let request = request.header("x-forwarded-for", forwarded);
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
    let small = Small::start(&[]).await;
    let path = small.log_path().await;
    let _reading_nothing: Vec<_> = (0..600).map(|_| small.ask(&path, "")).collect();
    let full = async || (small.metric("image_factory_log_followers").await == 336.0).then_some(());
    eventually(WAIT, "all places of followers are taken", full).await;
    assert_eq!(small.push(2, "").await, 201);
    assert_eq!(small.metric("image_factory_http_places").await, 512.0);
    assert!(small.metric("image_factory_http_connections").await >= 448.0);
    assert!(small.metric("image_factory_http_refusals_total{reason=\"places\"}").await >= 1.0);
    assert!(small.metric("image_factory_http_refusals_total{reason=\"followers\"}").await >= 1.0);
    // What is neither a webhook nor about health is told to come later.
    // One of the 600 may still be on its way to its place.
    let refused = async || {
        let answer = http_client().get(small.url("/job")).timeout(WAIT).send().await.unwrap();
        (answer.status() == 503).then(|| answer.headers()["retry-after"].clone())
    };
    assert_eq!(eventually(WAIT, "other requests are refused", refused).await, "5");
    let said = std::fs::read_to_string(&small.log).unwrap();
    assert_eq!(said.matches("all 448 places for connections are taken").count(), 1, "{said}");
}

#[tokio::test]
async fn webhooks_have_places_while_others_say_nothing() {
    let small = Small::start(&[]).await;
    let mut silent: Vec<_> = (0..600).map(|_| small.connect()).collect();
    assert_eq!(small.push(1, "").await, 201);
    drop(silent.split_off(100));
    let free = async || (http_client().get(small.url("/job")).send().await.ok()?.status() == 200).then_some(());
    eventually(WAIT, "there are places again", free).await;
    assert!(std::fs::read_to_string(&small.log).unwrap().contains("there are places for connections again"));
    // A silent connection ends by itself.
    silent[0].set_read_timeout(Some(WAIT)).unwrap();
    assert_eq!(silent[0].read(&mut [0; 1024]).unwrap_or(0), 0);
}

/// Returns an address of this machine that is not loopback: a packet that is never sent would come from there.
fn other_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Docker's bridge is there where no network is.
    let is_routed = ["203.0.113.1:9", "172.17.0.2:9"].iter().any(|to| socket.connect(to).is_ok());
    assert!(is_routed, "no route leaves this machine");
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
async fn one_address_has_a_quarter_of_the_places() {
    let small = Small::start(&[]).await;
    let (address, port) = (other_address(), small.port);
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect((address, port)).unwrap()).collect();
    let refusals = "image_factory_http_refusals_total{reason=\"address\"}";
    let refused = async || (small.metric(refusals).await >= 88.0).then_some(());
    eventually(WAIT, "the address has all its places", refused).await;
    // Others have theirs.
    assert_eq!(http_client().get(small.url("/job")).send().await.unwrap().status(), 200);
    assert_eq!(small.metric("image_factory_http_refusals_total{reason=\"places\"}").await, 0.0);
    let said = std::fs::read_to_string(&small.log).unwrap();
    assert_eq!(said.matches("has 112 places, the share of one address").count(), 1, "{said}");
    drop(silent);
    let url = format!("http://{address}:{port}/job");
    let free = async || (http_client().get(&url).send().await.ok()?.status() == 200).then_some(());
    eventually(WAIT, "the address has places again", free).await;
}

#[tokio::test]
async fn what_a_proxy_passes_on_counts_for_its_sender() {
    let small = Small::start(&[("TRUSTED_PROXIES", "127.0.0.1,198.51.100.0/24")]).await;
    let path = small.log_path().await;
    let sender = "X-Forwarded-For: 203.0.113.1, 203.0.113.7, 198.51.100.8\r\n";
    let socket = format!(
        "{sender}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    let first_line = |mut stream: &TcpStream| {
        let mut start = [0; 12];
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    };
    let followers: Vec<_> = (0..112).map(|n| small.ask(&path, if n % 2 == 0 { sender } else { &socket })).collect();
    for (n, follower) in followers.iter().enumerate() {
        assert_eq!(first_line(follower), if n % 2 == 0 { "HTTP/1.1 200" } else { "HTTP/1.1 101" });
    }
    assert_eq!(first_line(&small.ask("/job", sender)), "HTTP/1.1 503");
    assert_eq!(small.push(2, "203.0.113.7").await, 201);
    assert_eq!(first_line(&small.ask("/job", "X-Forwarded-For: 203.0.113.7, 203.0.113.8\r\n")), "HTTP/1.1 200");
    // Whoever is no proxy speaks for itself.
    let mut direct = TcpStream::connect((other_address(), small.port)).unwrap();
    write!(direct, "GET /job HTTP/1.1\r\nHost: localhost\r\n{sender}\r\n").unwrap();
    assert_eq!(first_line(&direct), "HTTP/1.1 200");
    drop(followers);
    let free = async || (first_line(&small.ask("/job", sender)) == "HTTP/1.1 200").then_some(());
    eventually(WAIT, "the sender has places again", free).await;
}

/// Whoever listens on the daemon's port while it is down is sent nothing.
#[tokio::test]
async fn the_admin_token_goes_to_the_daemon_alone() {
    let mut daemon = Daemon::start(Settings::new()).await;
    let socket = daemon.data_dir().join("socket");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for url in [String::new(), daemon.url(), format!("http://localhost:{}", daemon.port())] {
        let listed = daemon.beside(&["jobs"]).env("IMAGE_FACTORY_URL", &url).run();
        assert!(listed.status.success(), "{url}: {}", String::from_utf8_lossy(&listed.stderr));
    }
    // The socket is there after SIGKILL, and not after SIGTERM.
    for is_killed in [true, false] {
        match is_killed {
            true => daemon.kill9(),
            false => drop(daemon.term(WAIT).await),
        }
        assert_eq!(socket.exists(), is_killed);
        let listener = TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
        listener.set_nonblocking(true).unwrap();
        for args in [&["jobs"][..], &["doctor"]] {
            let asked = daemon.beside(args).run();
            let said = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
            assert!(!asked.status.success(), "{said}");
            let mut sent = String::new();
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                let _ = stream.read_to_string(&mut sent);
            }
            assert!(!sent.to_ascii_lowercase().contains("authorization"), "{sent}");
        }
        drop(listener);
        if is_killed {
            daemon.restart().await;
        }
    }
}

/// A terminal is made by script(1).
#[tokio::test]
async fn a_terminal_gets_the_colours_of_a_log_and_nothing_else() {
    let world = World::start().await;
    let print = r"printf 'a\033]0;title\007b\033[2J\033[31mred\033[0m\n'";
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; {print}\n", crate::harness::unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_success(&id).await;
    assert!(world.daemon.log(&id).await.contains("a\x1b]0;title\x07b\x1b[2J\x1b[31mred\x1b[0m"));
    for args in [&["logs"][..], &["logs", "--follow"]] {
        let line = [&[env!("CARGO_BIN_EXE_image-factory")], args, &[&id]].concat().join(" ");
        let shown = Command::new("script").args(["-qec", &line, "/dev/null"]).envs(world.daemon.environment()).output();
        let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
        assert!(shown.contains("ab\x1b[31mred\x1b[0m"), "{shown:?}");
        assert!(!shown.contains("\x1b]") && !shown.contains("\x1b[2J"), "{shown:?}");
    }
}
