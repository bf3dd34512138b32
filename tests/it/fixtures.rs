//! The harness itself: what the other tests rely on.

use std::process::Command;
use std::time::Duration;

use crate::harness::*;

on_each_engine!(a_private_engine_can_be_killed);

#[tokio::test]
async fn etcd_keeps_its_data_over_a_restart() {
    let mut etcd = Etcd::start().await;
    etcd.put("/totem/a", "1").await;
    etcd.put("/totem/a", "2").await;
    etcd.compact().await;
    etcd.restart().await;
    assert_eq!(etcd.get("/totem/a").await.unwrap(), b"2");
    etcd.delete("/totem/a").await;
    assert_eq!(etcd.get("/totem/a").await, None);
}

#[tokio::test]
async fn a_registry_takes_a_push_and_makes_faults() {
    let (engine, registry) = (Engine::shared(), Registry::with_password("u", "p").await);
    let image = format!("{}/totem/base:1", registry.address());
    engine.docker(&["tag", BASE, &image]);
    let config = folder();
    let docker = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.arg("--config").arg(config.path()).env("DOCKER_HOST", &engine.host).args(args);
        command
    };
    assert!(!docker(&["push", &image]).output().unwrap().status.success(), "pushed without a password");
    succeed(&mut docker(&["login", "-u", "u", "--password-stdin", &registry.address()]), b"p");
    registry.fault(Fault::Manifests { status: 503, times: 1 });
    assert!(!docker(&["push", &image]).output().unwrap().status.success(), "pushed into a fault");
    succeed(&mut docker(&["push", &image]), b"");
    let (digest, manifest) = registry.manifest("totem/base", "1").await.unwrap();
    assert!(digest.starts_with("sha256:") && manifest["layers"].as_array().unwrap().len() == 1);
    assert_eq!(registry.calls("PUT", "/manifests/"), 2);
    assert!(registry.manifest("totem/base", "2").await.is_none());
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}

#[tokio::test]
async fn a_git_host_admits_the_holder_of_the_key() {
    let host = GitHost::start().await;
    let repo = host.repo("acme", "hello");
    let first = repo.commit("develop", &[("a/b", "1")]);
    repo.tag("v1");
    let second = repo.commit("develop", &[("a/b", "2")]);
    repo.force("develop", &first);
    let key = DeployKey::generate(KeyType::Ecdsa, "");
    let dir = folder();
    std::fs::write(dir.path().join("key"), &key.private).unwrap();
    succeed(Command::new("chmod").arg("600").arg(dir.path().join("key")), b"");
    let ls = || {
        let ssh = format!(
            "ssh -F none -i {}/key -o IdentitiesOnly=yes -o IdentityAgent=none -o BatchMode=yes -o UserKnownHostsFile={}",
            dir.path().display(),
            host.known_hosts().display()
        );
        let url = host.url().replace("{owner}", "acme").replace("{repo}", "hello");
        let output = Command::new("git").args(["ls-remote", &url]).env("GIT_SSH_COMMAND", ssh).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(!ls().0, "let in without a key");
    host.authorize(&[&key]);
    let (done, refs) = ls();
    assert!(done, "{}", host.output());
    assert!(refs.contains(&format!("{first}\trefs/heads/develop")) && refs.contains("refs/tags/v1"));
    assert!(!refs.contains(&second));
}

#[test]
fn keys_and_files_are_encrypted() {
    for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
        let key = DeployKey::generate(kind, "secret");
        let parsed = ssh_key::PrivateKey::from_openssh(&key.private).unwrap();
        assert!(parsed.is_encrypted());
        assert_eq!(parsed.public_key().key_data(), ssh_key::PublicKey::from_openssh(&key.public).unwrap().key_data());
    }
    let message = gpg_encrypt(&dockercfg("127.0.0.1:1", "u", "p"), "secret");
    assert!(message.starts_with("-----BEGIN PGP MESSAGE-----") && !message.contains("auths"));
}

#[tokio::test]
async fn a_capture_keeps_every_request() {
    let capture = Capture::start(&[500]);
    for status in [500, 204] {
        let sent = http_client().post(capture.url()).body("hello").send().await.unwrap();
        assert_eq!(sent.status(), status);
    }
    let requests = capture.wait(2, Duration::from_secs(5)).await;
    assert_eq!((requests[1].body.as_ref(), requests[1].uri.path()), (&b"hello"[..], "/hook"));
}

async fn a_private_engine_can_be_killed(docker: Docker) {
    let mut private = PrivateEngine::start(docker).await;
    assert_eq!(private.engine.run(BASE, &["echo", "hi"]), "hi");
    private.kill9();
}

#[tokio::test]
async fn a_folder_whose_process_is_gone_is_swept() {
    let (claimed, unclaimed) = (folder(), std::path::PathBuf::from(format!("/tmp/iftest-{}", unique())));
    std::fs::create_dir(&unclaimed).unwrap();
    sweep();
    // Another process may be at it.
    eventually(Duration::from_secs(10), "it is gone", async || (!unclaimed.exists()).then_some(())).await;
    assert!(claimed.path().exists());
}

#[tokio::test]
async fn a_folder_is_cleared_of_programs_and_mounts() {
    let dir = folder();
    let at = dir.path().join("disk");
    std::mem::forget(SmallDisk::mount(&at, 1));
    let mut user = Command::new("sleep").arg("1000").current_dir(&at).spawn().unwrap();
    clear(dir.path());
    assert!(!user.wait().unwrap().success());
    assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains(at.to_str().unwrap()));
}

#[tokio::test]
async fn nothing_outlives_its_fixture() {
    let dir = folder();
    let name = dir.path().to_str().unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("sleep 1000 & : {name}; wait")).current_dir(dir.path());
    let proc = Proc::spawn("sh", &mut command, &dir.path().join("log"));
    eventually(Duration::from_secs(5), "both run", async || (processes_of(name).len() == 2).then_some(())).await;
    drop(proc);
    eventually(Duration::from_secs(5), "both have ended", async || processes_of(name).is_empty().then_some(())).await;
}
