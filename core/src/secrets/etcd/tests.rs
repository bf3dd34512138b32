#![allow(clippy::disallowed_methods)]

use tokio::time::timeout;

use super::*;
use crate::model::EtcdApi;
use crate::secrets::Scope;

fn config(endpoint: &str, base: &str) -> EtcdConfig {
    let (endpoints, base) = (vec![endpoint.into()], base.into());
    EtcdConfig { endpoints, base, api: EtcdApi::Auto, login: None, tls: TlsFiles::default() }
}

#[test]
fn the_prefix_ends_with_a_slash() {
    for (base, prefix) in [("/totem", "/totem/"), ("totem/", "/totem/"), ("/a/b", "/a/b/"), ("", "/"), ("/", "/")] {
        assert_eq!(config("", base).prefix(), prefix);
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

/// Returns a URL with a random loopback address at which nobody listens. Clients have the address 127.0.0.1, so none can
/// be given this address and port and connect to itself.
fn unused_url() -> String {
    let address = std::net::Ipv4Addr::new(127, fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..255));
    format!("http://{}", std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap())
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let url = unused_url();
    for api in [EtcdApi::Auto, EtcdApi::V3, EtcdApi::V2] {
        let config = EtcdConfig { api, ..config(&url, "/totem") };
        let e = Etcd::new(&config).next().await.err().unwrap().to_string();
        assert!(e.contains("Connection refused") && e.contains("ETCD_HOST"), "{api:?}: {e}");
    }
}

/// A real etcd, which is killed on drop.
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
    let (client, peer) = (unused_url(), unused_url());
    let etcd = std::process::Command::new("etcd")
        .args(["--enable-v2", "--data-dir", dir.path().to_str().unwrap(), "--log-level", "error"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stderr(std::process::Stdio::null())
        .spawn();
    let _server = Server(etcd.unwrap());
    // The client retries by itself until the server is up.
    let config = Arc::new(config(&client, "/totem"));
    let mut etcd = Etcd::new(&config);
    let up = async { while etcd.next().await.is_err() {} };
    timeout(Duration::from_secs(60), up).await.unwrap();
    for value in ["1", "2", "3"] {
        etcd.put(&SecretName::Dockercfg(Scope::Common), Zeroizing::new(value.into())).await.unwrap();
    }

    let soon = Duration::from_secs(30);
    let mut link = v3::V3Client::open(config.clone(), &client, &EtcdTls::default()).await.unwrap();
    assert_eq!(*link.read().await.unwrap().values[&SecretName::Dockercfg(Scope::Common)].clone().unwrap(), b"3");
    link.client.kv_client().compact(link.revision, None).await.unwrap();
    let read = std::mem::replace(&mut link.revision, 1);
    let why = timeout(soon, link.changed()).await.unwrap().unwrap_err().why;
    assert!(why.contains("compacted"), "{why}");
    // A watch from a later revision sees the events after it.
    (link.revision, link.watch) = (read, None);
    etcd.put(&SecretName::AuthorizedKeys, Zeroizing::new(b"x".to_vec())).await.unwrap();
    timeout(soon, link.changed()).await.unwrap().unwrap();

    // The v2 API keeps a thousand events.
    let mut link = v2::V2Client::new(config, &client, &EtcdTls::default()).unwrap();
    link.read().await.unwrap();
    let first = link.index;
    for _ in 0..1001 {
        let url = format!("{client}/v2/keys/else");
        assert!(link.http.put(url).send().await.unwrap().status().is_success());
    }
    link.index = first;
    timeout(Duration::from_secs(5), link.changed()).await.unwrap().unwrap();
    link.read().await.unwrap();
    assert!(link.index > first + 1000);
    // Only an event of a secret is a reason to read, in whichever form it was stored.
    for path in ["/totem/else", "/totem/image-factory/github-keys/acme/@owner"] {
        assert!(timeout(Duration::from_millis(200), link.changed()).await.is_err(), "before {path}");
        assert!(link.http.put(format!("{client}/v2/keys{path}")).send().await.unwrap().status().is_success());
    }
    timeout(Duration::from_secs(5), link.changed()).await.unwrap().unwrap();
}
