//! `image-factory known-hosts add`, and the daemon that reads what it added.

use std::time::Duration;

use serde_json::json;

use crate::harness::{World, masked};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn an_added_host_is_known_at_once_and_after_a_restart() {
    let mut world = World::start_with(&[("KNOWN_HOSTS", "")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let build = async |world: &World| world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_failure(&build(&world).await).await;

    let host = format!("127.0.0.1:{}", world.git.port());
    let known = std::fs::read_to_string(world.git.known_hosts()).unwrap();
    let [_, kind, key] = known.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{known}") };
    let public = ssh_key::PublicKey::from_openssh(&format!("{kind} {key}")).unwrap();
    let fingerprint = public.fingerprint(ssh_key::HashAlg::Sha256).to_string();
    let file = world.daemon.data_dir().join("known_hosts");
    let port = world.git.port().to_string();
    let names = [(port.as_str(), "port"), (fingerprint.as_str(), "fingerprint")];
    let add = |args: &[&str]| {
        let done = world.daemon.beside(&[&["known-hosts", "add", &host], args].concat()).run();
        let shown = format!("{}{}", text(&done.stdout), text(&done.stderr));
        (done.status.code(), masked(&shown.replace(file.to_str().unwrap(), "[file]"), &names))
    };
    // Nobody confirms, or another key is expected: nothing is added.
    let refused = [add(&[]), add(&["--fingerprint", "SHA256:another"])];
    assert!(!file.exists());
    insta::assert_debug_snapshot!(refused, @r#""#);
    let added = [add(&["--fingerprint", &fingerprint]), add(&["--yes"])];
    insta::assert_debug_snapshot!(added, @r#""#);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), known);

    world.daemon.wait_success(&build(&world).await).await;
    world.daemon.term(Duration::from_secs(30)).await;
    world.daemon.restart().await;
    world.daemon.wait_success(&build(&world).await).await;
}
