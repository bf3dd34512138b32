//! Our image and its containers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{BASE, Docker, Engine, Left, PASSPHRASE, World, eventually, folder, note, reach_from, succeed, unique};

pub const BINARY: &str = env!("CARGO_BIN_EXE_image-factory");

/// The files of which our image is made from a binary.
pub const IMAGE_FILES: [&str; 5] =
    ["Dockerfile", "LICENSE", "THIRD-PARTY-NOTICES.txt", "Cargo.lock", "scripts/image-root"];

pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Longest time until an engine inside is ready, on a busy machine.
const READY: Duration = Duration::from_secs(90);
pub const READ_ONLY: [&str; 4] = ["--read-only", "--tmpfs=/tmp", "--tmpfs=/run:exec", "--tmpfs=/etc/docker"];

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The small program for images. nextest builds it beside the other one.
pub fn launcher() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("launcher");
    assert!(program.is_file(), "{} is missing: cargo build -p launcher", program.display());
    program
}

/// The binaries without their symbols, in the place of the release's. Returns the daemon's.
pub fn stripped(dir: &Path) -> PathBuf {
    let file = dir.join("release/image-factory");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    for (from, to) in [(PathBuf::from(BINARY), file.clone()), (launcher(), file.with_file_name("launcher"))] {
        succeed(Command::new("strip").arg("-o").arg(to).arg(from), b"");
    }
    file
}

/// The name of an image of Debian, which also has what the arguments of its script name.
pub fn debian_with(engine: &Engine, args: &[&str]) -> String {
    let mut script = Command::new(top().join("scripts/debian-image"));
    let made = succeed(script.args(args).env("DOCKER_HOST", &engine.host), b"");
    text(&made).trim().to_owned()
}

/// The name of an image with this version of Docker Compose, 1 or 2.
pub fn compose_image(engine: &Engine, version: &str) -> String {
    let mut script = Command::new(top().join("scripts/compose-image"));
    let made = succeed(script.arg(version).env("DOCKER_HOST", &engine.host), b"").stdout;
    String::from_utf8(made).unwrap().trim().to_owned()
}

/// A container, removed when this is dropped.
pub struct Container<'a> {
    engine: &'a Engine,
    pub name: String,
    _noted: TempDir,
}

impl<'a> Container<'a> {
    pub fn run(engine: &'a Engine, args: &[&str]) -> Self {
        let (name, dir) = (format!("iftest-{}", unique()), folder());
        note(dir.path(), engine, Left::Container(&name));
        let container = Self { engine, name, _noted: dir };
        engine.docker(&[&["run", "--detach", "--name", &container.name], args].concat());
        container
    }

    /// Runs a program in it.
    pub fn exec(&self, args: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.engine.host).args(["exec", &self.name]).args(args).output().unwrap()
    }

    /// Runs the command, which must succeed, and returns its output.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.exec(args);
        assert!(output.status.success(), "{args:?}: {}\n{}", text(&output), self.logs());
        text(&output)
    }

    pub fn inspect(&self, template: &str) -> String {
        self.engine.docker(&["inspect", "--format", template, &self.name])
    }

    /// Returns its network namespace.
    pub fn network(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.inspect("{{.State.Pid}}"))).unwrap()
    }

    /// Sends JSON to the daemon in it, which must accept it, and returns the answer.
    pub fn post(&self, path: &str, headers: &[&str], body: &Value) -> String {
        let network = format!("--net=/proc/{}/ns/net", self.inspect("{{.State.Pid}}"));
        let url = format!("http://127.0.0.1:8080{path}");
        let mut curl = Command::new("nsenter");
        curl.args([&network, "curl", "-fsS", &url, "-H", "Content-Type: application/json", "--data-binary", "@-"]);
        headers.iter().for_each(|header| {
            curl.args(["-H", header]);
        });
        String::from_utf8(succeed(&mut curl, body.to_string().as_bytes()).stdout).unwrap()
    }

    pub fn logs(&self) -> String {
        let mut command = Command::new("docker");
        text(&command.env("DOCKER_HOST", &self.engine.host).args(["logs", &self.name]).output().unwrap())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.engine.remove_container(&self.name);
    }
}

/// Returns the arguments of `docker run` from its options on for a privileged container of an image. Engine 20.10 gives a
/// privileged container CAP_SYS_RESOURCE, which a machine for tests may lack itself: there the container has all the rest.
pub fn privileged(docker: Docker, image: &Made) -> Vec<String> {
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
        _ => vec!["--privileged".into(), image.name.clone()],
    }
}

/// Starts a container with these arguments.
pub fn run_container<'a>(engine: &'a Engine, args: &[String]) -> Container<'a> {
    Container::run(engine, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// An image or a volume, removed when this is dropped.
pub struct Made<'a> {
    engine: &'a Engine,
    /// `image` or `volume`.
    kind: &'static str,
    pub name: String,
}

impl<'a> Made<'a> {
    pub fn image(engine: &'a Engine, name: String) -> Self {
        Self { engine, kind: "image", name }
    }

    pub fn volume(engine: &'a Engine) -> Self {
        let name = format!("iftest-{}", unique());
        engine.docker(&["volume", "create", &name]);
        Self { engine, kind: "volume", name }
    }

    /// Returns the folder of a volume on the engine's machine.
    pub fn path(&self) -> PathBuf {
        self.engine.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &self.name]).into()
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let mut docker = Command::new("docker");
        let _ = docker.env("DOCKER_HOST", &self.engine.host).args([self.kind, "rm", "--force", &self.name]).output();
    }
}

/// Makes the image of a target of our Dockerfile from the binary of this test.
pub fn image<'a>(engine: &'a Engine, target: &str) -> Made<'a> {
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
    Made::image(engine, name)
}

/// Makes the image that another version of the daemon would have: of another id, with the same binary.
pub fn next_version<'a>(engine: &'a Engine, image: &Made) -> Made<'a> {
    let (dir, name) = (folder(), format!("{}-next", image.name));
    note(dir.path(), engine, Left::Images(&format!("reference={name}")));
    let mut build = Command::new("docker");
    build.env("DOCKER_HOST", &engine.host).env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", &name, "-"]);
    let dockerfile = format!("FROM {}\nLABEL org.opencontainers.image.version=next\n", image.name);
    succeed(&mut build, dockerfile.as_bytes());
    Made::image(engine, name)
}

/// Returns the arguments of `docker run` from the options on by which a container of an image builds with this engine.
pub fn with_socket(engine: &Engine, image: &Made) -> Vec<String> {
    let socket = engine.host.strip_prefix("unix://").expect("an engine on a socket");
    vec![format!("--volume={socket}:/var/run/docker.sock:ro"), image.name.clone()]
}

/// A container of our image, which builds for a world and has no network but its servers.
pub struct Factory<'a> {
    world: &'a World,
    given: Vec<String>,
}

impl<'a> Factory<'a> {
    /// `last` ends the arguments of `docker run`: options, the image, and a command.
    pub fn new(world: &'a World, volume: &Made, settings: &[(&str, &str)], last: Vec<String>) -> Self {
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
        Self { world, given: fixed.chain(variables).chain(mounts).chain(last).collect() }
    }

    pub fn run(&self) -> Container<'a> {
        run_container(&self.world.engine, &self.given)
    }

    /// Starts the container, and returns when it is ready. `git` is the port by which it reaches the Git server.
    pub async fn start(&self, git: u16) -> Container<'a> {
        let container = self.run();
        let network = container.network();
        let etcd = format!("127.0.0.1:{}", self.world.etcd.port());
        for address in [etcd, self.world.registry.address(), format!("127.0.0.1:{git}")] {
            reach_from(&network, &address);
        }
        is_ready(&container).await;
        container
    }
}

pub async fn is_ready(container: &Container<'_>) {
    let is_ready = async || (text(&container.exec(&["image-factory", "health"])) == "ready\n").then_some(());
    eventually(READY, "the daemon and its engine are ready", is_ready).await;
}

/// Gives the engine inside the base image of the tests.
pub fn load_base(engine: &Engine, container: &Container) {
    let saved = succeed(Command::new("docker").env("DOCKER_HOST", &engine.host).args(["save", BASE]), b"").stdout;
    let mut load = Command::new("docker");
    load.env("DOCKER_HOST", &engine.host).args(["exec", "--interactive", &container.name, "docker", "load"]);
    succeed(&mut load, &saved);
}
