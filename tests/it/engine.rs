//! Builds on a real engine.
#![allow(clippy::disallowed_methods, reason = "tests run programs")]

mod building;
mod classic;
mod context;
mod explaining;
mod gitdir;
mod ignore;
mod links;
mod logins;
mod pushing;
mod random;
mod table;
mod tls;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use image_factory::engine::{BuiltImage, Engine, EngineError, ErrorKind, Host, ImageBuild, PatternBounds};
use image_factory::git::{Git, GitConfig, RepoSource, Snapshot, SnapshotOptions};
use image_factory::model::{Builder, CommitSpec, GitRef, ImageRef, JobId, RepoName, base_images};
use image_factory::secrets::{self, Place, Secrets, SecretsConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::harness::{self, Docker, Feature, Log, Tree, eventually, folder, read_tree, unpack};

/// A repository with a work tree, its mirror, and an engine to build it on.
struct Bench {
    dir: TempDir,
    git: Git,
    docker: Docker,
    engine: Engine,
    host: String,
    /// Distinct per test: names the image and the synced context.
    name: String,
    secrets: Arc<Secrets>,
}

impl Bench {
    fn new(docker: Docker, name: &str) -> Self {
        Self::at(docker, name, harness::Engine::of(docker).host)
    }

    fn at(docker: Docker, name: &str, host: String) -> Self {
        let dir = folder();
        let config = GitConfig {
            dir: dir.path().join("mirrors"),
            run_dir: dir.path().join("run"),
            known_hosts: dir.path().join("known_hosts"),
            added_hosts: None,
            access: Default::default(),
            pure_history_times: false,
            repo_case: image_factory::model::RepoCase::default(),
            bounds: image_factory::git::GitBounds::default(),
        };
        let bench = Self {
            git: Git::new(config).unwrap(),
            docker,
            engine: Engine::new(host.parse::<Host>().unwrap()),
            host,
            name: format!("{name}-{}", JobId::new()),
            secrets: Arc::default(),
            dir,
        };
        harness::note(bench.dir.path(), &bench.on(), harness::Left::Images(&bench.filter()));
        fs::create_dir(bench.work()).unwrap();
        bench.run(&["init", "-q", "-b", "main"]);
        bench
    }

    fn on(&self) -> harness::Engine {
        harness::Engine { host: self.host.clone() }
    }

    /// The filter of its own images.
    fn filter(&self) -> String {
        format!("label=org.example.bench={}", self.name)
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn image(&self) -> ImageRef {
        ImageRef::parse(&format!("{}:latest", self.name)).unwrap()
    }

    fn run(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .current_dir(self.work())
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"])
            .args(args)
            .envs([("GIT_AUTHOR_DATE", "1500000000 +0000"), ("GIT_COMMITTER_DATE", "1500000000 +0000")])
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.work().join(OsStr::from_bytes(path.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn remove(&self, path: impl AsRef<OsStr>) {
        let path = self.work().join(path.as_ref());
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Every commit has the same time, so that a second's resolution can hide nothing.
    fn commit(&self) {
        self.run(&["add", "-A", "-f"]);
        self.run(&["commit", "-q", "--allow-empty", "-m", "m"]);
    }

    async fn snapshot(&self, log: &Log) -> Arc<Snapshot> {
        let source = RepoSource {
            repo: RepoName::new("acme", "hello").unwrap(),
            url: format!("file://{}", self.work().display()),
            key: None,
        };
        let (branch, commit) = (GitRef::new("main").unwrap(), CommitSpec::Head);
        let mirror = self.git.clone(&source, &branch, &commit, false, log).await.unwrap();
        let commit = self.git.resolve(&mirror, &branch, &commit, false).await.unwrap();
        Arc::new(self.git.snapshot(&mirror, &commit, "acme/hello Dockerfile", &self.secrets, log).await.unwrap())
    }

    async fn try_build(&self, log: &Log) -> Result<BuiltImage, EngineError> {
        let snapshot = self.snapshot(log).await;
        self.build_of(snapshot, &self.image(), "Dockerfile", log).await
    }

    async fn build_of(
        &self,
        snapshot: Arc<Snapshot>,
        image: &ImageRef,
        dockerfile: &str,
        log: &Log,
    ) -> Result<BuiltImage, EngineError> {
        self.engine.build(self.request(snapshot, image, dockerfile), log).await
    }

    fn request<'a>(&self, snapshot: Arc<Snapshot>, image: &'a ImageRef, dockerfile: &'a str) -> ImageBuild<'a> {
        ImageBuild {
            snapshot,
            context: b"",
            dockerfile,
            images: std::slice::from_ref(image),
            target: None,
            build_args: BTreeMap::new(),
            platform: None,
            labels: BTreeMap::from([
                ("org.example.ä".into(), "a \"b\" & c".into()),
                ("org.example.bench".into(), self.name.clone()),
            ]),
            build_id: JobId::new().to_string(),
            sync_key: format!("{} {dockerfile}", self.name),
            cache_namespace: None,
            network: None,
            pull: false,
            limits: BTreeMap::new(),
            no_cache: false,
            cache_from: None,
            inline_cache: false,
            bases: base_images(&fs::read_to_string(self.work().join(dockerfile)).unwrap_or_default(), &BTreeMap::new()),
            logins: self.secrets.clone().into(),
            pattern_bounds: PatternBounds::default(),
            context_sent: CancellationToken::new(),
        }
    }

    /// Requests and bytes of a build beside those of what changed: from BuildKit 0.11 on, the engine asks for the Dockerfile
    /// and for `.dockerignore` each time.
    fn asked_again(&self) -> (u64, u64) {
        match self.docker.has(Feature::AsksForDockerfile) {
            false => (0, 0),
            true => ["Dockerfile", ".dockerignore"]
                .iter()
                .filter_map(|name| fs::metadata(self.work().join(name)).ok())
                .fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.len())),
        }
    }

    /// Edits and builds until the engine asks for `files` files of `bytes` bytes beside those of each build, at most five
    /// times: an engine answers a moment before it lets go of a context, and a build that comes earlier sends all anew.
    async fn asks_for(&self, (files, bytes): (u64, u64), mut edit: impl FnMut(usize)) {
        let mut seen = Vec::new();
        for round in 0..5 {
            edit(round);
            let sync = self.build().await.sync.unwrap();
            let again = self.asked_again();
            if (sync.requests, sync.bytes) == (again.0 + files, again.1 + bytes) {
                return;
            }
            seen.push(sync);
        }
        panic!("more than {files} files of {bytes} bytes each time: {seen:?}");
    }

    async fn build(&self) -> BuiltImage {
        let log = Log::default();
        self.try_build(&log).await.unwrap_or_else(|e| panic!("{e}\n{}", log.text()))
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", &self.host).args(args);
        docker
    }

    fn exists(&self) -> bool {
        self.docker(&["image", "inspect", &self.image().to_string()]).output().unwrap().status.success()
    }

    /// Returns the content of the image's `/ctx`.
    fn content(&self, image: &ImageRef) -> Tree {
        let out = self.docker(&["create", &image.to_string(), "x"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let id = String::from_utf8(out.stdout).unwrap().trim().to_owned();
        let dir = folder();
        let mut export = self.docker(&["export", &id]).stdout(Stdio::piped()).spawn().unwrap();
        unpack(export.stdout.take().unwrap(), dir.path());
        assert!(export.wait().unwrap().success());
        assert!(self.docker(&["rm", &id]).output().unwrap().status.success());
        read_tree(&dir.path().join("ctx"))
    }

    /// Returns the tree of the newest commit.
    fn archive(&self) -> Tree {
        harness::archive(&self.work(), "HEAD")
    }

    /// The paths that the image has in `/ctx`, in the order of their bytes.
    fn paths(&self) -> Vec<String> {
        self.content(&self.image()).keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The filter also finds images that lost their name to a later build.
        self.on().remove_images(&self.filter());
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(Duration::from_secs(20), what, async || condition().then_some(())).await;
}

const ALL: &str = "FROM image-factory-busybox:1\nCOPY . /ctx/\n";
