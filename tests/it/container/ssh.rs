//! The way in by ssh, by OpenSSH's own client.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

use super::LIMIT;
use crate::harness::container::{
    Container, Made, READ_ONLY, image, is_ready, next_version, privileged, run_container, text, with_socket,
};
use crate::harness::{DeployKey, Docker, Engine, KeyType, SshClient, eventually, folder, succeed};

on_each_engine!(who_logs_in_has_the_engine_of_the_host, who_logs_in_has_the_engine_inside);

/// A group that no other socket has.
const GROUP: u32 = 4242;

/// Returns the standard output of a command that succeeded.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn store(engine: &Engine, container: &Container, keys: &[&DeployKey]) {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.public)).collect();
    let mut put = Command::new("docker");
    put.env("DOCKER_HOST", &engine.host).args(["exec", "--interactive", "--user", "image-factory", &container.name]);
    succeed(put.args(["image-factory", "secrets", "put", "authorized-keys", "-"]), lines.as_bytes());
}

/// Passes the connections at a socket of a group on to an engine.
fn socket_of_group(path: &Path, engine: &Engine) {
    let target = engine.host.strip_prefix("unix://").unwrap().to_owned();
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o660)).unwrap();
    std::os::unix::fs::chown(path, Some(0), Some(GROUP)).unwrap();
    std::thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let to = UnixStream::connect(&target).unwrap();
            for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

async fn who_logs_in_has_the_engine_of_the_host(docker: Docker) {
    let engine = Engine::of(docker);
    let (image, dir) = (image(&engine, "prebuilt"), folder());
    let socket = dir.path().join("docker.sock");
    socket_of_group(&socket, &engine);
    let of_group = Engine { host: format!("unix://{}", socket.display()) };
    logs_in(&engine, &image, |image| with_socket(&of_group, image), true).await;
}

async fn who_logs_in_has_the_engine_inside(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    logs_in(&engine, &image, |image| privileged(docker, image), false).await;
}

/// `last` ends the arguments of `docker run` for an image.
async fn logs_in(engine: &Engine, image: &Made<'_>, last: impl Fn(&Made) -> Vec<String>, is_hosts: bool) {
    let (volume, stays, goes) =
        (Made::volume(engine), DeployKey::generate(KeyType::Ed25519, ""), DeployKey::generate(KeyType::Ed25519, ""));
    let mount = format!("--volume={}:/var/lib/image-factory", volume.name);
    let fixed = ["--network=none", "--env=SSHD=auto", &mount].into_iter().chain(READ_ONLY).map(String::from);
    let fixed: Vec<_> = fixed.collect();
    let start = |image: &Made| {
        let container = run_container(engine, &[&fixed[..], &last(image)].concat());
        let network = format!("--net=/proc/{}/ns/net", container.inspect("{{.State.Pid}}"));
        (container, SshClient::new(vec!["nsenter".into(), network], 22))
    };
    let (container, ssh) = start(image);
    is_ready(&container).await;
    store(engine, &container, &[&stays, &goes]);
    let is_in = async || ssh.run(&goes, "true").status.success().then_some(());
    eventually(LIMIT, "the key lets in", is_in).await;

    assert_eq!(said(ssh.run(&stays, "id -un")), "factory\n");
    let containers = said(ssh.run(&stays, "docker ps --format '{{.Names}}'"));
    assert_eq!(containers.contains(&container.name), is_hosts, "{containers}");
    assert_eq!(said(ssh.run(&goes, "image-factory jobs --json")).trim(), "[]");
    let tokens = ssh.run(&stays, "image-factory tokens list");
    assert!(text(&tokens).contains("need the role admin"), "{tokens:?}");
    for closed in ["cat /proc/1/environ", "ls /var/lib/image-factory", "docker -H unix:///var/run/docker.sock ps"] {
        assert!(!ssh.run(&stays, closed).status.success(), "{closed}");
    }
    assert!(!ssh.client(&stays, &["root@127.0.0.1", "true"]).output().unwrap().status.success());

    let (mut going, mut staying) = (ssh.idle(&goes).await, ssh.idle(&stays).await);
    store(engine, &container, &[&stays]);
    assert!(!going.exit(LIMIT).await.success());
    assert!(staying.running());
    assert!(!ssh.run(&goes, "true").status.success());

    engine.docker(&["stop", "--time", "60", &container.name]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", container.logs());
    staying.exit(LIMIT).await;
    drop(container);
    let next_version = next_version(engine, image);
    let (container, next) = start(&next_version);
    is_ready(&container).await;
    let is_in = async || next.run(&stays, "true").status.success().then_some(());
    eventually(LIMIT, "the key lets in again", is_in).await;
    assert_eq!(next.host_key(), ssh.host_key(), "clients remember the key of the host");
}
