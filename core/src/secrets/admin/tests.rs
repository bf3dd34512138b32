#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

use super::*;

const CFG: &[u8] = br#"{"auths":{"quay.io":{"auth":"dG90ZW06c2VjcmV0"}}}"#;

fn config(root: &Path, passphrase: Option<&str>) -> SecretsConfig {
    let passphrase = passphrase.map(|p| Zeroizing::new(p.to_owned()));
    SecretsConfig {
        place: Place::Folder(root.into()),
        passphrase,
        authorized_keys_file: None,
        repo_case: crate::model::RepoCase::default(),
    }
}

fn keygen(dir: &Path, args: &[&str]) -> Vec<u8> {
    let file = dir.join("key");
    let _ = std::fs::remove_file(&file);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-f"]).arg(&file).args(args).status().unwrap();
    assert!(made.success());
    std::fs::read(file).unwrap()
}

async fn refused(config: &SecretsConfig, name: SecretName, bytes: &[u8]) -> String {
    let e = put(config, name, bytes.to_vec().into()).await.unwrap_err().to_string();
    assert!(!e.contains("c2Vj") && !e.contains('\n'), "{e}");
    e
}

#[tokio::test]
async fn another_spelling_of_a_stored_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    let mut config = SecretsConfig { repo_case: crate::model::RepoCase::Ignore, ..config(&root, Some("passphrase")) };
    let scope = |owner, repo| SecretName::GithubKey(Scope::new(Some(owner), Some(repo)).unwrap());
    let key = keygen(dir.path(), &["-N", ""]);
    put(&config, scope("acme", "hello"), key.clone().into()).await.unwrap();
    let said = refused(&config, scope("Acme", "Hello"), &key).await;
    assert!(said.starts_with("image-factory/github-keys/acme/hello is stored") && said.contains("delete it"), "{said}");
    assert!(check(&config).await.iter().all(|line| line.ok));
    // The same spelling replaces the key, and another repository has nothing to do with it.
    put(&config, scope("acme", "hello"), key.clone().into()).await.unwrap();
    put(&config, scope("acme", "other"), key.clone().into()).await.unwrap();
    config.repo_case = crate::model::RepoCase::Keep;
    put(&config, scope("Acme", "Hello"), key.into()).await.unwrap();
}

#[tokio::test]
async fn stored_secrets_are_encrypted_and_pass_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    let config_with = config(&root, Some("passphrase"));
    let scope = |owner, repo| SecretName::GithubKey(Scope::new(owner, repo).unwrap());
    let plain = keygen(dir.path(), &["-N", ""]);
    let said = put(&config_with, scope(None, None), plain.clone().into()).await.unwrap();
    assert!(said.contains("deploy key ssh-ed25519 SHA256:") && said.ends_with("image-factory/github-key"), "{said}");
    let stored = std::fs::read(root.join("image-factory/github-key")).unwrap();
    assert!(key::is_encrypted(&stored));
    let sealed = keygen(dir.path(), &["-N", "passphrase", "-a", "1"]);
    put(&config_with, scope(Some("acme"), Some("hello")), sealed.clone().into()).await.unwrap();
    assert_eq!(std::fs::read(root.join("image-factory/github-keys/acme/hello")).unwrap(), sealed);
    put(&config_with, SecretName::Dockercfg(Scope::Common), CFG.to_vec().into()).await.unwrap();
    let stored = std::fs::read_to_string(root.join("image-factory/dockercfg")).unwrap();
    assert!(stored.starts_with("-----BEGIN PGP MESSAGE-----"));
    put(&config_with, SecretName::Dockercfg(Scope::Common), stored.into_bytes().into()).await.unwrap();

    let lines = check(&config_with).await;
    assert!(lines.iter().all(|l| l.ok && !l.text.contains("secret\"")));
    let text = |name: &str| lines.iter().find(|l| l.name == name).unwrap().text.as_str();
    assert_eq!(text("image-factory/dockercfg"), "credentials for quay.io");
    assert!(text("image-factory/github-keys/acme/hello").starts_with("deploy key ssh-ed25519 SHA256:"));
    for unused in ["image-factory/engine-key", "ssh/authorized-keys"] {
        assert!(text(unused).starts_with("nothing is stored"));
    }

    std::fs::write(root.join("image-factory/github-key"), plain).unwrap();
    std::fs::write(root.join("image-factory/github-keys/a b"), "").unwrap();
    for (passphrase, part) in
        [(None, "set ENC_PASSPHRASE"), (Some(""), "set ENC_PASSPHRASE"), (Some("other"), "is not the")]
    {
        let lines = check(&config(&root, passphrase)).await;
        let bad: Vec<_> = lines.iter().filter(|l| !l.ok).collect();
        assert_eq!(bad.len(), 3, "the key of acme/hello, the dockercfg, the name");
        assert!(bad[..2].iter().all(|l| l.text.contains(part)), "{}", bad[0].text);
        assert!(lines.iter().any(|l| l.ok && l.text.contains("stored unencrypted")));
    }
}

#[tokio::test]
async fn a_dockercfg_is_stored_with_its_unusable_entries_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("secrets"), Some("passphrase"));
    let bytes = br#"{"auths":{"quay.io/org1":{"auth":"dTpw"},"q.io":{}}}"#.to_vec();
    let said = put(&config, SecretName::Dockercfg(Scope::Common), bytes.into()).await.unwrap();
    let said = said.replace(&dir.path().display().to_string(), "[dir]");
    insta::assert_snapshot!(said, @"stored credentials for quay.io/org1 as [dir]/secrets/image-factory/dockercfg; but the dockercfg's entry for q.io has no `auth`, no `username` with `password`, no `identitytoken` and no `registrytoken`");
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_replaced_by_one_of_its_scope() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("secrets"), Some("passphrase"));
    let name = SecretName::GithubKey(Scope::new(Some("acme"), Some("hello")).unwrap());
    put(&config, name, keygen(dir.path(), &["-N", ""]).into()).await.unwrap();
    let other = SecretsConfig { passphrase: Some(Zeroizing::new("other".into())), ..config };
    let lines = check(&other).await;
    let bad = lines.iter().find(|line| !line.ok).unwrap();
    insta::assert_snapshot!(bad.text, @"ENC_PASSPHRASE is not the passphrase of this key: set the one it has, or store the key anew with `image-factory secrets put github-key --owner acme --repo hello FILE`");
}

#[tokio::test]
async fn unusable_secrets_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    let key = SecretName::GithubKey(Scope::Common);
    let with = config(&root, Some("passphrase"));
    assert!(
        refused(&config(&root, None), SecretName::Dockercfg(Scope::Common), CFG).await.contains("set ENC_PASSPHRASE")
    );
    let other = keygen(dir.path(), &["-N", "another one", "-a", "1"]);
    let e = refused(&with, key.clone(), &other).await;
    assert!(e.contains("not the passphrase") && e.contains("ssh-keygen -p"), "{e}");
    assert!(refused(&with, key, b"hello").await.contains("not a private key"));
    assert!(refused(&with, SecretName::Dockercfg(Scope::Common), b"hello").await.contains("not a gpg message"));
    assert!(
        refused(&with, SecretName::Dockercfg(Scope::Common), br#"{"quay.io":{"auth":"c2Vj"}}"#)
            .await
            .contains("quay.io")
    );
    let key_bytes = keygen(dir.path(), &["-N", ""]);
    let public = std::fs::read(dir.path().join("key.pub")).unwrap();
    let one_bad = [&public[..], b"hello\n"].concat();
    let mut messages = Vec::new();
    for (name, bytes) in [
        (SecretName::Dockercfg(Scope::Common), &key_bytes[..]),
        (SecretName::Dockercfg(Scope::Common), b" \n"),
        (SecretName::Dockercfg(Scope::Common), br#"{"auths":{}}"#),
        (SecretName::Dockercfg(Scope::Common), b"{}"),
        (SecretName::Dockercfg(Scope::Common), b"hello"),
        // In base64 this begins as gpg's message does.
        (SecretName::Dockercfg(Scope::Common), b"just a password"),
        (SecretName::GithubKey(Scope::Common), CFG),
        (SecretName::GithubKey(Scope::Common), &public),
        (SecretName::AuthorizedKeys, &key_bytes),
        (SecretName::AuthorizedKeys, b"# nobody\n"),
        (SecretName::AuthorizedKeys, &one_bad),
        (SecretName::SyslogHost, CFG),
    ] {
        messages.push(format!("{name}: {}", refused(&with, name.clone(), bytes).await));
    }
    insta::assert_snapshot!(messages.join("\n"), @r"
    image-factory/dockercfg: this is a private key, and a dockercfg is Docker's config.json or .dockercfg, or Podman's auth.json, plain or by `gpg -c`
    image-factory/dockercfg: this is an empty file, and a dockercfg is Docker's config.json or .dockercfg, or Podman's auth.json, plain or by `gpg -c`
    image-factory/dockercfg: it is empty: store one with an entry, or delete image-factory/dockercfg to use none
    image-factory/dockercfg: it is empty: store one with an entry, or delete image-factory/dockercfg to use none
    image-factory/dockercfg: this is not JSON and not a gpg message: store Docker's config.json by `image-factory secrets put dockercfg FILE`
    image-factory/dockercfg: this is not JSON and not a gpg message: store Docker's config.json by `image-factory secrets put dockercfg FILE`
    image-factory/github-key: this is JSON, and a github-key is a private key, as ssh-keygen writes it
    image-factory/github-key: this is a public key, and a github-key is a private key, as ssh-keygen writes it
    ssh/authorized-keys: this is a private key, and authorized-keys is public keys, one per line
    ssh/authorized-keys: it is empty: store one with an entry, or delete ssh/authorized-keys to use none
    ssh/authorized-keys: line 2 of the authorized keys is not a public key: it must be `[options] type base64 [comment]`; nothing was stored: mend each such line, or remove it
    syslog/host: this is JSON, and syslog-host is a host, or host:port
    ");
    let sealed = pgp::encrypt(CFG, "another one").unwrap();
    assert!(
        refused(&with, SecretName::Dockercfg(Scope::Common), sealed.as_bytes()).await.contains("not the passphrase")
    );
    assert!(refused(&with, SecretName::AuthorizedKeys, b"hello").await.contains("line 1"));
    assert!(!root.exists(), "nothing was stored");
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_one_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = check(&config(file.path(), None)).await;
    assert!(lines.len() == 1 && !lines[0].ok && lines[0].text.contains("cannot be read"), "{}", lines[0].text);
}

#[tokio::test]
async fn keys_that_differ_only_in_case_are_bad() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("secrets");
    let mut config = SecretsConfig { repo_case: crate::model::RepoCase::Keep, ..config(&root, Some("passphrase")) };
    let names = [("Acme", "hello"), ("acme", "Hello")];
    for (owner, repo) in names {
        let name = SecretName::GithubKey(Scope::new(Some(owner), Some(repo)).unwrap());
        put(&config, name, keygen(dir.path(), &["-N", ""]).into()).await.unwrap();
    }
    assert!(check(&config).await.iter().all(|line| line.ok));
    config.repo_case = crate::model::RepoCase::Ignore;
    let lines = check(&config).await;
    let bad: Vec<_> = lines.iter().filter(|line| !line.ok).collect();
    assert_eq!(bad.len(), 2);
    for (line, other) in
        bad.iter().zip(["image-factory/github-keys/acme/Hello", "image-factory/github-keys/Acme/hello"])
    {
        let why = format!("but it differs only in case from {other}, and neither is used: delete one of the two");
        assert!(line.text.ends_with(&why), "{}: {}", line.name, line.text);
    }
}
