use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use image_factory::model::{EtcdApi, ImageRef, RepoName};
use image_factory::secrets::{Scope, SecretName, Secrets, admin};
use reqwest::Method;
use rustix::process::Signal;
use tokio::net::TcpListener;

use super::{by, check};
use crate::harness::{Etcd, dockercfg, eventually, folder, gpg_encrypt, http_client, masked, port, succeed};
use crate::secrets::{Live, in_use, keygen, plain};

/// Stores a value with the command from totem's README.
fn curl(etcd: &Etcd, name: &str, value: &[u8]) {
    let dir = folder();
    let file = dir.path().join("value");
    std::fs::write(&file, value).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-fsS", "-X", "PUT", &format!("{}/v2/keys/totem/{name}", etcd.endpoint())]);
    succeed(curl.arg("--data-urlencode").arg(format!("value@{}", file.display())), b"");
}

/// Returns what `check` or another question said, and whether that is good.
fn said((ok, text): (bool, String)) -> String {
    masked(&format!("{} {text}", if ok { "ok  " } else { "FAIL" }), &[])
}

/// The host of syslog is no secret and other programs use it, so it does not decide which API has the secrets.
#[tokio::test]
async fn the_syslog_host_is_read_by_either_api() {
    let etcd = Etcd::with_v2().await;
    let mut live = Live::start(plain(&[etcd.endpoint()]));
    curl(&etcd, "syslog/host", b"logs\n");
    live.until(|s| s.syslog_host() == Some("logs:514")).await;
    etcd.put("/totem/syslog/host", "10.0.0.7:5514").await;
    live.until(|s| s.syslog_host() == Some("10.0.0.7:5514")).await;
    etcd.put("/totem/syslog/host", "ftp://logs").await;
    let is_invalid = |line: &String| line.starts_with("syslog/host: it is not");
    let secrets = live.until(|s| s.trouble.iter().any(is_invalid)).await;
    insta::assert_snapshot!(secrets.trouble.join("\n"), @r"
    syslog/host: etcd's v2 API has another value, and v3's is used: delete the wrong one (`etcdctl rm` or `etcdctl del`)
    syslog/host: it is not `host` or `host:port`; the last good one stays in use
    ");
    etcd.delete("/totem/syslog/host").await;
    live.until(|s| s.syslog_host() == Some("logs:514") && s.trouble.is_empty()).await;
}

#[tokio::test]
async fn a_value_stored_by_either_api_is_seen() {
    let dir = folder();
    let etcd = Etcd::with_v2().await;
    let [old, newer, short, v3] = ["old", "newer", "short", "v3"].map(|name| keygen(dir.path(), name));
    // Started before anything is stored.
    let mut live = Live::start(plain(&[etcd.endpoint()]));
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());
    insta::assert_snapshot!(said(check(plain(&[etcd.endpoint()])).await), @"ok   etcd http://127.0.0.1:[port] /totem: can be read, by the v3 API of http://127.0.0.1:[port]");

    curl(&etcd, "image-factory/github-key", &old.0);
    live.until_key("acme/hello", Some(&old.1)).await;
    insta::assert_snapshot!(said(check(plain(&[etcd.endpoint()])).await), @"ok   etcd http://127.0.0.1:[port] /totem: can be read, by the v2 API of http://127.0.0.1:[port]");
    // Stored beside the others.
    let stored = live.put_key(None, None, &newer.0).await;
    insta::assert_snapshot!(masked(&stored, &[(&newer.1, "newer")]), @"stored deploy key ssh-ed25519 [newer] as /totem/image-factory/github-key in etcd (v2 API)");
    live.until_key("acme/hello", Some(&newer.1)).await;
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("value", std::str::from_utf8(&short.0).unwrap())
        .append_pair("ttl", "2")
        .finish();
    etcd.v2(Method::PUT, "v2/keys/totem/image-factory/github-keys/acme", &form).await;
    live.until_key("acme/hello", Some(&short.1)).await;
    live.until_key("acme/hello", Some(&newer.1)).await;

    // One name in v3 changes nothing about the others. The same name takes precedence, and v2's is trouble.
    etcd.put("/totem/syslog/host", "x").await;
    etcd.put("/totem/image-factory/github-key", newer.0.clone()).await;
    live.until(|s| s.syslog_host() == Some("x:514") && s.trouble.is_empty()).await;
    etcd.put("/totem/image-factory/github-key", v3.0.clone()).await;
    let secrets = live.until_key("acme/hello", Some(&v3.1)).await;
    let trouble = "image-factory/github-key: etcd's v2 API has another value, and v3's is used: \
                   delete the wrong one (`etcdctl rm` or `etcdctl del`)";
    assert_eq!(secrets.trouble, [trouble]);
    let lines = admin::check(&live.config).await;
    insta::assert_snapshot!(said((lines[0].ok, lines[0].text.clone())), @"ok   can be read, by the v3 and v2 APIs of http://127.0.0.1:[port]");
    assert_eq!(lines.iter().filter(|line| !line.ok).map(|line| &*line.text).collect::<Vec<_>>(), [trouble]);
    // A specific key that only v2 has is not displaced by v3's general one.
    curl(&etcd, "image-factory/github-keys/acme", &old.0);
    live.until_key("acme/hello", Some(&old.1)).await;
    let stored = live.put_key(Some("acme"), None, &newer.0).await;
    insta::assert_snapshot!(masked(&stored, &[(&newer.1, "newer")]), @"stored deploy key ssh-ed25519 [newer] as /totem/image-factory/github-keys/acme in etcd (v2 API)");
    live.until_key("acme/hello", Some(&newer.1)).await;
    // `rm` leaves none behind that would be used instead.
    let acme = SecretName::GithubKey(Scope::new(Some("acme"), None).unwrap());
    etcd.put("/totem/image-factory/github-keys/acme", old.0.clone()).await;
    live.until_key("acme/hello", Some(&old.1)).await;
    let removed = admin::remove(&live.config, &acme).await.unwrap();
    assert_eq!(
        removed,
        [
            "deleted /totem/image-factory/github-keys/acme in etcd (v3 API)",
            "deleted /totem/image-factory/github-keys/acme in etcd (v2 API)",
            "from now on repositories of acme without a key of their own are fetched with the key image-factory/github-key",
        ]
    );
    live.until_key("acme/hello", Some(&v3.1)).await;
    assert!(admin::remove(&live.config, &acme).await.is_err());
    etcd.delete("/totem/image-factory/github-key").await;
    live.until_key("acme/hello", Some(&newer.1)).await;
    // A folder goes with what is in it.
    etcd.v2(Method::DELETE, "v2/keys/totem/image-factory?recursive=true", "").await;
    live.until_key("acme/hello", None).await;
}

#[tokio::test]
async fn a_value_that_the_v2_api_cannot_store_is_refused() {
    let dir = folder();
    let etcd = Etcd::with_v2().await;
    let [owners, repos] = ["owners", "repos"].map(|name| keygen(dir.path(), name));
    let mut live = Live::start(by(EtcdApi::V2, &[etcd.endpoint()]));
    // An owner's key leaves room for those of its repositories.
    let stored = live.put_key(Some("acme"), None, &owners.0).await;
    insta::assert_snapshot!(masked(&stored, &[(&owners.1, "owners")]), @"stored deploy key ssh-ed25519 [owners] as /totem/image-factory/github-keys/acme/@owner in etcd (v2 API)");
    live.put_key(Some("acme"), Some("hello"), &repos.0).await;
    live.until_key("acme/hello", Some(&repos.1)).await;
    live.until_key("acme/other", Some(&owners.1)).await;

    let refused = async |name: SecretName, value: &[u8]| {
        masked(&admin::put(&live.config, name, value.to_vec().into()).await.unwrap_err().to_string(), &[])
    };
    let key = |owner, repo| SecretName::GithubKey(Scope::new(Some(owner), repo).unwrap());
    curl(&etcd, "image-factory/github-keys/plain", &repos.0);
    let stored = live.put_key(Some("plain"), None, &owners.0).await;
    insta::assert_snapshot!(masked(&stored, &[(&owners.1, "owners")]), @"stored deploy key ssh-ed25519 [owners] as /totem/image-factory/github-keys/plain in etcd (v2 API)");
    insta::assert_snapshot!(refused(key("plain", Some("hello")), &repos.0).await, @"etcd cannot be written (http://127.0.0.1:[port]: /totem/image-factory/github-keys/plain is a key with the owner's secret, and a directory is needed there): store that as /totem/image-factory/github-keys/plain/@owner instead");
    insta::assert_snapshot!(refused(key("acme", Some("_hidden")), &repos.0).await, @"etcd cannot be written (http://127.0.0.1:[port]: image-factory/github-keys/acme/_hidden: the v2 API hides what begins with _): use the owner's secret or the common one instead");

    let armored = gpg_encrypt(r#"{"quay.io":{"auth":"dG90ZW06c2VjcmV0"}}"#, "passphrase");
    let binary = succeed(Command::new("gpg").arg("--dearmor").env("GNUPGHOME", dir.path()), armored.as_bytes()).stdout;
    insta::assert_snapshot!(refused(SecretName::Dockercfg(Scope::Common), &binary).await, @"etcd cannot be written (http://127.0.0.1:[port]: it is not text, and the v2 API keeps text only): encrypt it with `gpg -c --armor`");
    curl(&etcd, "image-factory/dockercfg", &binary);
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    insta::assert_snapshot!(secrets.trouble.join("\n"), @"image-factory/dockercfg: it was not text, and etcd's v2 API has damaged it: store it again, encrypted with `gpg -c --armor`; it is not used");
    curl(&etcd, "image-factory/dockercfg", armored.as_bytes());
    live.until(|s| s.trouble.is_empty() && s.registry_auth("quay.io").is_some()).await;
}

#[tokio::test]
async fn an_owners_login_leaves_room_for_those_of_repositories() {
    let etcd = Etcd::with_v2().await;
    let mut live = Live::start(by(EtcdApi::V2, &[etcd.endpoint()]));
    for (repo, user, key) in [(None, "owner", "acme/@owner"), (Some("hello"), "hello", "acme/hello")] {
        let name = SecretName::Dockercfg(Scope::new(Some("acme"), repo).unwrap());
        let login = gpg_encrypt(&dockercfg("quay.io", user, "secret"), "passphrase");
        let stored = admin::put(&live.config, name, login.into_bytes().into()).await.unwrap();
        assert!(stored.contains(&format!("/totem/image-factory/dockercfgs/{key} in etcd (v2 API)")), "{stored}");
    }
    let user = |secrets: &Secrets, repo: &str| {
        let (repo, image) = (RepoName::parse(repo).unwrap(), ImageRef::parse("quay.io/acme/x:1").unwrap());
        secrets.image_auth(Some(&repo), &image).map(|auth| auth.username)
    };
    let users = |secrets: &Secrets| ["acme/hello", "acme/other", "beta/hello"].map(|repo| user(secrets, repo));
    live.until(|s| users(s) == [Some("hello".into()), Some("owner".into()), None]).await;
}

#[tokio::test]
async fn v2_is_not_requested_where_it_is_not_served() {
    let etcd = Etcd::start().await;
    insta::assert_snapshot!(said(check(plain(&[etcd.endpoint()])).await), @"ok   etcd http://127.0.0.1:[port] /totem: can be read, by the v3 API of http://127.0.0.1:[port]");
    insta::assert_snapshot!(said(check(by(EtcdApi::V2, &[etcd.endpoint()])).await), @"FAIL etcd http://127.0.0.1:[port] /totem: etcd cannot be read (http://127.0.0.1:[port]: it has no v2 API): start it with --enable-v2, or set ETCD_API=v3");
}

struct Etcd2 {
    etcd: Etcd,
    /// The number of waits that ended without an event.
    empty: AtomicUsize,
}

/// Answers as etcd 2 where it differs from the real one behind this: the version, no gRPC, and a wait that ends without
/// an event after some minutes, here 0.2 s.
async fn as_etcd_2(State(old): State<Arc<Etcd2>>, request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().unwrap().as_str();
    if path == "/version" {
        return Response::new(r#"{"etcdserver":"2.3.8","etcdcluster":"2.3.0"}"#.into());
    }
    let url = format!("{}{path}", old.etcd.endpoint());
    let waits = path.contains("wait=true");
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let answer = http_client().request(parts.method, url).headers(parts.headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    response.headers_mut().unwrap().insert("X-Etcd-Index", answer.headers()["X-Etcd-Index"].clone());
    let limit = Duration::from_millis(if waits { 200 } else { 10_000 });
    let body = match tokio::time::timeout(limit, answer.bytes()).await {
        Ok(bytes) => bytes.unwrap().into(),
        Err(_) => {
            old.empty.fetch_add(1, Relaxed);
            Body::empty()
        }
    };
    response.body(body).unwrap()
}

/// Listens until the test ends. It speaks HTTP/1.1 alone, as Go's server did at that time.
async fn front(old: Arc<Etcd2>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", port())).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(as_etcd_2).with_state(old);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    endpoint
}

#[tokio::test]
async fn an_etcd_that_has_only_v2() {
    let dir = folder();
    let [old, new] = ["old", "new"].map(|name| keygen(dir.path(), name));
    let old_etcd = Arc::new(Etcd2 { etcd: Etcd::with_v2().await, empty: AtomicUsize::new(0) });
    let endpoint = front(old_etcd.clone()).await;
    let mut live = Live::start(plain(std::slice::from_ref(&endpoint)));
    live.put_key(None, None, &old.0).await;
    live.until_key("a/b", Some(&old.1)).await;
    let waited = old_etcd.empty.load(Relaxed);
    let what = "a wait ends with nothing";
    eventually(Duration::from_secs(20), what, async || (old_etcd.empty.load(Relaxed) > waited).then_some(())).await;
    curl(&old_etcd.etcd, "image-factory/github-key", &new.0);
    assert!(live.until_key("a/b", Some(&new.1)).await.trouble.is_empty());
    // The daemon did not repeat its requests without a pause.
    assert!(old_etcd.empty.load(Relaxed) < waited + 4);
    insta::assert_snapshot!(said(check(plain(std::slice::from_ref(&endpoint))).await), @"ok   etcd http://127.0.0.1:[port] /totem: can be read, by the v2 API of http://127.0.0.1:[port]");
    insta::assert_snapshot!(said(check(by(EtcdApi::V3, &[endpoint])).await), @"FAIL etcd http://127.0.0.1:[port] /totem: etcd cannot be read (http://127.0.0.1:[port]: etcd 2 has no v3 API): set ETCD_API=v2, or auto");
}

#[tokio::test]
async fn an_etcd_that_hangs_is_noticed_by_each_api() {
    let dir = folder();
    let key = keygen(dir.path(), "key");
    let etcd = Etcd::with_v2().await;
    let hangs = async |api: EtcdApi| {
        let mut live = Live::start(by(api, &[etcd.endpoint()]));
        live.put_key(None, None, &key.0).await;
        live.until_key("a/b", Some(&key.1)).await;
        live
    };
    let mut all = [hangs(EtcdApi::V3).await, hangs(EtcdApi::V2).await, hangs(EtcdApi::Auto).await];
    etcd.signal(Signal::STOP);
    let mut lines = Vec::new();
    for live in &mut all {
        let secrets = live.until(|s| !s.trouble.is_empty()).await;
        lines.push(masked(&secrets.trouble[0], &[]));
        assert_eq!(in_use(&secrets, "a/b").as_ref(), Some(&key.1));
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    etcd cannot be read (http://127.0.0.1:[port]: no answer within 5 s): does it hang, or are most members of its cluster away?; what was read last stays in use
    etcd cannot be read (http://127.0.0.1:[port]: no answer within 5 s): does it hang, or are most members of its cluster away?; what was read last stays in use
    etcd cannot be read (http://127.0.0.1:[port]: no answer within 5 s): does it hang, or are most members of its cluster away?; what was read last stays in use
    ");
    etcd.signal(Signal::CONT);
    for live in &mut all {
        live.until(|s| s.trouble.is_empty()).await;
    }
}
