use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::process::Command;

use tempfile::TempDir;

use super::keys::succeed;
use super::{Proc, folder, start};

/// The engines that the suite runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Docker {
    /// The machine's own; on Debian 12 it is 20.10, with BuildKit 0.8.
    V20,
    /// Debian 13's 26.1, with BuildKit 0.13, that `scripts/engine-26` starts beside it.
    V26,
}

const ENGINE_26: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engine-26");

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

    /// One that is running, with the base image `busybox`. All tests share it; what a test makes is named by its
    /// registry's port, which no other test has.
    pub fn of(docker: Docker) -> Self {
        let (host, advice) = match docker {
            Docker::V20 => (std::env::var("DOCKER_HOST").ok(), "`make setup` starts one"),
            Docker::V26 => (
                Some("unix:///run/image-factory-engine-26/docker.sock".into()),
                "`scripts/engine-26 start` starts it, ENGINE_26=no leaves it out of `make test`",
            ),
        };
        let engine = Self { host: host.unwrap_or_else(|| "unix:///var/run/docker.sock".into()) };
        let there = engine.command(&["version"]).output().is_ok_and(|o| o.status.success());
        assert!(there, "no engine answers at {}: {advice}", engine.host);
        engine.import_base();
        engine
    }

    fn import_base(&self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/base-image");
        succeed(Command::new(script).env("DOCKER_HOST", &self.host), b"");
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

    /// Removes every image that `docker image ls` finds by this filter.
    pub fn remove_images(&self, filter: &str) {
        let list = self.command(&["image", "ls", "--quiet", "--filter", filter]).output().unwrap().stdout;
        let list = String::from_utf8_lossy(&list).into_owned();
        let ids: BTreeSet<_> = list.lines().collect();
        if !ids.is_empty() {
            let ids: Vec<_> = ids.into_iter().collect();
            // What a container of another test still uses stays.
            let _ = self.command(&[&["image", "rm", "--force"], &ids[..]].concat()).output();
        }
    }
}

/// An engine of the test's own, to be killed, with its defaults (so it clips long output). It has its own network, so
/// it reaches no registry of ours; needs root.
pub struct PrivateEngine {
    server: Proc,
    pub engine: Engine,
    dir: TempDir,
}

impl PrivateEngine {
    pub async fn start(docker: Docker) -> Self {
        Self::start_with(docker, &[]).await
    }

    /// With these variables in dockerd's environment; DOCKERD_FLAGS are flags of its own.
    pub async fn start_with(docker: Docker, env: &[(&str, &str)]) -> Self {
        let mut path = std::env::var("PATH").unwrap();
        if docker == Docker::V26 {
            let own = succeed(Command::new(ENGINE_26).arg("path"), b"").stdout;
            path = format!("{}:{path}", String::from_utf8_lossy(&own).trim());
        }
        let dir = folder();
        let socket = dir.path().join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let root = dir.path().display().to_string();
        let space = root.rsplit('/').next().unwrap().to_string();
        let dockerd = format!(
            "ip link set lo up && exec dockerd $DOCKERD_FLAGS --host {host} --data-root {root}/data --exec-root {root}/exec \
             --pidfile {root}/pid --containerd-namespace {space} --containerd-plugins-namespace {space}-plugins"
        );
        let (server, []) = start(
            "dockerd",
            &dir.path().join("log"),
            |[]| {
                let mut command = Command::new("unshare");
                command.args(["--net", "sh", "-c", &dockerd]).env("PATH", &path);
                command.env_remove("BUILDKIT_STEP_LOG_MAX_SIZE").env_remove("BUILDKIT_STEP_LOG_MAX_SPEED");
                command.envs(env.iter().copied());
                command
            },
            async |[]| UnixStream::connect(&socket).is_ok(),
        )
        .await;
        let engine = Engine { host };
        engine.import_base();
        Self { server, engine, dir }
    }

    /// SIGKILL: what it ran stays.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        // By itself it ends its containers and unmounts its layers.
        if self.server.running() {
            self.server.signal(rustix::process::Signal::TERM);
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.server.running() && std::time::Instant::now() < end {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        // What a killed one left mounted would keep the folder.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.dir.path().to_str().unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).filter(|m| m.starts_with(ours)) {
            let _ = Command::new("umount").args(["-l", mount]).output();
        }
    }
}
