#![allow(clippy::disallowed_methods)]

use super::*;

#[test]
fn the_prefix_ends_with_a_slash() {
    for (base, prefix) in [("/totem", "/totem/"), ("totem/", "/totem/"), ("/a/b", "/a/b/"), ("", "/"), ("/", "/")] {
        assert_eq!(Etcd::new(&[], base).prefix, prefix);
    }
}

#[test]
fn pauses_grow_to_ten_seconds() {
    assert_eq!(pause(0), Duration::ZERO);
    for (failures, longest) in [(1, 200), (2, 400), (5, 3200), (7, 10_000), (u32::MAX, 10_000)] {
        let pause = pause(failures).as_millis();
        assert!(pause >= longest / 2 && pause <= longest, "{failures}: {pause}");
    }
}

#[tokio::test]
async fn where_nobody_listens_the_reason_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let e = Etcd::new(&[format!("http://127.0.0.1:{port}")], "/totem").next().await.err().unwrap().to_string();
    assert!(e.contains("Connection refused") && e.contains("ETCD_HOST"), "{e}");
}

/// A real one, killed on drop.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_watch_from_a_compacted_revision_ends() {
    let dir = tempfile::tempdir().unwrap();
    let url = || {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    };
    let (client, peer) = (url(), url());
    let etcd = std::process::Command::new("etcd")
        .args(["--data-dir", dir.path().to_str().unwrap(), "--log-level", "error"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stderr(std::process::Stdio::null())
        .spawn();
    let _server = Server(etcd.unwrap());
    // It tries again by itself until the server is up.
    let mut etcd = Etcd::new(std::slice::from_ref(&client), "/totem");
    let up = async { while etcd.next().await.is_err() {} };
    timeout(Duration::from_secs(60), up).await.unwrap();
    for value in ["1", "2", "3"] {
        etcd.put(&Name::Dockercfg, Zeroizing::new(value.into())).await.unwrap();
    }
    let server = connect(&client).await.unwrap();
    let (contents, revision) = read(&server, "/totem/").await.unwrap();
    assert_eq!(*contents.values[&Name::Dockercfg].clone().unwrap(), b"3");
    server.kv_client().compact(revision, None).await.unwrap();
    let mut late = Link::watch(server.clone(), "/totem/", revision - 1).await.unwrap();
    let why = timeout(Duration::from_secs(30), late.changed("/totem/")).await.unwrap().unwrap_err();
    assert!(why.contains("compacted"), "{why}");
    // One from after it sees what follows.
    let mut link = Link::watch(server, "/totem/", revision + 1).await.unwrap();
    etcd.put(&Name::AuthorizedKeys, Zeroizing::new(b"x".to_vec())).await.unwrap();
    timeout(Duration::from_secs(30), link.changed("/totem/")).await.unwrap().unwrap();
}
