//! `.git` in the context, signs that it is missed, and a folder of the repository as the context.

use super::*;

on_each_engine!(
    git_answers_in_an_image_of_the_classic_builder,
    a_classic_build_without_its_git_dir_names_the_cause,
    a_folder_is_the_context_of_the_classic_builder,
);
on_docker!(git_answers_in_an_image, a_build_without_its_git_dir_names_the_cause, a_folder_is_the_context);

/// `FROM` the base image.
fn from() -> &'static str {
    ALL.lines().next().unwrap()
}

impl Bench {
    fn with(docker: Docker, builder: Builder, name: &str) -> Self {
        let mut bench = Self::new(docker, name);
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(builder);
        bench
    }

    /// The newest commit with its `.git`.
    async fn kept(&self, log: &Log) -> Arc<Snapshot> {
        let url = format!("file://{}", self.work().display());
        let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
        let (branch, commit) = (GitRef::new("main").unwrap(), CommitSpec::Head);
        let mirror = self.git.clone(&source, &branch, &commit, false, log).await.unwrap();
        let commit = self.git.resolve(&mirror, &branch, &commit, false).await.unwrap();
        let git_dir = self.git.git_dir(&mirror, &commit, log).await.unwrap();
        let secrets = &self.secrets;
        Arc::new(
            self.git.snapshot_with(&mirror, &commit, "key", SnapshotOptions::of(&git_dir), secrets, log).await.unwrap(),
        )
    }

    async fn build_in(&self, context: &[u8], dockerfile: &str) -> Result<BuiltImage, EngineError> {
        let log = Log::default();
        let (snapshot, image) = (self.snapshot(&log).await, self.image());
        let sync_key = format!("{} {dockerfile} {context:?}", self.name);
        let request = ImageBuild { context, sync_key, ..self.request(snapshot, &image, dockerfile) };
        self.engine.build(request, &log).await
    }

    async fn build_kept(&self, log: &Log) -> Result<BuiltImage, EngineError> {
        self.build_of(self.kept(log).await, &self.image(), "Dockerfile", log).await
    }

    /// The output of Git in the image's `/ctx`, trimmed.
    fn git_says(&self, args: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (path, (kind, is_exec, content)) in self.content(&self.image()) {
            let path = dir.path().join(OsStr::from_bytes(&path));
            match kind {
                "dir" => fs::create_dir(path).unwrap(),
                "link" => symlink(OsStr::from_bytes(&content), path).unwrap(),
                _ => {
                    fs::write(&path, content).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(if is_exec { 0o755 } else { 0o644 })).unwrap();
                }
            }
        }
        let out = Command::new("git").current_dir(dir.path()).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

async fn git_answers_in_an_image(docker: Docker) {
    let bench = Bench::with(docker, Builder::Buildkit, "keptgit");
    git_answers(&bench).await;
    // An entry that the engine has is not sent again. The engine may answer a moment before it lets go of a context, and a
    // build that comes earlier sends all anew.
    let log = Log::default();
    let mut sent = Vec::new();
    while sent.last() != Some(&bench.asked_again()) {
        assert!(sent.len() < 5, "{sent:?}");
        let again = bench.build_kept(&log).await.unwrap().sync.unwrap();
        sent.push((again.requests, again.bytes));
    }
    bench.write("a", "2");
    bench.commit();
    bench.build_kept(&log).await.unwrap();
    assert_eq!(bench.git_says(&["status", "--porcelain"]), "");
    assert!(bench.git_says(&["describe", "--tags", "--dirty"]).starts_with("v1-2-g"));

    // A step can mount it without a copy in the image.
    let mount = "RUN --mount=type=bind,source=.git,target=/git cp /git/HEAD /head\n";
    bench.write("Dockerfile", format!("{}\n{mount}", from()));
    bench.commit();
    let built = bench.build_kept(&log).await.unwrap();
    let engine = harness::Engine::of(docker);
    assert_eq!(engine.run(&built.image_id, &["cat", "/head"]), bench.run(&["rev-parse", "HEAD"]));
}

async fn git_answers_in_an_image_of_the_classic_builder(docker: Docker) {
    git_answers(&Bench::with(docker, Builder::Classic, "c-keptgit")).await;
}

async fn git_answers(bench: &Bench) {
    bench.write("Dockerfile", ALL);
    bench.write("a", "1");
    bench.write("run.sh", "#!/bin/sh\n");
    fs::set_permissions(bench.work().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.link("link", "a");
    bench.commit();
    bench.run(&["tag", "-a", "-m", "v1", "v1"]);
    bench.write("b", "1");
    bench.commit();
    let head = bench.run(&["rev-parse", "HEAD"]);
    let log = Log::default();
    bench.build_kept(&log).await.unwrap_or_else(|e| panic!("{e}\n{}", log.text()));
    assert_eq!(bench.git_says(&["rev-parse", "HEAD"]), head);
    assert_eq!(bench.git_says(&["status", "--porcelain"]), "");
    assert_eq!(bench.git_says(&["describe", "--tags", "--always", "--dirty"]), format!("v1-1-g{}", &head[..7]));
    assert_eq!(bench.git_says(&["log", "--format=%s"]), "m\nm");
}

/// Builds, fails, and says this in its log and its error.
async fn fails_with(bench: &Bench, dockerfile: &str, words: &str) {
    bench.write("Dockerfile", format!("{}\n{dockerfile}\n", from()));
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains(words) && log.text().contains(words), "{dockerfile}: {error}\n{}", log.text());
}

const LEFT_OUT: &str =
    ".git is left out of the context: to have it, give the build argument BUILDKIT_CONTEXT_KEEP_GIT_DIR=1";
const NO_REPOSITORY: &str =
    "RUN echo 'fatal: not a git repository (or any of the parent directories): .git' >&2; exit 128";

async fn a_build_without_its_git_dir_names_the_cause(docker: Docker) {
    let bench = Bench::with(docker, Builder::Buildkit, "missedgit");
    for dockerfile in [
        "COPY .git /git",
        "COPY .git/HEAD /head",
        "RUN --mount=type=bind,source=.git,target=/git cat /git/HEAD",
        NO_REPOSITORY,
    ] {
        fails_with(&bench, dockerfile, LEFT_OUT).await;
    }
    // A build that can do without it says so all the same.
    bench.write("Dockerfile", format!("{}\nCOPY Dockerfile .git* /x/\n", from()));
    bench.commit();
    let log = Log::default();
    bench.try_build(&log).await.unwrap();
    assert!(log.text().contains(LEFT_OUT), "{}", log.text());
    // One that does not ask hears nothing of it.
    let log = Log::default();
    bench.write("Dockerfile", format!("{}\nCOPY . /x/\nCOPY none /\n", from()));
    bench.write(".gitignore", "none");
    bench.commit();
    let error = bench.try_build(&log).await.unwrap_err();
    assert!(!error.message.contains("KEEP_GIT_DIR") && !log.text().contains("KEEP_GIT_DIR"), "{error}");
    an_ignored_git_dir_is_named(&bench).await;
}

async fn a_classic_build_without_its_git_dir_names_the_cause(docker: Docker) {
    let bench = Bench::with(docker, Builder::Classic, "c-missedgit");
    for dockerfile in ["COPY .git /git", "COPY .git/HEAD /head", NO_REPOSITORY] {
        fails_with(&bench, dockerfile, LEFT_OUT).await;
    }
    an_ignored_git_dir_is_named(&bench).await;
}

/// `.git` is there and `.dockerignore` names it: as with Docker it does not come.
async fn an_ignored_git_dir_is_named(bench: &Bench) {
    bench.write("Dockerfile", format!("{}\nCOPY .git /git\n", from()));
    bench.write(".dockerignore", ".git\n");
    bench.commit();
    let log = Log::default();
    let error = bench.build_kept(&log).await.unwrap_err();
    assert!(error.message.contains(".git is left out of the context by .dockerignore"), "{error}");
    bench.write("Dockerfile", ALL);
    bench.commit();
    bench.build_kept(&log).await.unwrap();
    assert!(bench.paths().iter().all(|path| !path.starts_with(".git/")), "{:?}", bench.paths());
}

async fn a_folder_is_the_context(docker: Docker) {
    let bench = Bench::with(docker, Builder::Buildkit, "folder");
    a_folder(&bench).await;
    bench.write("services/api/Dockerfile", ALL);
    bench.commit();
    bench.build_in(b"services/api", "services/api/Dockerfile").await.unwrap();
    // A change beyond the folder sends nothing.
    bench.write("outside", "changed");
    bench.commit();
    let sync = bench.build_in(b"services/api", "services/api/Dockerfile").await.unwrap().sync.unwrap();
    let again = match docker.has(Feature::AsksForDockerfile) {
        false => (0, 0),
        true => (1, ALL.len() as u64),
    };
    assert_eq!((sync.requests, sync.bytes), again, "{sync:?}");
}

async fn a_folder_is_the_context_of_the_classic_builder(docker: Docker) {
    a_folder(&Bench::with(docker, Builder::Classic, "c-folder")).await;
}

async fn a_folder(bench: &Bench) {
    bench.write("services/api/Dockerfile", ALL);
    bench.write("services/api/src/main", "main");
    bench.write("services/api/src/note.md", "note");
    bench.write("services/api/.dockerignore", "**/*.md\n");
    bench.write("services/api.txt", "a neighbour");
    bench.write(".dockerignore", "**\n");
    bench.write("outside", "outside");
    bench.link("services/api/out", "../../outside");
    bench.write("docker/web", format!("{ALL}COPY src/main /ctx/copy\n"));
    bench.commit();
    let inside = [".dockerignore", "Dockerfile", "out", "src", "src/main"];
    bench.build_in(b"services/api", "services/api/Dockerfile").await.unwrap();
    assert_eq!(bench.paths(), inside);
    let out = &bench.content(&bench.image())[&b"out"[..]];
    assert_eq!((out.0, &out.2[..]), ("link", &b"../../outside"[..]));

    // A Dockerfile elsewhere is not in the context, and its own ignore file comes first.
    bench.build_in(b"services/api", "docker/web").await.unwrap();
    assert_eq!(bench.paths(), [".dockerignore", "Dockerfile", "copy", "out", "src", "src/main"]);
    bench.write("docker/web.dockerignore", "out\nDockerfile\n");
    bench.commit();
    bench.build_in(b"services/api", "docker/web").await.unwrap();
    assert_eq!(bench.paths(), [".dockerignore", "copy", "src", "src/main", "src/note.md"]);
    bench.remove("services/api/.dockerignore");
    bench.commit();
    bench.build_in(b"services/api", "docker/web").await.unwrap();
    assert_eq!(bench.paths(), ["copy", "src", "src/main", "src/note.md"]);

    for (dockerfile, words) in [("COPY out /x", "out"), ("COPY ../../outside /x", "outside"), ("COPY .git /x", ".git")]
    {
        bench.write("services/api/Dockerfile", format!("{}\n{dockerfile}\n", from()));
        bench.commit();
        let error = bench.build_in(b"services/api", "services/api/Dockerfile").await.unwrap_err();
        assert!(error.kind == ErrorKind::Build && error.message.contains(words), "{error}");
        assert_eq!(error.message.contains("that is a folder of the repository"), words == ".git", "{error}");
    }
}
