//! The part of a repository that a job builds from: a folder, with `.git` or without.

use serde_json::{Value, json};

use crate::harness::{Cli, Docker, Engine, World, unique};

on_each_engine!(a_job_has_a_folder_as_its_context, a_job_has_git_dir);

const FROM: &str = "FROM image-factory-busybox:1";

async fn submit(world: &World, tag: &str, build: Value) -> String {
    world.daemon.submit(json!({"owner": "acme", "repo": "hello", "tag": tag, "build": build})).await
}

/// A job that succeeds with these options and this tag; its log.
async fn succeeds(world: &World, tag: &str, build: Value) -> String {
    let id = submit(world, tag, build).await;
    world.daemon.wait_success(&id).await;
    world.daemon.log(&id).await
}

async fn a_job_has_a_folder_as_its_context(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("CONTEXT", "app")]).await;
    let dockerfile = |of: &str| format!("{FROM}\nCOPY . /ctx\nRUN test {of} != {}\n", unique());
    let (app, api, root, web) = (dockerfile("app"), dockerfile("api"), dockerfile("root"), dockerfile("web"));
    std::os::unix::fs::symlink("services/api", world.repo.path("link")).unwrap();
    std::os::unix::fs::symlink("../..", world.repo.path("out")).unwrap();
    let files = [
        ("app/Dockerfile", app.as_str()),
        ("app/name", "app"),
        ("services/api/Dockerfile", &api),
        ("services/api/name", "api"),
        ("Dockerfile", &root),
        ("docker/web", &web),
        ("file", ""),
    ];
    world.repo.commit("develop", &files);
    for (at, (request, commands, name)) in [
        (json!({}), ["./app"].as_slice(), "app"),
        (json!({"context": "services/api"}), &["./services/api"], "api"),
        (json!({"context": "./link/"}), &["./link"], "api"),
        (json!({"context": "services/api", "dockerfile": "docker/web"}), &["-f docker/web", "./services/api"], "api"),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("t{at}");
        let id = submit(&world, &tag, request.clone()).await;
        let job = world.daemon.wait_success(&id).await;
        let image = job["image"].as_str().unwrap();
        assert_eq!(world.engine.run(image, &["cat", "/ctx/name"]), name, "{request}");
        let log = world.daemon.log(&id).await;
        let command = log.lines().find(|line| line.starts_with("Executing: docker build")).unwrap();
        assert!(commands.iter().all(|part| command.contains(part)), "{request}: {command}");
        assert_eq!(command.contains(" -f "), commands.len() > 1, "{request}: {command}");
    }
    let log = succeeds(&world, "root", json!({"context": "."})).await;
    assert!(log.contains(" ./\n"), "{log}");

    for (context, words) in
        [("services/none", ": it is not there;"), ("file", ": it is a file;"), ("out", ": the link out → ")]
    {
        let id = submit(&world, "none", json!({"context": context, "dockerfile": "Dockerfile"})).await;
        let job = world.daemon.wait_failure(&id).await;
        assert_eq!(job["class"], "dockerfile");
        let cause = job["cause"].as_str().unwrap();
        assert!(cause.contains(words) && cause.contains("setting CONTEXT"), "{cause}");
    }
}

async fn a_job_has_git_dir(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let dockerfile = format!("{FROM}\nCOPY . /ctx\nRUN test -e /ctx/.git/HEAD || echo it has no Git {}\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("sub/Dockerfile", &dockerfile)]);
    world.repo.tag("v1");
    let sha = world.repo.commit("develop", &[("a", "1")]);
    let image = |tag: &str| format!("{}/totem/acme-hello:{tag}", world.registry.address());
    let head = |tag: &str| world.engine.run(&image(tag), &["sh", "-c", "cat /ctx/.git/HEAD 2>/dev/null || echo none"]);

    let log = succeeds(&world, "plain", json!({})).await;
    assert!(!log.contains(".git:"), "{log}");
    assert_eq!(head("plain"), "none");
    for (tag, request) in [
        ("option", json!({"keepGitDir": true})),
        ("argument", json!({"buildArgs": {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}})),
    ] {
        let log = succeeds(&world, tag, request).await;
        assert!(log.contains(".git: 2 commits, 1 tags, "), "{log}");
        assert_eq!(head(tag), sha, "{tag}");
    }
    let packed = world.engine.run(&image("option"), &["cat", "/ctx/.git/packed-refs"]);
    assert!(
        packed.contains(" refs/tags/v1\n") && packed.contains(&format!("^{}", world.repo.git(&["rev-parse", "v1^{}"])))
    );
    let log =
        succeeds(&world, "no", json!({"keepGitDir": false, "buildArgs": {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}})).await;
    assert!(!log.contains(".git:"), "{log}");
    let log = succeeds(&world, "sub", json!({"keepGitDir": true, "context": "sub"})).await;
    assert!(log.contains(".git is left out, because the context is a folder"), "{log}");
    // The job leaves no files on the disk.
    let run = world.daemon.data_dir().join("run");
    let left = || {
        std::fs::read_dir(&run)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("gitdir-"))
            .count()
    };
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn the_command_line_sets_the_context() {
    let world = World::start_with(&[("CONCURRENCY", "0"), ("KEEP_GIT_DIR", "1")]).await;
    let run = |args: &[&str]| {
        let cli = Cli::new(&[&["build", "acme/hello", "--json"], args].concat());
        cli.env("IMAGE_FACTORY_URL", &world.daemon.url()).env("IMAGE_FACTORY_TOKEN", &world.daemon.token()).run()
    };
    for (args, context, keeps) in [
        (["--context", "services/api", "--keep-git-dir"], json!("services/api"), json!(true)),
        (["--context", ".", "--keep-git-dir=false"], json!("."), json!(false)),
    ] {
        let made = run(&args);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let job: Value = serde_json::from_slice(&made.stdout).unwrap();
        let stored = &world.daemon.job(job["id"].as_str().unwrap()).await["context"]["build"];
        assert_eq!((&stored["context"], &stored["keepGitDir"]), (&context, &keeps));
    }
    let refused = run(&["--context", "../x"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("context is not valid"), "{said}");
}
