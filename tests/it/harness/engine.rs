use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::keys::succeed;
use super::{Docker, Machine, Proc, SeparateContainerd, SmallDisk, clear, folder, start};

const ENGINE_26: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engine-26");
const ENGINE_NEW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engine-new");

/// The base image of the tests' Dockerfiles, which is theirs alone: `busybox` is what a user has by that name. A name
/// without a slash is Docker's own to give, so nobody else can publish an image of it.
pub const BASE: &str = "image-factory-busybox:1";

/// An address that a [`PrivateEngine`] has in its own network, and that is no loopback. It is one of those for tests of
/// networks (RFC 2544), which nobody routes. scripts/engine-new has Podman speak plain HTTP there.
const FAR: &str = "198.18.99.1";

/// An engine, by Docker's own command.
#[derive(Debug, Clone)]
pub struct Engine {
    pub host: String,
}

impl Engine {
    /// The machine's: DOCKER_HOST or the default socket.
    pub fn shared() -> Self {
        Self::of(Docker::V20)
    }

    /// One that is running, with the image [`BASE`]. All tests share it; what a test makes is named by its
    /// registry's port, which no other test has.
    pub fn of(docker: Docker) -> Self {
        let advice = match docker {
            Docker::V20 => "`make setup` starts one",
            Docker::V26 => "`scripts/engine-26 start` starts it, ENGINE_26=no leaves it out of `make test`",
            _ => "`scripts/engine-new` starts it, or `ENGINES=all make test`",
        };
        Self::running(docker).unwrap_or_else(|host| panic!("no engine answers at {host}: {advice}"))
    }

    /// Returns the address instead if no engine answers there.
    pub fn running(docker: Docker) -> Result<Self, String> {
        let host = match (docker, docker.of_script()) {
            (_, Some(name)) => Some(format!("unix:///run/image-factory-engine-{name}/docker.sock")),
            (Docker::V20, _) => std::env::var("DOCKER_HOST").ok(),
            _ => Some("unix:///run/image-factory-engine-26/docker.sock".into()),
        };
        let engine = Self { host: host.unwrap_or_else(|| "unix:///var/run/docker.sock".into()) };
        if !engine.answers() {
            return Err(engine.host);
        }
        engine.import_base();
        Ok(engine)
    }

    pub(super) fn answers(&self) -> bool {
        self.command(&["version"]).output().is_ok_and(|output| output.status.success())
    }

    fn import_base(&self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/base-image");
        succeed(Command::new(script).arg(BASE).env("DOCKER_HOST", &self.host), b"");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.host).args(args);
        command
    }

    /// Runs `docker`; its output, trimmed.
    pub fn docker(&self, args: &[&str]) -> String {
        String::from_utf8_lossy(&succeed(&mut self.command(args), b"").stdout).trim().to_string()
    }

    /// Runs an image; what it prints.
    pub fn run(&self, image: &str, command: &[&str]) -> String {
        self.docker(&[&["run", "--rm", "--network", "none", image], command].concat())
    }

    /// One value of an image by Go template, such as `{{.Id}}`.
    pub fn inspect(&self, image: &str, template: &str) -> String {
        self.docker(&["image", "inspect", "--format", template, image])
    }

    /// Starts a container once more, and returns what it writes until it ends.
    pub fn start_attached(&self, name: &str) -> String {
        let output = self.command(&["start", "--attach", name]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Ends it if it runs; with its volumes.
    pub fn remove_container(&self, name: &str) {
        let _ = self.command(&["rm", "--force", "--volumes", name]).output();
    }

    /// Returns the ids of the containers in which Podman builds, as its own API lists them.
    pub fn containers_of_builders(&self) -> Vec<String> {
        let socket = self.host.strip_prefix("unix://").expect("an engine on a socket");
        let url = "http://engine/v5.0.0/libpod/containers/json?all=true&external=true";
        let listed = succeed(Command::new("curl").args(["-fsS", "--unix-socket", socket, url]), b"").stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).unwrap();
        let of_builders = listed.iter().filter(|container| container["State"] == "storage");
        of_builders.map(|container| container["Id"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the containers, networks and volumes that the tests of these jobs made: by HOOK, or as a project of Docker
    /// Compose.
    pub fn of_jobs(&self, is_of: impl Fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for (list, name) in
            [(&["ps", "--all"][..], "{{.Names}}"), (&["network", "ls"], "{{.Name}}"), (&["volume", "ls"], "{{.Name}}")]
        {
            let labels = r#"{{.Label "image-factory.job"}};{{.Label "com.docker.compose.project"}}"#;
            let listed = self.docker(&[list, &["--format", &format!("{labels};{name}")]].concat());
            for line in listed.lines() {
                let [own, project, name] = line.splitn(3, ';').collect::<Vec<_>>()[..] else { panic!("{line}") };
                if is_of(own) || is_of(project) {
                    found.push(format!("{} {name}", list[0]));
                }
            }
        }
        found
    }

    /// Removes the containers that `docker ps` finds by this filter, with their volumes.
    pub fn remove_containers(&self, filter: &str) {
        let list = self.command(&["ps", "--all", "--quiet", "--filter", filter]).output().unwrap().stdout;
        String::from_utf8_lossy(&list).lines().for_each(|id| self.remove_container(id));
    }

    /// Removes every name of an image that `docker image ls` finds by this filter, and what has no name. Never an image
    /// by its id if it has a name, because others may have given it theirs: `docker tag` makes no image of its own.
    pub fn remove_images(&self, filter: &str) {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let list = self.command(&["image", "ls", "--filter", filter, "--format", format]).output().unwrap().stdout;
        let list = String::from_utf8_lossy(&list).into_owned();
        let names = list.lines().filter_map(|line| line.split_once(' '));
        let names: Vec<_> = names.map(|(name, id)| if name.ends_with(":<none>") { id } else { name }).collect();
        if !names.is_empty() {
            // The engine keeps an image that a container of another test still uses.
            let _ = self.command(&[&["image", "rm", "--force"], &names[..]].concat()).output();
        }
    }
}

/// An engine of the test's own, to be killed, stopped and filled up, with its defaults (so it clips long output). It has
/// its own network, from which it reaches of our servers only what [`PrivateEngine::reach`] names; needs root. While it
/// is there, its test has the [`Machine`].
pub struct PrivateEngine {
    server: Proc,
    docker: Docker,
    pub engine: Engine,
    /// Holds the network while the engine is away.
    network: File,
    path: String,
    env: Vec<(String, String)>,
    dir: TempDir,
    _disk: Option<SmallDisk>,
    containerd: Option<SeparateContainerd>,
    /// The lock goes last, after the engine.
    _machine: Arc<Machine>,
}

impl PrivateEngine {
    pub async fn start(docker: Docker) -> Self {
        Self::start_with(docker, &[]).await
    }

    /// Starts an engine with these variables in its environment. DOCKERD_FLAGS are further flags of dockerd,
    /// REGISTRIES_CONF is Podman's configuration of registries, and JOINED_GROUP is a control group's `cgroup.procs`.
    pub async fn start_with(docker: Docker, env: &[(&str, &str)]) -> Self {
        Self::make(docker, env, None, None).await
    }

    /// Starts an engine with its images and layers on a disk of this size, in MiB.
    pub async fn start_on_small_disk(docker: Docker, mebibytes: u32) -> Self {
        Self::make(docker, &[], Some(mebibytes), None).await
    }

    /// Starts a Docker beside a containerd that is a service of its own and keeps the images, on a disk of this size, in
    /// MiB.
    pub async fn start_beside_containerd(docker: Docker, mebibytes: u32) -> Self {
        Self::make(docker, &[], None, Some(mebibytes)).await
    }

    async fn make(docker: Docker, env: &[(&str, &str)], mebibytes: Option<u32>, of_containerd: Option<u32>) -> Self {
        let machine = Machine::take().await;
        let mut path = std::env::var("PATH").unwrap();
        if docker == Docker::V26 {
            let own = succeed(Command::new(ENGINE_26).arg("path"), b"").stdout;
            path = format!("{}:{path}", String::from_utf8_lossy(&own).trim());
        }
        let dir = folder();
        let disk = mebibytes.map(|size| SmallDisk::mount(&dir.path().join("data"), size));
        let host = format!("unix://{}", dir.path().join("docker.sock").display());
        let env: Vec<_> = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let containerd = of_containerd.map(|size| SeparateContainerd::prepare(dir.path(), size));
        let server = run(docker, dir.path(), &path, &env, containerd.as_ref(), &["unshare", "--net"]).await;
        let network = File::open(format!("/proc/{}/ns/net", server.pid().as_raw_nonzero())).unwrap();
        let engine = Engine { host };
        engine.import_base();
        Self { server, docker, engine, network, path, env, dir, _disk: disk, containerd, _machine: machine }
    }

    /// SIGKILL: what it ran stays.
    pub fn kill9(&mut self) {
        self.server.kill9();
        // containerd dies with dockerd. Where no process reaps it, the next dockerd would wait for it.
        let _ = std::fs::remove_file(self.dir.path().join("exec/containerd/containerd.pid"));
    }

    /// SIGTERM; returns when it has ended.
    pub async fn stop(&mut self) {
        self.server.signal(Signal::TERM);
        self.server.exit(Duration::from_secs(20)).await;
    }

    /// After its end: again, with the same data.
    pub async fn restart(&mut self) {
        let network = self.network();
        let (dir, containerd) = (self.dir.path(), self.containerd.as_ref());
        self.server = run(self.docker, dir, &self.path, &self.env, containerd, &["nsenter", &network]).await;
    }

    pub fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Returns the argument by which `nsenter` runs a program in its network.
    pub fn network(&self) -> String {
        format!("--net=/proc/{}/fd/{}", std::process::id(), self.network.as_raw_fd())
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Where its images and layers are.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the containerd that is a service of its own.
    pub fn containerd(&self) -> &SeparateContainerd {
        self.containerd.as_ref().expect("an engine that was started beside one")
    }

    /// Lets the engine reach what listens on 127.0.0.1 here, by the same address.
    pub fn reach(&self, address: &str) {
        reach_from(&self.network, address);
    }

    /// Lets the engine reach what listens on 127.0.0.1 here by the address [`afar`].
    pub fn reach_afar(&self, address: &str) {
        reach_by(&self.network, &afar(address), address);
    }
}

/// Returns the same port of [`FAR`].
pub fn afar(address: &str) -> String {
    address.replace("127.0.0.1:", &format!("{FAR}:"))
}

/// Lets the programs of a network namespace reach what listens on 127.0.0.1 here, by the same address.
pub fn reach_from(network: &File, address: &str) {
    reach_by(network, address, address);
}

/// Gives a network namespace an address that is no loopback, by which its programs reach what listens on 127.0.0.1 here:
/// [`afar`].
pub fn reach_afar_from(network: &File, address: &str) {
    let network_of = format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
    let far = format!("{FAR}/32");
    succeed(Command::new("nsenter").args([&network_of, "ip", "address", "replace", &far, "dev", "lo"]), b"");
    reach_by(network, &afar(address), address);
}

#[expect(unsafe_code, reason = "std joins no network namespace")]
fn reach_by(network: &File, inside: &str, address: &str) {
    unsafe extern "C" {
        fn setns(fd: i32, kind: i32) -> i32;
    }
    let (network, address, inside) = (network.try_clone().unwrap(), address.to_string(), inside.to_string());
    // A socket stays in the network that its thread was in.
    let listen = std::thread::spawn(move || {
        // SAFETY: a system call with a file that is open.
        assert_eq!(unsafe { setns(network.as_raw_fd(), 0) }, 0, "a network is joined as root alone");
        std::net::TcpListener::bind(inside).unwrap()
    });
    let listener = listen.join().unwrap();
    // A thread of its own goes on while a test waits for a program.
    std::thread::spawn(move || {
        for from in listener.incoming() {
            let (from, to) = (from.unwrap(), TcpStream::connect(&address));
            if let Ok(to) = to {
                for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        }
    });
}

/// Starts the engine by a command that gives it its network; returns when it answers.
async fn run(
    docker: Docker,
    dir: &Path,
    path: &str,
    env: &[(String, String)],
    containerd: Option<&SeparateContainerd>,
    network: &[&str],
) -> Proc {
    let (root, socket) = (dir.display(), dir.join("docker.sock"));
    let space = dir.file_name().unwrap().to_str().unwrap();
    let enter = docker.of_script().map_or(String::new(), |name| format!("{ENGINE_NEW} {name} exec "));
    let host = format!("unix://{}", socket.display());
    let dockerd = containerd.map_or("dockerd".into(), |containerd| containerd.command(docker));
    let engine = match docker {
        Docker::Podman | Docker::PodmanNext => format!(
            "env ${{REGISTRIES_CONF:+CONTAINERS_REGISTRIES_CONF=$REGISTRIES_CONF}} podman --root {root}/data \
             --runroot {root}/exec --cgroup-manager cgroupfs --events-backend file system service --time 0 {host}"
        ),
        _ => format!(
            "{dockerd} $DOCKERD_FLAGS --host {host} --data-root {root}/data --exec-root {root}/exec --pidfile {root}/pid \
             --containerd-namespace {space} --containerd-plugins-namespace {space}-plugins {}",
            if docker == Docker::Containerd { "--feature containerd-snapshotter=true" } else { "" }
        ),
    };
    let join = r#"{ [ -z "$JOINED_GROUP" ] || echo $$ >"$JOINED_GROUP"; }"#;
    let command = format!("{join} && ip link set lo up && ip address replace {FAR}/32 dev lo && exec {enter}{engine}");
    let (server, []) = start(
        "engine",
        &dir.join("log"),
        |[]| {
            let mut inside = Command::new(network[0]);
            inside.args(&network[1..]).args(["sh", "-c", &command]).env("PATH", path);
            inside.env_remove("BUILDKIT_STEP_LOG_MAX_SIZE").env_remove("BUILDKIT_STEP_LOG_MAX_SPEED");
            inside.envs(env.iter().map(|(name, value)| (name, value)));
            inside
        },
        async |[]| answers(&socket).is_ok_and(|answer| answer.contains(" 200 OK")),
    )
    .await;
    server
}

/// An engine that is starting takes connections before it answers.
fn answers(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        // An engine that is asked to stop ends its containers and unmounts its layers.
        if self.server.running() {
            self.server.signal(Signal::CONT);
            self.server.signal(Signal::TERM);
        }
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while self.server.running() && std::time::Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        // Processes and mounts that a killed engine left behind would keep the folder.
        clear(self.dir.path());
    }
}
