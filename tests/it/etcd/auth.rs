use std::process::Command;

use image_factory::model::EtcdApi::{self, Auto, V2, V3};
use image_factory::secrets::{EtcdConfig, admin};

use super::{by, check};
use crate::harness::{Etcd, USER, folder, masked, succeed};
use crate::secrets::{Live, keygen};

const KEY: &str = "/totem/image-factory/github-key";

fn logged_in(api: EtcdApi, etcd: &Etcd, (user, password): (&str, &str)) -> EtcdConfig {
    EtcdConfig { login: Some((user.into(), password.to_owned().into())), ..by(api, &[etcd.endpoint()]) }
}

#[tokio::test]
async fn a_refused_login_names_the_remedy() {
    let dir = folder();
    let [v3, v2] = ["v3", "v2"].map(|name| keygen(dir.path(), name));
    let mut etcd = Etcd::with_v2().await;
    // A user where none is asked for.
    assert!(check(logged_in(V3, &etcd, USER)).await.0 && check(logged_in(V2, &etcd, USER)).await.0);
    etcd.add_user("stranger", "/other/").await;
    etcd.ask_for_users().await;
    etcd.put(KEY, v3.0).await;
    etcd.v2_put(KEY, std::str::from_utf8(&v2.0).unwrap()).await;

    // A role that may read what is below the base, and nothing else, is enough.
    for (api, key) in [(V3, &v3.1), (V2, &v2.1), (Auto, &v3.1)] {
        Live::start(logged_in(api, &etcd, USER)).until_key("a/b", Some(key)).await;
    }
    let wrong = "not the right one";
    let mut lines = Vec::new();
    for etcd in [
        by(V3, &[etcd.endpoint()]),
        by(V2, &[etcd.endpoint()]),
        by(Auto, &[etcd.endpoint()]),
        logged_in(V3, &etcd, (USER.0, wrong)),
        logged_in(V2, &etcd, (USER.0, wrong)),
        logged_in(Auto, &etcd, (USER.0, wrong)),
        logged_in(V3, &etcd, ("stranger", USER.1)),
        logged_in(V2, &etcd, ("stranger", USER.1)),
    ] {
        let (ok, said) = check(etcd).await;
        assert!(!ok && !said.contains(wrong) && !said.contains(USER.1) && !said.contains('\n'), "{said}");
        lines.push(masked(&said, &[]));
    }
    insta::assert_snapshot!("refused_logins", lines.join("\n"));
    // A user with the right to read may not write.
    let mut lines = Vec::new();
    for api in [V3, V2, Auto] {
        let config = Live::config(logged_in(api, &etcd, USER));
        let keys = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me\n";
        let name = image_factory::secrets::SecretName::AuthorizedKeys;
        let said = admin::put(&config, name, keys.as_bytes().to_vec().into()).await.unwrap_err().to_string();
        lines.push(masked(&said, &[]));
    }
    insta::assert_snapshot!("refused_writes", lines.join("\n"));
}

/// A watch is made with the token of the login. What happens after that has expired: a change, and a connection anew.
async fn survives_its_token(token: &[&str]) {
    let dir = folder();
    let keys = ["first", "second", "third"].map(|name| keygen(dir.path(), name));
    let mut etcd = Etcd::start_with(token).await;
    etcd.ask_for_users().await;
    etcd.put(KEY, keys[0].0.clone()).await;
    let mut live = Live::start(logged_in(V3, &etcd, USER));
    live.until_key("a/b", Some(&keys[0].1)).await;
    etcd.until_tokens_expire().await;
    etcd.put(KEY, keys[1].0.clone()).await;
    assert!(live.until_key("a/b", Some(&keys[1].1)).await.trouble.is_empty());
    etcd.until_tokens_expire().await;
    etcd.restart().await;
    etcd.put(KEY, keys[2].0.clone()).await;
    live.until_key("a/b", Some(&keys[2].1)).await;
    live.until(|s| s.trouble.is_empty()).await;
}

#[tokio::test]
async fn simple_tokens_expire() {
    survives_its_token(&["--auth-token-ttl", "1"]).await;
}

#[tokio::test]
async fn signed_tokens_expire() {
    let dir = folder();
    let [key, public] = ["key", "public"].map(|name| dir.path().join(name).display().to_string());
    succeed(Command::new("openssl").args(["genrsa", "-out", &key, "2048"]), b"");
    succeed(Command::new("openssl").args(["rsa", "-in", &key, "-pubout", "-out", &public]), b"");
    let token = format!("jwt,pub-key={public},priv-key={key},sign-method=RS256,ttl=2s");
    survives_its_token(&["--auth-token", &token]).await;
}
