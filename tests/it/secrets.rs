//! The live secrets against a real etcd: every put seen, every kind of absence survived.
#![allow(clippy::disallowed_methods)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use image_factory::model::RepoName;
use image_factory::secrets::{Name, Place, Scope, Secrets, SecretsConfig, admin, start};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use crate::harness::eventually;

const CFG: &str = r#"{"https://quay.io":{"auth":"dG90ZW06c2VjcmV0"}}"#;

/// One etcd on free ports, with its data in a folder of its own.
struct Etcd {
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Not started yet.
    fn new() -> Self {
        let [client, peer] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        Self { dir: tempfile::tempdir().unwrap(), client, peer, child: None }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Returns when it answers.
    async fn start(&mut self) -> Client {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer));
        let child = Command::new("etcd")
            .args(["--data-dir", self.dir.path().to_str().unwrap(), "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually(Duration::from_secs(60), "etcd answers", async || {
            // A new client each time: one that was refused waits longer and longer.
            let connected = Client::connect([client.as_str()], None).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(1), connected.kv_client().get("up", None)).await;
            answer.is_ok_and(|got| got.is_ok()).then_some(connected)
        })
        .await
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// STOP: it hangs and closes nothing; CONT.
    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Live {
    config: SecretsConfig,
    snapshot: watch::Receiver<Arc<Secrets>>,
    _stop: DropGuard,
}

impl Live {
    fn start(endpoints: &[String]) -> Self {
        let config = SecretsConfig {
            place: Place::Etcd { endpoints: endpoints.to_vec(), base: "/totem".into() },
            passphrase: Some(Zeroizing::new("passphrase".to_owned())),
            authorized_keys_file: None,
        };
        let stop = CancellationToken::new();
        Self { snapshot: start(config.clone(), stop.clone()), config, _stop: stop.drop_guard() }
    }

    async fn until(&mut self, what: impl FnMut(&Arc<Secrets>) -> bool) -> Arc<Secrets> {
        let found = tokio::time::timeout(Duration::from_secs(60), self.snapshot.wait_for(what)).await;
        found.expect("in time").expect("the loader runs").clone()
    }

    async fn until_key(&mut self, repo: &str, fingerprint: Option<&str>) -> Arc<Secrets> {
        self.until(|s| s.loaded && in_use(s, repo).as_deref() == fingerprint).await
    }

    async fn put_key(&self, owner: Option<&str>, repo: Option<&str>, key: &[u8]) -> String {
        let name = Name::GithubKey(Scope::new(owner, repo).unwrap());
        admin::put(&self.config, name, key.to_vec().into()).await.unwrap()
    }
}

fn in_use(secrets: &Secrets, repo: &str) -> Option<String> {
    secrets.deploy_key(&RepoName::parse(repo).unwrap()).map(|k| k.fingerprint())
}

/// A new encrypted key and its fingerprint, as ssh-keygen says it.
fn keygen(dir: &Path, name: &str) -> (Vec<u8>, String) {
    let file = dir.join(name);
    let args = ["-q", "-t", "ed25519", "-a", "1", "-N", "passphrase", "-f"];
    assert!(Command::new("ssh-keygen").args(args).arg(&file).status().unwrap().success());
    let out = Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.with_extension("pub")).output().unwrap();
    let fingerprint = String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned();
    (std::fs::read(file).unwrap(), fingerprint)
}

#[tokio::test]
async fn what_is_put_is_used_and_what_is_deleted_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut etcd = Etcd::new();
    let raw = etcd.start().await;
    let mut live = Live::start(&[etcd.endpoint()]);
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());

    let [first, second, owners] = ["first", "second", "owners"].map(|name| keygen(dir.path(), name));
    let said = live.put_key(None, None, &first.0).await;
    assert!(said.contains(&first.1) && said.contains("/totem/image-factory/github-key in etcd"), "{said}");
    live.until_key("acme/hello", Some(&first.1)).await;
    live.put_key(None, None, &second.0).await;
    live.until_key("acme/hello", Some(&second.1)).await;
    live.put_key(Some("acme"), None, &owners.0).await;
    live.until_key("acme/hello", Some(&owners.1)).await;

    admin::put(&live.config, Name::Dockercfg, CFG.as_bytes().to_vec().into()).await.unwrap();
    live.until(|s| s.registry_auth("quay.io").is_some()).await;
    let stored = raw.kv_client().get("/totem/image-factory/dockercfg", None).await.unwrap();
    assert!(stored.kvs()[0].value().starts_with(b"-----BEGIN PGP MESSAGE-----"));

    // Beside the base, below another one, and not ours: none of it is read.
    for key in ["/totemX/image-factory/github-keys/acme", "/totem", "/totem/syslog/host"] {
        raw.kv_client().put(key, first.0.clone(), None).await.unwrap();
    }
    raw.kv_client().put("/totem/image-factory/dockercfg", "damaged", None).await.unwrap();
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert_eq!(secrets.trouble.len(), 1, "{:?}", secrets.trouble);
    assert!(secrets.registry_auth("quay.io").is_some(), "the last good one stays");
    assert_eq!(in_use(&secrets, "acme/hello"), Some(owners.1));
    let lines = admin::check(&live.config).await;
    let bad: Vec<_> = lines.iter().filter(|l| !l.ok).map(|l| l.name.as_str()).collect();
    assert_eq!(bad, ["image-factory/dockercfg"]);

    raw.kv_client().delete("/totem/image-factory/github-keys/acme", None).await.unwrap();
    live.until_key("acme/hello", Some(&second.1)).await;
    raw.kv_client().delete("/totem/image-factory/dockercfg", None).await.unwrap();
    let secrets = live.until(|s| s.trouble.is_empty()).await;
    assert!(secrets.registry_auth("quay.io").is_none() && secrets.masks().is_empty());
}

#[tokio::test]
async fn etcd_away_at_the_start_and_later_and_compacted_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new, newest] = ["old", "new", "newest"].map(|name| keygen(dir.path(), name));
    let mut etcd = Etcd::new();
    let mut live = Live::start(&[etcd.endpoint()]);
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(!secrets.loaded, "nothing was read yet");
    assert!(secrets.trouble[0].starts_with("etcd cannot be read (http://127.0.0.1:"), "{:?}", secrets.trouble);
    let lines = admin::check(&live.config).await;
    assert!(lines.len() == 1 && !lines[0].ok);

    let raw = etcd.start().await;
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());
    live.put_key(None, None, &old.0).await;
    live.until_key("a/b", Some(&old.1)).await;

    etcd.stop();
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.loaded && secrets.trouble[0].ends_with("what was read last stays in use"), "{:?}", secrets.trouble);
    assert_eq!(in_use(&secrets, "a/b"), Some(old.1));
    drop(raw);

    let raw = etcd.start().await;
    let mut revision = 0;
    for key in [&old.0, &new.0] {
        let put = raw.kv_client().put("/totem/image-factory/github-key", key.clone(), None).await.unwrap();
        revision = put.header().unwrap().revision();
    }
    raw.kv_client().compact(revision, None).await.unwrap();
    assert!(live.until_key("a/b", Some(&new.1)).await.loaded);
    live.until(|s| s.trouble.is_empty()).await;
    // The new watch works.
    live.put_key(None, None, &newest.0).await;
    live.until_key("a/b", Some(&newest.1)).await;
}

#[tokio::test]
async fn an_etcd_that_hangs_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "key");
    let mut etcd = Etcd::new();
    let _raw = etcd.start().await;
    let mut live = Live::start(&[etcd.endpoint()]);
    live.put_key(None, None, &key.0).await;
    live.until_key("a/b", Some(&key.1)).await;
    // 15 s by the keep-alive, 5 s until the next attempt gives up.
    etcd.signal("STOP");
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.trouble[0].contains("no answer within"), "{:?}", secrets.trouble);
    assert_eq!(in_use(&secrets, "a/b"), Some(key.1));
    etcd.signal("CONT");
    live.until(|s| s.trouble.is_empty()).await;
}

#[tokio::test]
async fn one_endpoint_of_two_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "key");
    let (away, mut etcd) = (Etcd::new(), Etcd::new());
    etcd.start().await;
    let mut live = Live::start(&[away.endpoint(), etcd.endpoint()]);
    for round in 0..20 {
        live.put_key(Some("acme"), Some(&format!("r{round}")), &key.0).await;
    }
    assert!(live.until_key("acme/r19", Some(&key.1)).await.trouble.is_empty());
}
