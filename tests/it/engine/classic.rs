//! The classic builder: the same as with BuildKit, by a tar.

use super::pushing::dockercfg;
use super::*;
use tokio_util::sync::CancellationToken;

use crate::harness::{Daemon, Registry, Repo, Settings, folder, unique};

on_each_engine!(
    an_image_has_what_git_archive_has,
    names_arguments_target_and_labels,
    dockerignore_is_applied,
    credentials_of_a_base_image,
);

// Podman's builder has no sessions and no containers, knows all instructions, and mixes the streams of a step.
on_docker!(
    a_failing_step_gives_its_exit_code_after_its_output,
    failures_are_classed,
    dropping_a_build_ends_its_step_and_container,
    an_engine_without_sessions_gets_a_tar,
    an_engine_without_buildkit_builds_jobs,
);

fn classic(docker: Docker, name: &str) -> Bench {
    let mut bench = Bench::new(docker, name);
    bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(Builder::Classic);
    bench
}

/// The engine's socket, with another answer to the requests that begin with `start`.
fn instead(docker: Docker, start: &'static str, answer: String) -> (TempDir, String) {
    let target = harness::Engine::of(docker).host;
    let dir = folder();
    let socket = dir.path().join("proxy.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let version = regex::Regex::new(r" /v1[.]\d+/").unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let version = version.clone();
            let (target, answer) = (target.strip_prefix("unix://").unwrap().to_owned(), answer.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let got = client.read(&mut head).await.unwrap();
                let request = version.replace(&String::from_utf8_lossy(&head), " /").into_owned();
                if request.starts_with(start) {
                    client.write_all(answer.as_bytes()).await.unwrap();
                    return;
                }
                let mut engine = UnixStream::connect(target).await.unwrap();
                engine.write_all(&head[..got]).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut engine).await;
            });
        }
    });
    let host = format!("unix://{}", socket.display());
    (dir, host)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn an_image_has_what_git_archive_has(docker: Docker) {
    let bench = classic(docker, "c-equal");
    bench.write("Dockerfile", ALL);
    for path in ["a/b/c", "a.b", "a/b.c", "a-b", "a0", " b\nc", "star*[x]?", "ümläut ☺", ".hidden", "#x", "!x"] {
        bench.write(path, path);
    }
    bench.write(b"d/not\xff\xfeutf8", "x");
    bench.write(format!("d/{}", "long".repeat(60)), "x");
    bench.link("d/link", &"../target".repeat(30));
    bench.link("itself", "itself");
    bench.write("empty", "");
    bench.write("big", (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
    fs::set_permissions(bench.work().join("a0"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.commit();
    let first = bench.build().await;
    assert_eq!(first.sync, None);
    assert!(bench.content(&bench.image()) == bench.archive(), "{:?}", bench.paths());
    // The second build finds the copied files in the engine's cache, unless one has changed.
    bench.write("a0", "A0");
    bench.remove("a/b");
    bench.commit();
    bench.build().await;
    assert!(bench.content(&bench.image()) == bench.archive());
    assert!(bench.docker(&["rmi", &first.image_id]).output().unwrap().status.success());
}

/// A step that runs in 128 MiB alone: the limit is in one of these files.
const LIMITED: &str = "RUN grep -qx 134217728 /sys/fs/cgroup/memory.max || grep -qx 134217728 /sys/fs/cgroup/memory/memory.limit_in_bytes\n";

async fn names_arguments_target_and_labels(docker: Docker) {
    let bench = classic(docker, "c-args");
    // Podman needs a kernel whose version 2 of control groups has the memory.
    let limited = harness::Engine::of(docker).docker(&["info", "--format", "{{.MemoryLimit}}"]) == "true";
    let checked = if limited { LIMITED } else { "" };
    let dockerfile = format!(
        "FROM image-factory-busybox:1 AS one\nARG WHO\nRUN echo \"$WHO\" > /who # {}\n{checked}LABEL own=1\nFROM one AS two\nRUN exit 9\n",
        unique()
    );
    bench.write("docker files/web.dockerfile", dockerfile);
    bench.commit();
    let log = Log::default();
    let images = ["a", "b"].map(|tag| ImageRef::parse(&format!("{}:{tag}", bench.name)).unwrap());
    let limits = if limited { BTreeMap::from([("memory".into(), "134217728".into())]) } else { BTreeMap::new() };
    let request = ImageBuild {
        snapshot: bench.snapshot(&log).await,
        context: b"",
        dockerfile: "docker files/web.dockerfile",
        images: &images,
        target: Some("one"),
        build_args: BTreeMap::from([("WHO".into(), "you & \"me\" é".into())]),
        platform: Some("linux/amd64"),
        labels: BTreeMap::from([("org.example.ä".into(), "a \"b\" & c".into())]),
        build_id: JobId::new().to_string(),
        sync_key: bench.name.clone(),
        cache_namespace: None,
        network: None,
        pull: false,
        no_cache: false,
        cache_from: None,
        inline_cache: false,
        limits,
        bases: vec![],
        logins: Arc::<Secrets>::default().into(),
        pattern_bounds: PatternBounds::default(),
        context_sent: CancellationToken::new(),
    };
    let built = bench.engine.build(request, &log).await.unwrap();
    let engine = harness::Engine::of(docker);
    for image in &images {
        assert_eq!(engine.inspect(&image.to_string(), "{{.Id}}"), built.image_id);
    }
    assert_eq!(engine.run(&images[0].to_string(), &["cat", "/who"]), "you & \"me\" é");
    let mut labels: serde_json::Value =
        serde_json::from_str(&engine.inspect(&built.image_id, "{{json .Config.Labels}}")).unwrap();
    labels.as_object_mut().unwrap().remove("io.buildah.version");
    assert_eq!(labels, serde_json::json!({ "org.example.ä": "a \"b\" & c", "own": "1" }));
    for image in &images {
        bench.engine.remove_image(image).await.unwrap();
    }
}

async fn dockerignore_is_applied(docker: Docker) {
    let bench = classic(docker, "c-ignore");
    bench.write("Dockerfile", ALL);
    bench.write(".dockerignore", "ignored\nDockerfile\n.dockerignore\n**/*.bak\n!keep.bak\ndocs\n!docs/**/a.md\n");
    for path in ["ignored/x", "a.bak", "keep.bak", "d/e/f", "docs/x/a.md", "docs/x/b.md"] {
        bench.write(path, path);
    }
    bench.commit();
    bench.build().await;
    assert_eq!(bench.paths(), ["d", "d/e", "d/e/f", "docs", "docs/x", "docs/x/a.md", "keep.bak"]);
    bench.engine.remove_image(&bench.image()).await.unwrap();
    bench.write("Dockerfile.dockerignore", "**\n!keep.bak\n");
    bench.commit();
    bench.build().await;
    assert_eq!(bench.paths(), ["keep.bak"]);
    bench.write("Dockerfile.dockerignore", "[\n");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert!(error.kind == ErrorKind::Build && error.message.contains("pattern \"[\""), "{error}");
}

async fn a_failing_step_gives_its_exit_code_after_its_output(docker: Docker) {
    let bench = classic(docker, "c-exit");
    let step = format!("RUN seq 1 20000; echo and this >&2; printf 'no end {}'; exit 3", unique());
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\n{step}\n"));
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, Some(3)), "{error}");
    assert!(
        error
            .message
            .starts_with(&format!("step \"[{}] RUN seq", if docker.has(Feature::Buildkit) { "2/4" } else { "2/3" }))
            && error.message.contains("exit code 3"),
        "{error}"
    );
    let text = log.text();
    // The engine puts the two streams together as they come, also within a line.
    let output = text.replace("and this\n", "");
    let numbers: Vec<u32> = output.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=20_000), "{} numbers", numbers.len());
    let others: Vec<_> = text.lines().filter(|line| line.parse::<u32>().is_err()).collect();
    assert!(
        text.contains("Step 1/4 : FROM image-factory-busybox:1\n")
            && text.contains("and this\n")
            && !text.contains('\x1b'),
        "{others:?}"
    );
    assert!(text.contains("no end") && text.ends_with('\n'), "{text}");
    assert!(!bench.exists());
}

async fn failures_are_classed(docker: Docker) {
    let bench = classic(docker, "c-bad");
    for (dockerfile, kind, word) in [
        ("FROM image-factory-busybox:1\nFOO x\n", ErrorKind::Build, "FOO"),
        ("FROM image-factory-busybox:1\nCOPY none /\n", ErrorKind::Build, "none"),
        ("FROM nosuchstage AS\n", ErrorKind::Build, "FROM"),
        ("", ErrorKind::Build, "empty"),
        (
            "FROM image-factory-busybox:1\nRUN --mount=type=cache,target=/x true\n",
            ErrorKind::Build,
            "uses `RUN --mount`, which only BuildKit",
        ),
        (
            "FROM image-factory-busybox:1\nRUN <<EOF\necho\nEOF\n",
            ErrorKind::Build,
            "uses a here-document in `RUN`, which only BuildKit",
        ),
        (
            "# syntax=acme/x\nFROM image-factory-busybox:1\nINCLUDE x\n",
            ErrorKind::Build,
            "uses `# syntax=`, which only BuildKit",
        ),
        ("FROM 127.0.0.1:1/nosuch/image:v1\n", ErrorKind::Registry, "127.0.0.1:1"),
    ] {
        bench.write("Dockerfile", dockerfile);
        bench.commit();
        let error = bench.try_build(&Log::default()).await.unwrap_err();
        assert_eq!((error.kind, error.exit_code), (kind, None), "{error}");
        assert!(error.message.contains(word) && !error.message.contains('\n'), "{error}");
    }
    // The line alone is none.
    bench.write("Dockerfile", "# syntax=docker/dockerfile:1\nFROM image-factory-busybox:1\nENV A=1\n");
    bench.commit();
    bench.build().await;
    bench.remove("Dockerfile");
    bench.write("x", "x");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert!(error.kind == ErrorKind::Build && error.message.contains("Dockerfile"), "{error}");
}

async fn dropping_a_build_ends_its_step_and_container(docker: Docker) {
    let bench = classic(docker, "c-cancel");
    let marker = format!("4{:09}", std::process::id());
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\nRUN sleep {marker}\n"));
    bench.commit();
    let runs = || !harness::processes_of(&format!("sleep {marker}")).is_empty();
    let log = Log::default();
    {
        let build = bench.try_build(&log);
        tokio::select! {
            result = build => panic!("{result:?}\n{}", log.text()),
            () = until("the step", runs) => {}
        }
    }
    let dropped = std::time::Instant::now();
    until("the end of the step", || !runs()).await;
    assert!(dropped.elapsed() < Duration::from_secs(5), "{:?}", dropped.elapsed());
    let containers = || {
        let list = bench.docker(&["ps", "--all", "--no-trunc", "--format", "{{.Command}}"]).output().unwrap();
        String::from_utf8_lossy(&list.stdout).contains(&marker)
    };
    until("the end of the container", || !containers()).await;
    assert!(!bench.exists());
}

async fn credentials_of_a_base_image(docker: Docker) {
    let password = "p?>~ü?>?>~~";
    let registry = Registry::with_password("robot", password).await;
    let address = registry.address();
    let mut bench = classic(docker, "c-auth");
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\nRUN echo {} > /layer\n", unique()));
    bench.commit();
    let log = Log::default();
    let image = ImageRef::parse(&format!("{address}/acme/base:v1")).unwrap();
    let snapshot = bench.snapshot(&log).await;
    bench.build_of(snapshot, &image, "Dockerfile", &log).await.unwrap();
    let right = dockercfg(&address, "robot", password).await;
    bench.engine.push(&image, right.registry_auth(&address).as_ref(), &log).await.unwrap();
    bench.engine.remove_image(&image).await.unwrap();
    bench.write("Dockerfile", format!("FROM {image}\nCOPY . /ctx/\n"));
    bench.commit();
    bench.secrets = dockercfg("another.example", "robot", password).await;
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth, "{error}");
    bench.secrets = right;
    let log = Log::default();
    bench.try_build(&log).await.unwrap();
    assert!(bench.content(&bench.image()) == bench.archive());
    let text = log.text();
    let pulls = match docker.has(Feature::Buildkit) {
        true => vec!["v1: Pulling from acme/base\n".to_owned(), ": Pull complete\n".to_owned()],
        false => vec![format!("Trying to pull {image}...\n")],
    };
    assert!(pulls.iter().all(|line| text.contains(line)), "{text}");
    assert!(!text.contains("Downloading") && !text.contains(password), "{text}");
    bench.engine.remove_image(&image).await.unwrap();
}

async fn an_engine_without_sessions_gets_a_tar(docker: Docker) {
    let (_proxy, host) = instead(docker, "POST /session", answer("404 Not Found", ""));
    let mut bench = Bench::at(docker, "c-tar", host.clone());
    bench.host = harness::Engine::of(docker).host;
    bench.write("Dockerfile", ALL);
    bench.write("d/e", "x");
    bench.commit();
    let log = Log::default();
    assert_eq!(bench.try_build(&log).await.unwrap().sync, None);
    let text = log.text();
    let told = "FileSync cannot be used (the engine answered POST /session with 404 Not Found): the whole tree is sent";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(bench.content(&bench.image()) == bench.archive(), "{:?}", bench.paths());

    bench.engine = Engine::new(host.parse::<Host>().unwrap()).with_builder(Builder::Buildkit);
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Engine, "{error}");
    assert!(error.message.contains("404") && error.message.contains("BUILDER=auto"), "{error}");
}

async fn an_engine_without_buildkit_builds_jobs(docker: Docker) {
    let version = r#"{"Version": "17.12.1-ce", "ApiVersion": "1.35", "Os": "linux"}"#;
    let (_proxy, host) = instead(docker, "GET /version", answer("200 OK", version));
    for (builder, expected) in
        [(Builder::Auto, Some(Builder::Classic)), (Builder::Classic, Some(Builder::Classic)), (Builder::Buildkit, None)]
    {
        let checked = Engine::new(host.parse::<Host>().unwrap()).with_builder(builder).check().await;
        match expected {
            Some(used) => assert_eq!(checked.unwrap().1, used),
            None => assert!(checked.unwrap_err().message.contains("has no BuildKit: use Docker 18.09")),
        }
    }
    let (engine, registry, dir) = (harness::Engine::of(docker), Registry::open().await, folder());
    let repo = Repo::create(&dir.path().join("acme/old.git"));
    repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN echo from the classic builder\n")]);
    let settings = [
        ("GIT_URL", format!("file://{}/{{owner}}/{{repo}}.git", dir.path().display())),
        ("DOCKER_REPO_BASE", format!("{}/totem", registry.address())),
        ("DOCKER_HOST", host.clone()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let daemon = Daemon::start(settings.clone().into()).await;
    let id = daemon.submit(serde_json::json!({"owner": "acme", "repo": "old", "branch": "develop"})).await;
    let job = daemon.wait_success(&id).await;
    assert_eq!(daemon.get("/ready").await["status"], "ready");
    let log = daemon.log(&id).await;
    assert!(log.contains(" : RUN echo from the classic builder\n"), "{log}");
    let tag = job["image"].as_str().unwrap().rsplit_once(':').unwrap().1;
    assert_eq!(registry.manifest("totem/acme-old", tag).await.unwrap().0, job["digest"]);
    assert!(daemon.output().contains("builds by the classic builder"), "{}", daemon.output());
    drop(daemon);

    let mut settings = Settings::from(settings);
    settings.insert("BUILDER".into(), "buildkit".into());
    let daemon = Daemon::start(settings).await;
    eventually(Duration::from_secs(20), "the trouble is shown", async || {
        let ready = daemon.get("/ready").await;
        (ready["status"] == "degraded" && ready.to_string().contains("has no BuildKit")).then_some(())
    })
    .await;
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}
