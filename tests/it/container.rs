//! The image with an engine: `image-factory init` as process 1 of a privileged container.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use crate::harness::{BASE, Engine, Left, PASSPHRASE, World, eventually, folder, note, reach_from, succeed, unique};
use crate::packaging::{Container, debian_with, stripped, text, top};

/// What `--privileged` gives, but CAP_SYS_RESOURCE, which a machine for tests may lack itself.
const PRIVILEGED: [&str; 7] = [
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
    "--entrypoint=sh",
];
/// A privileged container may also write to its cgroups.
const INIT: &str = "mount -o remount,rw /sys/fs/cgroup; \
                    for dir in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $dir; done; exec image-factory init";

/// An image or a volume, removed when this is dropped.
struct Made<'a> {
    engine: &'a Engine,
    /// `image` or `volume`.
    kind: &'static str,
    name: String,
}

impl<'a> Made<'a> {
    fn volume(engine: &'a Engine) -> Self {
        let name = format!("iftest-{}", unique());
        engine.docker(&["volume", "create", &name]);
        Self { engine, kind: "volume", name }
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let mut docker = Command::new("docker");
        let _ = docker.env("DOCKER_HOST", &self.engine.host).args([self.kind, "rm", "--force", &self.name]).output();
    }
}

/// Makes the image from our Dockerfile and the binary of this test.
fn image(engine: &Engine) -> Made<'_> {
    let (dir, name) = (folder(), format!("iftest-with-engine-{}", unique()));
    note(dir.path(), engine, Left::Images(&format!("reference={name}")));
    stripped(&dir.path().join("target"));
    for file in ["Dockerfile", "LICENSE", "THIRD-PARTY-NOTICES.txt", "Cargo.lock"] {
        std::fs::copy(top().join(file), dir.path().join(file)).unwrap();
    }
    let base = format!("BASE={}", debian_with(engine, &["engine"]));
    let mut build = Command::new("docker");
    build.env("DOCKER_HOST", &engine.host).env("DOCKER_BUILDKIT", "0");
    build.args(["build", "--quiet", "--target", "prebuilt-with-engine", "--build-arg", &base, "--tag", &name]);
    succeed(build.arg(dir.path()), b"");
    Made { engine, kind: "image", name }
}

/// A push becomes an image by the engine inside, also after a kill of the container, on the same volume and with its cache;
/// nothing is left on the host, and a second container on that volume is refused.
// The forwarded connections go on while the test waits for a program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_inside_builds_and_leaves_nothing() {
    let world = World::start().await;
    let engine = &world.engine;
    let (image, volume) = (image(engine), Made::volume(engine));
    let inner = world.git.repo("acme", "inner");
    let dockerfile = format!("FROM {BASE}\nRUN echo {}\n", unique());
    inner.commit("develop", &[("Dockerfile", &dockerfile)]);
    let environment: Vec<String> = [
        ("ETCD_HOST", "127.0.0.1".into()),
        ("ETCD_PORT", world.etcd.port().to_string()),
        ("ENC_PASSPHRASE", PASSPHRASE.into()),
        ("GIT_URL", world.git.url()),
        ("KNOWN_HOSTS", "/known_hosts".into()),
        ("DOCKER_REPO_BASE", format!("{}/totem", world.registry.address())),
    ]
    .map(|(name, value)| format!("--env={name}={value}"))
    .into();
    let mounts = [
        format!("--volume={}:/known_hosts:ro", world.git.known_hosts().display()),
        format!("--volume={}:/var/lib/image-factory", volume.name),
    ];
    let fixed = ["--network=none", "--read-only", "--tmpfs=/tmp", "--tmpfs=/run:exec", "--tmpfs=/etc/docker"];
    let given = environment.iter().chain(&mounts).map(String::as_str);
    let given: Vec<&str> = fixed.into_iter().chain(PRIVILEGED).chain(given).chain([&*image.name, "-c", INIT]).collect();
    let limit = Duration::from_secs(60);
    let start = async || {
        let container = Container::run(engine, &given);
        let pid = container.inspect("{{.State.Pid}}");
        let network = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        for address in [
            format!("127.0.0.1:{}", world.etcd.port()),
            world.registry.address(),
            format!("127.0.0.1:{}", world.git.port()),
        ] {
            reach_from(&network, &address);
        }
        let is_ready = async || (text(&container.exec(&["image-factory", "health"])) == "ready\n").then_some(());
        eventually(limit, "the daemon and its engine are ready", is_ready).await;
        container
    };

    let first = start().await;
    let saved = succeed(Command::new("docker").env("DOCKER_HOST", &engine.host).args(["save", BASE]), b"").stdout;
    let mut load = Command::new("docker");
    load.env("DOCKER_HOST", &engine.host).args(["exec", "--interactive", &first.name, "docker", "load"]);
    succeed(&mut load, &saved);
    let built = first.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(world.registry.manifest("totem/acme-inner", "HEAD").await.is_some(), "{built}");
    assert!(!built.contains("CACHED"), "{built}");

    let second = Container::run(engine, &given);
    assert_eq!(engine.docker(&["wait", &second.name]), "1", "{}", second.logs());
    assert!(second.logs().contains("another container uses /var/lib/image-factory/engine"), "{}", second.logs());

    // A crash of the engine is told, and it comes back.
    first.done(&["sh", "-c", "kill -9 $(cat /run/image-factory-engine.pid)"]);
    let told = async || first.logs().contains("the engine inside of this container ended").then_some(());
    eventually(limit, "the crash is in the log", told).await;
    let is_back = async || first.exec(&["docker", "version"]).status.success().then_some(());
    eventually(limit, "the engine is back", is_back).await;

    let id = first.inspect("{{.Id}}");
    engine.docker(&["kill", &first.name]);
    drop(first);
    for (kind, list) in [("mounts", "cat /proc/mounts"), ("cgroups", "find /sys/fs/cgroup -type d")] {
        let left = succeed(Command::new("sh").args(["-c", list]), b"").stdout;
        assert!(!String::from_utf8_lossy(&left).contains(&id), "{kind} of the container are left");
    }

    let next = start().await;
    let built = next.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(built.contains("CACHED"), "the volume has no layers: {built}");
    engine.docker(&["stop", "--time", "60", &next.name]);
    assert_eq!(next.inspect("{{.State.ExitCode}}"), "0", "{}", next.logs());
}

/// Neither a socket nor privileges: the container says what to add, and ends.
#[test]
fn without_an_engine_the_container_says_what_to_add() {
    let engine = Engine::shared();
    let image = image(&engine);
    let container = Container::run(&engine, &["--network=none", &image.name]);
    assert_eq!(engine.docker(&["wait", &container.name]), "1");
    let said = container.logs();
    let license = engine.inspect(&image.name, "{{index .Config.Labels \"org.opencontainers.image.licenses\"}}");
    assert_eq!(license, "Apache-2.0");
    assert!(said.contains("add `-v /var/run/docker.sock:/var/run/docker.sock` or `--privileged`"), "{said}");
}
