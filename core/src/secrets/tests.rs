#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;

const KEYS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me\n";

struct Live {
    root: PathBuf,
    snapshot: watch::Receiver<Arc<Secrets>>,
    _stop: tokio_util::sync::DropGuard,
}

impl Live {
    fn start(root: &Path, authorized_keys_file: Option<PathBuf>) -> Self {
        let place = Place::Folder(root.into());
        let passphrase = Some(Zeroizing::new("passphrase".to_owned()));
        let stop = CancellationToken::new();
        let snapshot =
            start(SecretsConfig { place, passphrase, authorized_keys_file, repo_case: RepoCase::Ignore }, stop.clone());
        assert!(!snapshot.borrow().loaded);
        Self { root: root.into(), snapshot, _stop: stop.drop_guard() }
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::durable::replace_file(&path, 0o600, content).unwrap();
    }

    async fn until(&mut self, what: impl FnMut(&Arc<Secrets>) -> bool) -> Arc<Secrets> {
        let found = tokio::time::timeout(Duration::from_secs(60), self.snapshot.wait_for(what)).await;
        found.expect("in time").expect("the loader runs").clone()
    }
}

fn keygen(dir: &Path, name: &str) -> (Vec<u8>, String) {
    let file = dir.join(name);
    let args = ["-q", "-t", "ed25519", "-a", "1", "-N", "passphrase", "-f"];
    assert!(Command::new("ssh-keygen").args(args).arg(&file).status().unwrap().success());
    let key = std::fs::read(file).unwrap();
    let fingerprint = DeployKey::parse(&key, Some("passphrase")).unwrap().fingerprint();
    (key, fingerprint)
}

fn in_use(secrets: &Secrets, repo: &str) -> Option<String> {
    secrets.deploy_key(&RepoName::parse(repo).unwrap()).ok().flatten().map(|k| k.fingerprint())
}

#[tokio::test]
async fn the_most_specific_key_wins_and_a_deleted_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), None);
    let secrets = live.until(|s| s.loaded).await;
    assert!(secrets.trouble.is_empty() && in_use(&secrets, "acme/hello").is_none());
    let [common, owner, repo] = ["common", "owner", "repo"].map(|name| keygen(dir.path(), name));
    live.write("image-factory/github-key", &common.0);
    live.write("image-factory/github-keys/acme/@owner", &owner.0);
    live.write("image-factory/github-keys/acme/hello", &repo.0);
    let all = [("acme/hello", &repo.1), ("acme/other", &owner.1), ("else/hello", &common.1)];
    live.until(|s| all.iter().all(|(name, key)| in_use(s, name).as_ref() == Some(key))).await;
    std::fs::remove_file(live.root.join("image-factory/github-keys/acme/hello")).unwrap();
    live.until(|s| in_use(s, "acme/hello").as_ref() == Some(&owner.1)).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_never_replaced_by_a_more_general_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), None);
    let [common, repo] = ["common", "repo"].map(|name| keygen(dir.path(), name));
    live.write("image-factory/github-key", &common.0);
    live.write("image-factory/github-keys/acme/hello", b"damaged");
    live.write("image-factory/github-keys/bolt", b"damaged");
    let secrets = live.until(|s| s.trouble.len() == 2 && in_use(s, "else/hello").is_some()).await;
    for (repo, name) in [("acme/hello", "github-keys/acme/hello"), ("bolt/nut", "github-keys/bolt")] {
        let error = secrets.deploy_key(&RepoName::parse(repo).unwrap()).unwrap_err().to_string();
        let wanted =
            format!("the deploy key image-factory/{name} of {repo} is stored and cannot be used: this is not a");
        assert!(error.starts_with(&wanted), "{error}");
    }
    assert_eq!(in_use(&secrets, "acme/other"), Some(common.1.clone()));
    // The last good key of the same name stays in use.
    live.write("image-factory/github-keys/acme/hello", &repo.0);
    live.until(|s| in_use(s, "acme/hello").as_ref() == Some(&repo.1)).await;
    live.write("image-factory/github-keys/acme/hello", b"damaged");
    let secrets = live.until(|s| s.trouble.len() == 2).await;
    assert_eq!(in_use(&secrets, "acme/hello"), Some(repo.1));
    // A key that cannot be read counts as stored. A more general key is used only after a key is deleted.
    for name in ["acme/hello", "bolt"] {
        std::fs::remove_file(live.root.join("image-factory/github-keys").join(name)).unwrap();
    }
    live.until(|s| s.trouble.is_empty() && in_use(s, "acme/hello").as_ref() == Some(&common.1)).await;
    std::os::unix::fs::symlink("/nonexistent", live.root.join("image-factory/github-keys/acme/hello")).unwrap();
    std::fs::create_dir(live.root.join("image-factory/github-keys/acme/other")).unwrap();
    let secrets = live.until(|s| s.trouble.len() == 2).await;
    assert!(in_use(&secrets, "acme/hello").is_none() && in_use(&secrets, "acme/other").is_none());
}

#[tokio::test]
async fn a_key_serves_every_spelling_and_keys_that_differ_only_in_case_serve_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), None);
    let [common, one, other] = ["common", "one", "other"].map(|name| keygen(dir.path(), name));
    live.write("image-factory/github-key", &common.0);
    live.write("image-factory/github-keys/Acme/hello", &one.0);
    live.until(|s| ["acme/hello", "ACME/Hello"].iter().all(|name| in_use(s, name).as_ref() == Some(&one.1))).await;
    live.write("image-factory/github-keys/acme/Hello", &other.0);
    let secrets = live.until(|s| s.trouble.len() == 2).await;
    let names = ["image-factory/github-keys/Acme/hello", "image-factory/github-keys/acme/Hello"];
    for (trouble, [name, beside]) in secrets.trouble.iter().zip([names, [names[1], names[0]]]) {
        let why = format!("it differs only in case from {beside}, and neither is used: delete one of the two");
        assert_eq!(*trouble, format!("{name}: {why}"));
    }
    for repo in ["Acme/hello", "acme/Hello", "acme/hello"] {
        let error = secrets.deploy_key(&RepoName::parse(repo).unwrap()).unwrap_err().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    assert_eq!(secrets.deploy_keys(&RepoName::parse("acme/hello").unwrap()).count(), 3);
    assert_eq!((secrets.kinds()["github-key"].0, in_use(&secrets, "acme/other")), (false, Some(common.1)));
    std::fs::remove_file(live.root.join("image-factory/github-keys/acme/Hello")).unwrap();
    live.until(|s| s.trouble.is_empty() && in_use(s, "acme/Hello").as_ref() == Some(&one.1)).await;
}

#[tokio::test]
async fn the_last_good_value_stays_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), None);
    let [old, new] = ["old", "new"].map(|name| keygen(dir.path(), name));
    live.write("image-factory/github-key", b"damaged");
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.loaded && secrets.trouble[0].starts_with("image-factory/github-key: "), "{:?}", secrets.trouble);
    assert!(secrets.trouble[0].ends_with("it is not used, and no other key in its place"), "{:?}", secrets.trouble);
    live.write("image-factory/github-key", &old.0);
    let secrets = live.until(|s| s.trouble.is_empty()).await;
    assert_eq!(in_use(&secrets, "a/b"), Some(old.1.clone()));
    live.write("image-factory/github-key", b"damaged");
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert_eq!(in_use(&secrets, "a/b"), Some(old.1));
    assert!(secrets.trouble[0].ends_with("the last good one stays in use"));
    live.write("image-factory/github-key", &new.0);
    let secrets = live.until(|s| s.trouble.is_empty()).await;
    assert_eq!(in_use(&secrets, "a/b"), Some(new.1));
}

#[tokio::test]
async fn registries_get_their_credentials_and_logs_their_masks() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(dir.path(), None);
    let cfg = pgp::encrypt(br#"{"https://quay.io":{"auth":"dG90ZW06c2VjcmV0"}}"#, "passphrase").unwrap();
    live.write("image-factory/dockercfg", cfg.as_bytes());
    let secrets = live.until(|s| s.registry_auth("quay.io").is_some()).await;
    assert_eq!(secrets.registry_auth("quay.io").unwrap().password.as_str(), "secret");
    assert!(secrets.registry_auth("docker.io").is_none());
    let masks = secrets.masks(None);
    assert!(masks.iter().any(|m| m.as_str() == "secret") && masks.iter().any(|m| m.as_str() == "dG90ZW06c2VjcmV0"));
}

/// Returns the user whose login a repository has for an image.
fn user(secrets: &Secrets, repo: &str, image: &str) -> Option<String> {
    let image = ImageRef::parse(image).unwrap();
    secrets.image_auth(RepoName::parse(repo).ok().as_ref(), &image).map(|auth| auth.username)
}

fn logins(of: &str, registries: &[&str]) -> String {
    let auths =
        registries.iter().map(|registry| format!(r#""{registry}":{{"username":"{of}","password":"secret of {of}"}}"#));
    format!("{{{}}}", auths.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn the_most_specific_login_of_each_registry_wins() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(dir.path(), None);
    live.write("image-factory/dockercfg", logins("common", &["q.io", "g.io"]).as_bytes());
    live.write("image-factory/dockercfgs/acme/@owner", logins("owner", &["q.io", "h.io"]).as_bytes());
    live.write("image-factory/dockercfgs/Acme/hello", logins("repo", &["h.io/team"]).as_bytes());
    let secrets = live.until(|s| s.stored().count() == 3 && user(s, "acme/hello", "h.io/team/x:1").is_some()).await;
    for (repo, images) in [
        ("ACME/hello", ["owner", "common", "repo"]),
        ("acme/other", ["owner", "common", "owner"]),
        ("bolt/hello", ["common", "common", ""]),
        ("", ["common", "common", ""]),
    ] {
        let found =
            ["q.io/a/b:1", "g.io/a/b:1", "h.io/team/b:1"].map(|image| user(&secrets, repo, image).unwrap_or_default());
        assert_eq!(found, images, "{repo}");
    }
    // A registry's logins come from one file, so another path of it has none.
    assert_eq!(user(&secrets, "acme/hello", "h.io/else/b:1"), None);
    let is_masked = |repo: &str, text: &str| {
        secrets.masks(Some(&RepoName::parse(repo).unwrap())).iter().any(|mask| mask.as_str() == text)
    };
    assert!(is_masked("acme/hello", "secret of repo") && !is_masked("acme/other", "secret of repo"));
    assert!(!is_masked("bolt/hello", "secret of owner"));

    // A file that cannot be used is not replaced by a more general one, and holds the jobs of its repositories alone.
    live.write("image-factory/dockercfgs/bolt/nut", b"damaged");
    live.write("image-factory/dockercfgs/acme/Hello", logins("spelling", &["q.io"]).as_bytes());
    let secrets = live.until(|s| s.trouble.len() == 3).await;
    let unusable = |repo: &str| secrets.unusable_logins(Some(&RepoName::parse(repo).unwrap())).map(|e| e.to_string());
    assert!(
        unusable("bolt/nut").unwrap().starts_with("the registry logins image-factory/dockercfgs/bolt/nut are stored")
    );
    assert!(unusable("acme/hello").unwrap().contains("differs only in case"));
    assert_eq!(
        (unusable("bolt/hello"), unusable("acme/other"), secrets.unusable_logins(None).is_none()),
        (None, None, true)
    );
    for repo in ["bolt/nut", "acme/hello"] {
        assert_eq!(user(&secrets, repo, "q.io/a/b:1"), None);
    }
}

#[tokio::test]
async fn the_syslog_host_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::start(dir.path(), None);
    let secrets = live.until(|s| s.loaded).await;
    assert!(secrets.syslog_host().is_none() && secrets.kinds().is_empty());
    live.write("syslog/host", b"logs.example.org\n");
    let secrets = live.until(|s| s.syslog_host() == Some("logs.example.org:514")).await;
    let (valid, since) = secrets.kinds()["syslog-host"];
    assert!(valid && since.is_some());
    live.write("syslog/host", b"udp://no");
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.trouble[0].starts_with("syslog/host: it is not `host`"), "{:?}", secrets.trouble);
    assert_eq!(secrets.syslog_host(), Some("logs.example.org:514"));
    assert_eq!(secrets.kinds()["syslog-host"], (false, since));
    std::fs::remove_file(live.root.join("syslog/host")).unwrap();
    live.until(|s| s.syslog_host().is_none() && s.trouble.is_empty()).await;
}

#[tokio::test]
async fn an_sshd_gets_the_valid_keys_and_loses_the_deleted_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authorized_keys");
    std::fs::write(&file, "somebody else's\n").unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), Some(file.clone()));
    live.until(|s| s.loaded).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody else's\n");
    live.write("ssh/authorized-keys", format!("hello\n{KEYS}").as_bytes());
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.trouble[0].contains("line 1 of the authorized keys"), "{:?}", secrets.trouble);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with('#') && written.ends_with(KEYS) && !written.contains("hello"), "{written}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // The list is deleted while no daemon runs.
    drop(live);
    std::fs::remove_dir_all(dir.path().join("secrets/ssh")).unwrap();
    let mut live = Live::start(&dir.path().join("secrets"), Some(file.clone()));
    live.until(|s| s.loaded).await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("ssh-ed25519"));
}

#[tokio::test]
async fn an_old_list_never_outlives_its_replacement() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authorized_keys");
    let other = KEYS.replace("AAAAILM", "AAAAILN").replace(" me", " other");
    let mut live = Live::start(&dir.path().join("secrets"), Some(file.clone()));
    let both = format!("{KEYS}{other}");
    let mut lines = async |stored: &[u8], trouble: usize| {
        live.write("ssh/authorized-keys", stored);
        let secrets = live.until(|s| s.trouble.len() == trouble && s.kinds().contains_key("authorized-keys")).await;
        (std::fs::read_to_string(&file).unwrap().lines().count() - 1, secrets.trouble.concat())
    };
    assert_eq!(lines(both.as_bytes(), 0).await.0, 2);
    // Only the readable lines of the new list are used.
    let (left, trouble) = lines(format!("{other}ssh-ed25519 AAAA\n").as_bytes(), 1).await;
    assert!(
        left == 1 && trouble.contains("line 2 of the authorized keys") && trouble.contains("left out"),
        "{trouble}"
    );
    for unreadable in [&b"hello"[..], b"\xff\xfes\0s\0h\0", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", &[b'x'; 1 << 21]]
    {
        assert_eq!(lines(both.as_bytes(), 0).await.0, 2);
        let (left, trouble) = lines(unreadable, 1).await;
        assert!(left == 0 && trouble.starts_with("ssh/authorized-keys: "), "{trouble}");
        assert!(trouble.ends_with("; it lets nobody in"), "{trouble}");
    }
    assert_eq!(lines(both.as_bytes(), 0).await.0, 2);
    std::fs::remove_file(live.root.join("ssh/authorized-keys")).unwrap();
    live.until(|s| s.kinds().is_empty()).await;
    assert!(!std::fs::read_to_string(&file).unwrap().contains("ssh-ed25519"));
}

#[tokio::test]
async fn a_list_that_could_not_be_written_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("folder/authorized_keys");
    let mut live = Live::start(&dir.path().join("secrets"), Some(file.clone()));
    live.write("ssh/authorized-keys", KEYS.as_bytes());
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(secrets.trouble[0].contains("cannot be written"), "{:?}", secrets.trouble);
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    live.until(|s| s.trouble.is_empty()).await;
    assert!(std::fs::read_to_string(&file).unwrap().ends_with(KEYS));
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_trouble_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    std::fs::write(&root, "a file").unwrap();
    let mut live = Live::start(&root, None);
    let secrets = live.until(|s| !s.trouble.is_empty()).await;
    assert!(!secrets.loaded && secrets.trouble[0].contains("cannot be read"), "{:?}", secrets.trouble);
    std::fs::remove_file(&root).unwrap();
    assert!(live.until(|s| s.loaded).await.trouble.is_empty());
}
