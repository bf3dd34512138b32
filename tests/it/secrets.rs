//! The live secrets against a real etcd: every put seen, every kind of absence survived.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use image_factory::model::EtcdApi;
use image_factory::model::RepoName;
use image_factory::secrets::{EtcdConfig, Place, Scope, SecretName, Secrets, SecretsConfig, TlsFiles, admin, start};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use crate::harness::{Etcd, folder};

const CFG: &str = r#"{"https://quay.io":{"auth":"dG90ZW06c2VjcmV0"}}"#;

/// No user, no TLS, and the API that is found.
pub fn plain(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig {
        endpoints: endpoints.to_vec(),
        base: "/totem".into(),
        api: EtcdApi::Auto,
        login: None,
        tls: TlsFiles::default(),
    }
}

/// A running loader.
pub struct Live {
    pub config: SecretsConfig,
    pub snapshot: watch::Receiver<Arc<Secrets>>,
    _stop: DropGuard,
}

impl Live {
    pub fn config(etcd: EtcdConfig) -> SecretsConfig {
        SecretsConfig {
            place: Place::Etcd(etcd),
            passphrase: Some(Zeroizing::new("passphrase".to_owned())),
            authorized_keys_file: None,
            repo_case: image_factory::model::RepoCase::default(),
        }
    }

    pub fn start(etcd: EtcdConfig) -> Self {
        let config = Self::config(etcd);
        let stop = CancellationToken::new();
        Self { snapshot: start(config.clone(), stop.clone()), config, _stop: stop.drop_guard() }
    }

    pub async fn until(&mut self, what: impl FnMut(&Arc<Secrets>) -> bool) -> Arc<Secrets> {
        let found = tokio::time::timeout(Duration::from_secs(60), self.snapshot.wait_for(what)).await;
        found.expect("in time").expect("the loader runs").clone()
    }

    pub async fn until_key(&mut self, repo: &str, fingerprint: Option<&str>) -> Arc<Secrets> {
        self.until(|s| s.loaded && in_use(s, repo).as_deref() == fingerprint).await
    }

    pub async fn put_key(&self, owner: Option<&str>, repo: Option<&str>, key: &[u8]) -> String {
        let name = SecretName::GithubKey(Scope::new(owner, repo).unwrap());
        admin::put(&self.config, name, key.to_vec().into()).await.unwrap()
    }
}

pub fn in_use(secrets: &Secrets, repo: &str) -> Option<String> {
    secrets.deploy_key(&RepoName::parse(repo).unwrap()).ok().flatten().map(|k| k.fingerprint())
}

/// A new encrypted key and its fingerprint, as ssh-keygen says it.
pub fn keygen(dir: &Path, name: &str) -> (Vec<u8>, String) {
    let file = dir.join(name);
    let args = ["-q", "-t", "ed25519", "-a", "1", "-N", "passphrase", "-f"];
    assert!(Command::new("ssh-keygen").args(args).arg(&file).status().unwrap().success());
    let out = Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.with_extension("pub")).output().unwrap();
    let fingerprint = String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned();
    (std::fs::read(file).unwrap(), fingerprint)
}

#[tokio::test]
async fn a_stored_secret_is_used_and_a_deleted_one_is_not() {
    let dir = folder();
    let etcd = Etcd::start().await;
    let mut live = Live::start(plain(&[etcd.endpoint()]));
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());

    let [first, second, owners] = ["first", "second", "owners"].map(|name| keygen(dir.path(), name));
    let said = live.put_key(None, None, &first.0).await;
    assert!(said.contains(&first.1) && said.contains("/totem/image-factory/github-key in etcd"), "{said}");
    live.until_key("acme/hello", Some(&first.1)).await;
    live.put_key(None, None, &second.0).await;
    live.until_key("acme/hello", Some(&second.1)).await;
    live.put_key(Some("acme"), None, &owners.0).await;
    live.until_key("acme/hello", Some(&owners.1)).await;

    admin::put(&live.config, SecretName::Dockercfg(Scope::Common), CFG.as_bytes().to_vec().into()).await.unwrap();
    live.until(|s| s.registry_auth("quay.io").is_some()).await;
    let stored = etcd.get("/totem/image-factory/dockercfg").await.unwrap();
    assert!(stored.starts_with(b"-----BEGIN PGP MESSAGE-----"));

    // Beside the base, below another one, and not ours: none of it is read.
    for key in ["/totemX/image-factory/github-keys/acme", "/totem", "/totem/syslog/port"] {
        etcd.put(key, first.0.clone()).await;
    }
    etcd.put("/totem/image-factory/dockercfg", "damaged").await;
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert_eq!(secrets.trouble.len(), 1, "{:?}", secrets.trouble);
    assert!(secrets.registry_auth("quay.io").is_some(), "the last good one stays");
    assert_eq!(in_use(&secrets, "acme/hello"), Some(owners.1));
    let lines = admin::check(&live.config).await;
    let bad: Vec<_> = lines.iter().filter(|l| !l.ok).map(|l| l.name.as_str()).collect();
    assert_eq!(bad, ["image-factory/dockercfg"]);

    etcd.delete("/totem/image-factory/github-keys/acme").await;
    live.until_key("acme/hello", Some(&second.1)).await;
    etcd.delete("/totem/image-factory/dockercfg").await;
    let secrets = live.until(|s| s.trouble.is_empty()).await;
    assert!(secrets.registry_auth("quay.io").is_none() && secrets.masks(None).is_empty());
}

#[tokio::test]
async fn etcd_away_at_the_start_and_later_and_compacted_meanwhile() {
    let dir = folder();
    let [old, new, newest] = ["old", "new", "newest"].map(|name| keygen(dir.path(), name));
    let mut etcd = Etcd::start().await;
    etcd.stop();
    let mut live = Live::start(plain(&[etcd.endpoint()]));
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(!secrets.loaded, "nothing was read yet");
    assert!(secrets.trouble[0].starts_with("etcd cannot be read (http://127.0.0.1:"), "{:?}", secrets.trouble);
    let lines = admin::check(&live.config).await;
    assert!(lines.len() == 1 && !lines[0].ok);

    etcd.restart().await;
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());
    live.put_key(None, None, &old.0).await;
    live.until_key("a/b", Some(&old.1)).await;

    etcd.stop();
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.loaded && secrets.trouble[0].ends_with("what was read last stays in use"), "{:?}", secrets.trouble);
    assert_eq!(in_use(&secrets, "a/b"), Some(old.1));

    etcd.restart().await;
    for key in [&old.0, &new.0] {
        etcd.put("/totem/image-factory/github-key", key.clone()).await;
    }
    etcd.compact().await;
    assert!(live.until_key("a/b", Some(&new.1)).await.loaded);
    live.until(|s| s.trouble.is_empty()).await;
    // The new watch works.
    live.put_key(None, None, &newest.0).await;
    live.until_key("a/b", Some(&newest.1)).await;
}
