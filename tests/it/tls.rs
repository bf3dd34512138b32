//! The listener: TLS, its certificate, PORT and BIND, and Unix sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;

use crate::harness::{Authority, Cli, Daemon, Pem, Settings, eventually, folder, port};
use crate::tidy::read;

const SECRET: &str = "the-secret-of-the-webhooks";

fn settings<const N: usize>(values: [(&str, &str); N]) -> Settings {
    let all = [("DOCKER_HOST", "unix:///nowhere/docker.sock"), ("CONCURRENCY", "0"), ("HOOK_SECRET", SECRET)];
    all.iter().chain(&values).map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].concat().iter().map(|&b| char::from(b)).collect()
}

fn curl(args: &[&str]) -> (String, Option<i32>) {
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(args).output().unwrap();
    (text(&output), output.status.code())
}

/// The commands of docs/tls.md, mkdir, openssl req ec and chmod, with another folder than /etc.
fn documented_pair(dir: &Path) -> (String, String) {
    let document = read("docs/tls.md");
    let block = document.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let commands = block.replace("/etc/image-factory/tls", dir.to_str().unwrap());
    let output = Command::new("sh").args(["-euc", &commands]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    (at("fullchain.pem"), at("privkey.pem"))
}

#[tokio::test]
async fn the_documented_certificate_serves_every_client() {
    let dir = folder();
    let (cert, key) = documented_pair(dir.path());
    let daemon = Daemon::start(settings([("TLS_CERT", &cert), ("TLS_KEY", &key)])).await;
    assert!(
        daemon.output().contains(&format!("listens on https://127.0.0.1:{}", daemon.port())),
        "{}",
        daemon.output()
    );
    assert!(daemon.output().contains(&format!("webhooks: POST https://localhost:{}/hooks/github", daemon.port())));

    // Every door: health, a signed webhook, the API, a log.
    let url = format!("https://localhost:{}", daemon.port());
    assert_eq!(
        curl(&["--cacert", &cert, "--write-out", " %{http_version}", &format!("{url}/health")]).0,
        "{\"status\":\"alive\",\"version\":\"0.1.0\"} 1.1"
    );
    assert_eq!(curl(&[&format!("{url}/health")]).1, Some(60), "curl trusts it without --cacert");
    let id = daemon.push_event("acme/hello", "develop", &"1".repeat(40)).await;
    let auth = format!("x:{}", daemon.token());
    let log =
        curl(&["--cacert", &cert, "--user", &auth, "--write-out", "%{http_code}", &format!("{url}/job/{id}/log")]);
    assert_eq!(log.0, "200");

    // The command line of this machine knows the file, and one elsewhere needs it.
    let jobs = daemon.beside(&["jobs", "--json"]).run();
    assert!(text(&jobs).contains(&id), "{}", text(&jobs));
    let elsewhere = daemon.cli(&["jobs"]).env("IMAGE_FACTORY_URL", &url).run();
    assert_eq!(elsewhere.status.code(), Some(4));
    assert!(text(&elsewhere).contains("IMAGE_FACTORY_CACERT"), "{}", text(&elsewhere));
    let trusting =
        daemon.cli(&["jobs", "--json"]).env("IMAGE_FACTORY_URL", &url).env("IMAGE_FACTORY_CACERT", &cert).run();
    assert!(text(&trusting).contains(&id), "{}", text(&trusting));
    let plain = daemon.cli(&["jobs"]).env("IMAGE_FACTORY_URL", &url.replace("https", "http")).run();
    assert!(text(&plain).contains("This port speaks TLS: use https, not http"), "{}", text(&plain));
    let doctor = text(&daemon.beside(&["doctor"]).run());
    assert!(
        doctor.contains("ok   daemon: 0.1.0 answers on")
            && doctor.contains("ok   tls: the certificate is for localhost"),
        "{doctor}"
    );
    assert!(doctor.contains("no authority of this machine signed it"), "{doctor}");
}

/// Returns the certificates that one PEM file holds together with its key.
fn both(pem: &Pem, path: &Path) {
    let parts = [pem.cert(), pem.key()].map(|file| std::fs::read_to_string(file).unwrap());
    std::fs::write(path, parts.concat()).unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_broken_one_is_named() {
    let (dir, authority) = (folder(), Authority::new());
    let file = dir.path().join("both.pem");
    both(&authority.issue("DNS:localhost"), &file);
    let mut daemon = Daemon::start(settings([("CERT_PATH", file.to_str().unwrap()), ("API_TOKENS", "")])).await;
    let serial = async |daemon: &Daemon| {
        let address = format!("127.0.0.1:{}", daemon.port());
        Command::new("openssl").args(["s_client", "-connect", &address]).output().unwrap().stdout
    };
    let first = serial(&daemon).await;
    let certificate = |shown: &[u8]| {
        let shown = String::from_utf8_lossy(shown).into_owned();
        shown.split("-----BEGIN CERTIFICATE-----").nth(1).unwrap().split("-----END").next().unwrap().to_owned()
    };
    // A followed log goes on while the certificate changes.
    let id = daemon.push_event("acme/hello", "develop", &"1".repeat(40)).await;
    let followed = daemon.request(Method::GET, &format!("/job/{id}/log?follow=1")).send().await.unwrap();

    both(&authority.issue("DNS:localhost"), &file);
    let renewed = async || (certificate(&serial(&daemon).await) != certificate(&first)).then_some(());
    eventually(Duration::from_secs(20), "the new one is shown", renewed).await;
    eventually(Duration::from_secs(20), "the log says so", async || {
        daemon.output().contains("the certificate was renewed").then_some(())
    })
    .await;

    let second = certificate(&serial(&daemon).await);
    std::fs::write(&file, std::fs::read_to_string(authority.issue("DNS:localhost").cert()).unwrap()).unwrap();
    let degraded = async || {
        let reasons = daemon.get("/ready").await["reasons"].to_string();
        (reasons.contains("the listener's certificate has changed and cannot be used")
            && reasons.contains("has no private key"))
        .then_some(())
    };
    eventually(Duration::from_secs(30), "/ready says so", degraded).await;
    assert!(daemon.output().contains("the former one stays in use"), "{}", daemon.output());
    assert_eq!(certificate(&serial(&daemon).await), second);
    let doctor = text(&daemon.beside(&["doctor"]).run());
    assert!(doctor.contains("BAD  settings: CERT_PATH: ") && doctor.contains("has no private key"), "{doctor}");
    // The settings are taken, and the former certificate stays.
    let token = "token-of-tls-0123456789";
    let status = async |daemon: &Daemon| {
        let request = daemon.bare_request(Method::GET, "/job").bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&daemon).await, 401);
    for (file, expected) in [(format!("API_TOKENS=ci:read:{token}\n"), 200), (String::new(), 401)] {
        let said = daemon.reload(&file, "were read again: API_TOKENS changed").await;
        assert!(said.contains("not taken, and the former one stays in use: CERT_PATH: "), "{said}");
        assert!(said.contains("has no private key"), "{said}");
        assert_eq!(status(&daemon).await, expected);
    }
    assert_eq!(certificate(&serial(&daemon).await), second);

    // A reload takes it at once.
    both(&authority.issue("DNS:localhost"), &file);
    daemon.reload("", "were read again").await;
    assert_ne!(certificate(&serial(&daemon).await), second);
    let well = async || (!daemon.get("/ready").await["reasons"].to_string().contains("certificate")).then_some(());
    eventually(Duration::from_secs(20), "/ready says nothing of it", well).await;
    daemon.request(Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert_eq!(followed.text().await.unwrap(), daemon.log(&id).await);

    // The doctor knows the end of a certificate, and its names.
    both(&authority.issue_expired("DNS:localhost"), &file);
    assert!(text(&daemon.beside(&["doctor"]).run()).contains("BAD  tls: the certificate has ended"));
    both(&authority.issue("DNS:other.example"), &file);
    assert!(text(&daemon.beside(&["doctor"]).run()).contains("warn tls: the certificate is not for localhost"));
    daemon.signal(Signal::TERM);
}

#[test]
fn settings_that_contradict_each_other_stop_the_start() {
    let dir = folder();
    let (cert, key) = documented_pair(dir.path());
    let mut messages = String::new();
    for values in [
        vec![("TLS_CERT", cert.as_str())],
        vec![("TLS_KEY", key.as_str())],
        vec![("TLS_CERT", &cert), ("TLS_KEY", &key), ("CERT_PATH", &cert)],
        vec![("CERT_PATH", &cert)],
        vec![("TLS_CERT", "/nowhere/cert.pem"), ("TLS_KEY", &key)],
        vec![("PORT", "8443")],
        vec![("BIND", "127.0.0.1")],
        vec![("PORT", "0")],
        vec![("BIND", "localhost"), ("LISTEN", "")],
        vec![("LISTEN", "unix:relative")],
        vec![("LISTEN", "unix:/run/factory.sock"), ("TLS_CERT", &cert), ("TLS_KEY", &key)],
    ] {
        let output =
            Daemon::fail(&values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(), &[]);
        assert!(!output.status.success(), "{values:?}");
        messages += &text(&output);
    }
    let messages = messages.replace(dir.path().to_str().unwrap(), "[folder]");
    let port = regex::Regex::new("127.0.0.1:[0-9]+").unwrap();
    insta::assert_snapshot!(port.replace_all(&messages, "[address]"), @r#"
    image-factory: TLS_CERT is set and TLS_KEY is not: set both (in the environment)
    image-factory: TLS_KEY is set and TLS_CERT is not: set both (in the environment)
    image-factory: CERT_PATH is set beside TLS_CERT or TLS_KEY: keep one of them (in the environment)
    image-factory: CERT_PATH: [folder]/fullchain.pem has no private key: put it there in PEM form (in the environment)
    image-factory: TLS_CERT and TLS_KEY: /nowhere/cert.pem cannot be read (No such file or directory (os error 2)): it must be a PEM file (in the environment)
    image-factory: LISTEN and PORT are both set: keep one of them (in the environment)
    image-factory: LISTEN and BIND are both set: keep one of them (in the environment)
    image-factory: PORT="0" (in the environment) is not valid: it must be a whole number from 1 to 65535
    image-factory: BIND="localhost" (in the environment) is not valid: it must be an IP address, such as 0.0.0.0 or ::
    image-factory: LISTEN="unix:relative" (in the environment) is not valid: write the socket's absolute path, such as unix:/run/factory.sock
    image-factory: LISTEN is a Unix socket, which speaks no TLS: unset TLS_CERT and TLS_KEY, or CERT_PATH (in the environment)
    "#);
}

/// PORT alone moves the default of LISTEN, and the address in links follows.
#[tokio::test]
async fn a_port_alone_is_enough() {
    let (dir, port) = (folder(), port());
    let log = dir.path().join("log");
    let data = dir.path().join("data");
    let daemon = Cli::new(&["serve"])
        .env("PORT", &port.to_string())
        .env("BIND", "127.0.0.1")
        .env("DATA_DIR", data.to_str().unwrap());
    let _daemon = daemon.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("HOOK_SECRET", SECRET).spawn(&log);
    let url = format!("http://127.0.0.1:{port}/health");
    eventually(Duration::from_secs(20), "it answers", async || (curl(&[&url]).1 == Some(0)).then_some(())).await;
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("webhooks: POST http://localhost:{port}/hooks/github")), "{said}");
    let jobs =
        Cli::new(&["jobs", "--json"]).env("PORT", &port.to_string()).env("DATA_DIR", data.to_str().unwrap()).run();
    assert_eq!(text(&jobs), "[]\n");
}

#[tokio::test]
async fn a_unix_socket_serves_its_group_and_is_replaced_after_a_kill() {
    let dir = folder();
    let (socket, data, log) = (dir.path().join("socket"), dir.path().join("data"), dir.path().join("log"));
    let listen = format!("unix:{}", socket.display());
    let with = |args: &[&str]| {
        let cli = Cli::new(args)
            .env("LISTEN", &listen)
            .env("DATA_DIR", data.to_str().unwrap())
            .env("HOOK_SECRET", "changeit");
        cli.env("DOCKER_HOST", "unix:///nowhere/docker.sock").env("API_AUTH", "none").env("CONCURRENCY", "0")
    };
    let ask = |host: &str, path: &str| {
        curl(&[
            "--unix-socket",
            socket.to_str().unwrap(),
            "--write-out",
            "%{http_code}",
            &format!("http://{host}{path}"),
        ])
        .0
    };
    let alive = async || ask("localhost", "/health").ends_with("200").then_some(());
    let mut daemon = with(&["serve"]).spawn(&log);
    eventually(Duration::from_secs(20), "it answers", alive).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(ask("localhost", "/job"), "[]200");
    // A name that a foreign page was made to have is refused here as well, because a proxy may stand before the socket.
    assert!(ask("evil.example", "/job").ends_with("403"));
    assert_eq!(text(&with(&["jobs", "--json"]).run()), "[]\n");
    assert_eq!(text(&Cli::new(&["jobs", "--json", "--url", &listen]).run()), "[]\n");
    let doctor = text(&with(&["doctor"]).run());
    assert!(doctor.contains(&format!("ok   daemon: 0.1.0 answers on {listen}")), "{doctor}");
    let second = with(&["serve"]).env("DATA_DIR", dir.path().join("other").to_str().unwrap()).run();
    assert!(!second.status.success() && text(&second).contains("is in use: waiting for it"), "{}", text(&second));

    daemon.kill9();
    assert!(socket.exists());
    let mut daemon = with(&["serve"]).spawn(&log);
    eventually(Duration::from_secs(20), "it answers again", alive).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.exit(Duration::from_secs(20)).await.success());
    assert!(!socket.exists());
}
