use std::time::Duration;

use image_factory::model::EtcdApi::{Auto, V2, V3};
use image_factory::secrets::{Scope, SecretName, admin};
use rustix::process::Signal;

use super::by;
use crate::harness::{Daemon, Etcd, eventually, folder};
use crate::secrets::{Live, in_use, keygen};

fn endpoints(members: &[Etcd]) -> Vec<String> {
    members.iter().map(Etcd::endpoint).collect()
}

/// `secrets put`, again while the cluster chooses a leader.
async fn put(live: &Live, key: &[u8]) {
    eventually(Duration::from_secs(60), "the key is put", async || {
        let name = SecretName::GithubKey(Scope::Common);
        admin::put(&live.config, name, key.to_vec().into()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_dies_is_replaced() {
    let dir = folder();
    let [old, new] = ["old", "new"].map(|name| keygen(dir.path(), name));
    let mut members = Etcd::cluster(&["--enable-v2"]).await;
    let mut leader = 0;
    for (i, member) in members.iter().enumerate() {
        leader = if member.is_leader().await { i } else { leader };
    }
    // The leader is the one that is spoken to.
    members.swap(0, leader);
    for api in [V3, V2] {
        let mut live = Live::start(by(api, &endpoints(&members)));
        put(&live, &old.0).await;
        live.until_key("a/b", Some(&old.1)).await;
        members[0].stop();
        put(&live, &new.0).await;
        assert!(live.until_key("a/b", Some(&new.1)).await.trouble.is_empty(), "another member was there");
        members[0].restart().await;
    }
}

#[tokio::test]
async fn a_member_that_hangs_is_abandoned() {
    let dir = folder();
    let [old, new] = ["old", "new"].map(|name| keygen(dir.path(), name));
    let members = Etcd::cluster(&["--enable-v2"]).await;
    let apis = [V3, V2, Auto];
    let mut running = apis.map(|api| Live::start(by(api, &endpoints(&members))));
    for live in &mut running {
        put(live, &old.0).await;
        live.until_key("a/b", Some(&old.1)).await;
    }
    // The kernel of the stopped member still takes connections, but the member answers nothing.
    members[0].signal(Signal::STOP);
    for live in &mut running {
        put(live, &new.0).await;
    }
    for (live, api) in running.iter_mut().zip(apis) {
        live.until_key("a/b", Some(&new.1)).await;
        Live::start(by(api, &endpoints(&members))).until_key("a/b", Some(&new.1)).await;
    }
    members[0].signal(Signal::CONT);
}

#[tokio::test]
async fn without_a_majority_the_last_good_secrets_stay() {
    let dir = folder();
    let [old, new] = ["old", "new"].map(|name| keygen(dir.path(), name));
    let members = Etcd::cluster(&["--enable-v2"]).await;
    let mut running = [V3, V2].map(|api| Live::start(by(api, &endpoints(&members))));
    for live in &mut running {
        put(live, &old.0).await;
        live.until_key("a/b", Some(&old.1)).await;
    }
    let settings = [("ETCD_ENDPOINTS", endpoints(&members).join(","))].map(|(name, value)| (name.to_owned(), value));
    let daemon = Daemon::start(settings.into()).await;
    let ready = async |what: &str, is: &dyn Fn(&str) -> bool| {
        eventually(Duration::from_secs(60), what, async || {
            let reasons = daemon.get("/ready").await["reasons"].to_string();
            is(&reasons).then_some(())
        })
        .await;
    };
    // Before the first read the reason is that no secrets are loaded, and a failed read then has no last good secrets.
    let is_read = |reasons: &str| !reasons.contains("etcd") && !reasons.contains("not loaded");
    ready("the daemon has read etcd", &is_read).await;

    for member in &members[1..] {
        member.signal(Signal::STOP);
    }
    // A member gives its reason, or gives none in time.
    let reasons = regex::Regex::new("[(].*[)]: (does it hang, or )?").unwrap();
    for live in &mut running {
        let secrets = live.until(|s| !s.trouble.is_empty()).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(reasons.replace(&secrets.trouble[0], "([reasons]): "), @"etcd cannot be read ([reasons]): are most members of its cluster away?; what was read last stays in use");
        }
        assert_eq!(in_use(&secrets, "a/b").as_ref(), Some(&old.1));
    }
    ready("/ready is degraded", &|reasons| reasons.contains("what was read last stays in use")).await;

    for member in &members[1..] {
        member.signal(Signal::CONT);
    }
    for live in &mut running {
        put(live, &new.0).await;
        live.until_key("a/b", Some(&new.1)).await;
        live.until(|s| s.trouble.is_empty()).await;
    }
    ready("/ready is content with etcd", &|reasons| !reasons.contains("etcd")).await;
}
