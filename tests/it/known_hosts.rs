//! `image-factory known-hosts add`, and the daemon that reads what it added.

use std::time::Duration;

use serde_json::json;

use crate::harness::World;

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
    let add = |args: &[&str]| {
        let done = world.daemon.beside(&[&["known-hosts", "add", &host], args].concat()).run();
        (done.status.code(), format!("{}{}", text(&done.stdout), text(&done.stderr)))
    };
    // Nobody confirms, or another key is expected: nothing is added.
    let (code, said) = add(&[]);
    let unconfirmed = format!("nobody can confirm it here: pass --fingerprint with what {host} publishes");
    assert!(code == Some(1) && said.contains(&fingerprint) && said.contains(&unconfirmed), "{said}");
    let (code, said) = add(&["--fingerprint", "SHA256:another"]);
    let other = format!("{host} shows other keys ({fingerprint}), and nothing was added");
    assert!(code == Some(1) && said.contains(&other), "{said}");
    assert!(!file.exists());
    let (code, said) = add(&["--fingerprint", &fingerprint]);
    assert!(code == Some(0) && said.contains(&format!("added 1 to {}", file.display())), "{said}");
    let (code, said) = add(&["--yes"]);
    assert!(code == Some(0) && said.contains("has them already"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), known);

    world.daemon.wait_success(&build(&world).await).await;
    world.daemon.term(Duration::from_secs(30)).await;
    world.daemon.restart().await;
    world.daemon.wait_success(&build(&world).await).await;
}
