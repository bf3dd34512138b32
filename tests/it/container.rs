//! Our image: `image-factory init` as process 1, with an engine inside or the host's, and the way in by ssh.

mod compose;
mod ssh;

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use crate::harness::{
    BASE, Docker, Engine, Left, PASSPHRASE, World, eventually, folder, note, reach_from, succeed, unique,
};
use crate::packaging::{Container, IMAGE_FILES, debian_with, stripped, text, top};

on_each_engine!(
    an_engine_inside_builds_and_keeps_its_layers,
    without_an_engine_the_container_says_what_to_add,
    without_a_volume_the_container_warns,
);

const LIMIT: Duration = Duration::from_secs(90);
const READ_ONLY: [&str; 4] = ["--read-only", "--tmpfs=/tmp", "--tmpfs=/run:exec", "--tmpfs=/etc/docker"];

/// Returns the arguments of `docker run` from its options on for a privileged container of an image. Engine 20.10 gives a
/// privileged container CAP_SYS_RESOURCE, which a machine for tests may lack itself: there the container has all the rest.
fn privileged(docker: Docker, image: &Made) -> Vec<String> {
    let all = [
        "--cap-add=ALL",
        "--cap-drop=SYS_RESOURCE",
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--security-opt=systempaths=unconfined",
        "--device-cgroup-rule=a *:* rwm",
        "--entrypoint=sh",
        &image.name,
        "-c",
        // A privileged container may also write to its cgroups.
        "mount -o remount,rw /sys/fs/cgroup; for dir in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $dir; done; \
         exec image-factory init",
    ];
    match docker {
        Docker::V20 => all.map(String::from).into(),
        Docker::V26 => vec!["--privileged".into(), image.name.clone()],
    }
}

/// Starts a container with these arguments.
fn run<'a>(engine: &'a Engine, args: &[String]) -> Container<'a> {
    Container::run(engine, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

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

/// Makes the image of a target of our Dockerfile from the binary of this test.
fn image<'a>(engine: &'a Engine, target: &str) -> Made<'a> {
    let (dir, name) = (folder(), format!("iftest-{target}-{}", unique()));
    note(dir.path(), engine, Left::Images(&format!("reference={name}")));
    stripped(&dir.path().join("target"));
    std::fs::create_dir(dir.path().join("scripts")).unwrap();
    for file in IMAGE_FILES {
        std::fs::copy(top().join(file), dir.path().join(file)).unwrap();
    }
    let base = format!("BASE={}", debian_with(engine, &["engine"]));
    let mut build = Command::new("docker");
    build.env("DOCKER_HOST", &engine.host).env("DOCKER_BUILDKIT", "0");
    build.args(["build", "--quiet", "--target", target, "--build-arg", &base, "--tag", &name]);
    succeed(build.arg(dir.path()), b"");
    Made { engine, kind: "image", name }
}

/// A privileged container with an engine inside, which builds for a world and has no network but its servers.
struct Inner<'a> {
    world: &'a World,
    given: Vec<String>,
}

impl<'a> Inner<'a> {
    fn new(world: &'a World, docker: Docker, image: &Made, volume: &Made, settings: &[(&str, &str)]) -> Self {
        let own = [
            ("ETCD_HOST", "127.0.0.1"),
            ("ETCD_PORT", &world.etcd.port().to_string()),
            ("ENC_PASSPHRASE", PASSPHRASE),
            ("GIT_URL", &world.git.url()),
            ("KNOWN_HOSTS", "/known_hosts"),
            ("DOCKER_REPO_BASE", &format!("{}/totem", world.registry.address())),
        ];
        let variables = own.iter().chain(settings).map(|(name, value)| format!("--env={name}={value}"));
        let mounts = [
            format!("--volume={}:/known_hosts:ro", world.git.known_hosts().display()),
            format!("--volume={}:/var/lib/image-factory", volume.name),
        ];
        let fixed = ["--network=none"].into_iter().chain(READ_ONLY).map(String::from);
        Self { world, given: fixed.chain(variables).chain(mounts).chain(privileged(docker, image)).collect() }
    }

    fn run(&self) -> Container<'a> {
        run(&self.world.engine, &self.given)
    }

    /// Starts the container, and returns when it is ready. `git` is the port by which it reaches the Git server.
    async fn start(&self, git: u16) -> Container<'a> {
        let container = self.run();
        let network = File::open(format!("/proc/{}/ns/net", container.inspect("{{.State.Pid}}"))).unwrap();
        let etcd = format!("127.0.0.1:{}", self.world.etcd.port());
        for address in [etcd, self.world.registry.address(), format!("127.0.0.1:{git}")] {
            reach_from(&network, &address);
        }
        is_ready(&container).await;
        container
    }
}

async fn is_ready(container: &Container<'_>) {
    let is_ready = async || (text(&container.exec(&["image-factory", "health"])) == "ready\n").then_some(());
    eventually(LIMIT, "the daemon and its engine are ready", is_ready).await;
}

/// Gives the engine inside the base image of the tests.
fn load_base(engine: &Engine, container: &Container) {
    let saved = succeed(Command::new("docker").env("DOCKER_HOST", &engine.host).args(["save", BASE]), b"").stdout;
    let mut load = Command::new("docker");
    load.env("DOCKER_HOST", &engine.host).args(["exec", "--interactive", &container.name, "docker", "load"]);
    succeed(&mut load, &saved);
}

/// A push becomes an image by the engine inside, also after its crash, and by the next container on the same volume with the
/// first one's layers. A second container on a volume that is in use is refused.
async fn an_engine_inside_builds_and_keeps_its_layers(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let engine = &world.engine;
    let (image, volume) = (image(engine, "prebuilt-with-engine"), Made::volume(engine));
    let dockerfile = format!("FROM {BASE}\nRUN echo {}\n", unique());
    world.git.repo("acme", "inner").commit("develop", &[("Dockerfile", &dockerfile)]);
    let inner = Inner::new(&world, docker, &image, &volume, &[]);
    let first = inner.start(world.git.port()).await;
    load_base(engine, &first);
    let built = first.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(world.registry.manifest("totem/acme-inner", "HEAD").await.is_some(), "{built}");
    assert!(!built.contains("CACHED"), "{built}");

    let second = inner.run();
    assert_eq!(engine.docker(&["wait", &second.name]), "1", "{}", second.logs());
    assert!(second.logs().contains("another container uses /var/lib/image-factory/engine"), "{}", second.logs());
    engine.docker(&["stop", "--time", "60", &first.name]);
    assert_eq!(first.inspect("{{.State.ExitCode}}"), "0", "{}", first.logs());
    drop(first);

    let next = inner.start(world.git.port()).await;
    let built = next.done(&["image-factory", "build", "acme/inner", "--follow"]);
    assert!(built.contains("CACHED"), "the volume has no layers: {built}");
}

/// Neither a socket nor privileges: the container says what to add, and ends.
async fn without_an_engine_the_container_says_what_to_add(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    let container = Container::run(&engine, &["--network=none", &image.name]);
    assert_eq!(engine.docker(&["wait", &container.name]), "1");
    let said = container.logs();
    let license = engine.inspect(&image.name, "{{index .Config.Labels \"org.opencontainers.image.licenses\"}}");
    assert_eq!(license, "Apache-2.0");
    assert!(said.contains("add `-v /var/run/docker.sock:/var/run/docker.sock` or `--privileged`"), "{said}");
}

/// Without a volume, and with a storage that copies each layer, the container warns and works.
async fn without_a_volume_the_container_warns(docker: Docker) {
    let engine = Engine::of(docker);
    let image = image(&engine, "prebuilt-with-engine");
    let given = ["--network=none", "--env=DOCKERD_ARGS=--storage-driver=vfs"];
    let given = given.map(String::from).into_iter().chain(privileged(docker, &image));
    let container = run(&engine, &given.collect::<Vec<_>>());
    is_ready(&container).await;
    load_base(&engine, &container);
    assert!(container.done(&["docker", "run", "--rm", "--network=none", BASE, "echo", "it runs"]).contains("it runs"));
    let said = container.logs();
    assert!(said.contains("/var/lib/image-factory is in no named volume"), "{said}");
}
