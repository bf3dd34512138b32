//! The options of a build: Dockerfile, target, arguments, platform, and the commit's time.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::harness::{Cli, Docker, Engine, Feature, World, masked, unique};

on_each_engine!(a_build_follows_the_options_of_its_job, a_dockerfile_may_be_a_link_or_in_lower_case);
// Podman makes no image a second time with the same digest.
on_docker!(the_same_commit_makes_the_same_image);

async fn submit(world: &World, request: Value) -> String {
    let mut whole = json!({"owner": "acme", "repo": "hello"});
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    world.daemon.submit(whole).await
}

async fn a_build_follows_the_options_of_its_job(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[("DOCKERFILE", "docker/main")]).await;
    let dockerfile = format!(
        "FROM image-factory-busybox:1 AS base\nARG WHO=nobody\nRUN echo $WHO {} > /who\nFROM base AS a\nCOPY a /file\nFROM base\nCOPY b /file\n",
        unique()
    );
    let files = [
        ("docker/main", dockerfile.as_str()),
        ("web", "FROM image-factory-busybox:1\nCOPY a b /\n"),
        ("a", "one"),
        ("b", "two"),
    ];
    world.repo.commit("develop", &files);
    let image = |tag: &str| format!("{}/totem/acme-hello:{tag}", world.registry.address());

    let id = submit(&world, json!({"tag": "plain"})).await;
    world.daemon.wait_success(&id).await;
    assert!(world.engine.run(&image("plain"), &["cat", "/file", "/who"]).starts_with("twonobody"));

    let build = json!({"target": "a", "buildArgs": {"WHO": "me & you"}, "platform": "linux/amd64"});
    // The same names beside `build` are the caller's own, as in the original.
    let id = submit(&world, json!({"tag": "a", "build": build, "target": "none", "platform": 7})).await;
    let job = world.daemon.wait_success(&id).await;
    let context = &job["context"];
    assert_eq!((&context["build"], &context["target"], &context["platform"]), (&build, &json!("none"), &json!(7)));
    assert!(world.engine.run(&image("a"), &["cat", "/file", "/who"]).starts_with("oneme & you"));
    let log = world.daemon.log(&id).await;
    let command = " -f docker/main --target a --platform linux/amd64 --build-arg WHO ./";
    assert!(log.contains(command), "{log}");

    let id = submit(&world, json!({"tag": "web", "build": {"dockerfile": "./web"}})).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(job["context"]["build"]["dockerfile"], "./web");
    let web = format!("{}/totem/acme-hello/web:web", world.registry.address());
    assert_eq!(job["image"], web);
    assert_eq!(world.engine.run(&web, &["cat", "/a", "/b"]), "onetwo");

    // The engine keeps a context for each target, so a build of one target does not remove the other's.
    world.repo.commit("develop", &[("a", "three")]);
    let id = submit(&world, json!({"tag": "a", "build": {"target": "a", "buildArgs": {"WHO": "me & you"}}})).await;
    world.daemon.wait_success(&id).await;
    let sent = docker.sent(5, &dockerfile);
    let log = world.daemon.log(&id).await;
    assert_eq!(log.contains(&sent), docker.has(Feature::Buildkit), "{sent}: {log}");

    let mut messages = String::new();
    for (request, stage) in [
        (json!({"build": {"dockerfile": "docker/none"}}), "checkout"),
        (json!({"build": {"dockerfile": "docker"}}), "checkout"),
        (json!({"build": {"target": "none"}}), "build"),
    ] {
        let id = submit(&world, request.clone()).await;
        let job = world.daemon.wait_failure(&id).await;
        let message = job["results"][stage]["err"]["message"].as_str().unwrap_or_else(|| panic!("{request}: {job:#}"));
        let _ = writeln!(messages, "{request}\n    {message}");
    }
    insta::assert_snapshot!(format!("wrong_options_{docker:?}"), masked(&messages, &[]));
}

/// A Dockerfile that declares `SOURCE_DATE_EPOCH` has the commit's time, in the image too.
async fn the_same_commit_makes_the_same_image(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch # {}\n",
        unique()
    );
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let image = format!("{}/totem/acme-hello:HEAD", world.registry.address());
    let mut digests = Vec::new();
    for _ in 0..2 {
        let id = submit(&world, json!({})).await;
        digests.push(world.daemon.wait_success(&id).await["digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let epoch = world.engine.run(&image, &["cat", "/epoch"]);
    let epoch: i64 = epoch.parse().unwrap();
    let labels: Value = serde_json::from_str(&world.engine.inspect(&image, "{{json .Config.Labels}}")).unwrap();
    assert_eq!(labels["org.opencontainers.image.revision"], sha);
    let created = time::OffsetDateTime::from_unix_timestamp(epoch).unwrap();
    let shown = labels["org.opencontainers.image.created"].as_str().unwrap().to_owned();
    let format = &time::format_description::well_known::Rfc3339;
    assert_eq!(time::OffsetDateTime::parse(&shown, format).unwrap(), created);
    if docker.has(Feature::SourceDateEpoch) {
        let made = world.engine.inspect(&image, "{{.Created}}");
        assert_eq!(time::OffsetDateTime::parse(&made, format).unwrap(), created);
    }
    // A job may set another time.
    let id = submit(&world, json!({"build": {"buildArgs": {"SOURCE_DATE_EPOCH": "1600000000"}}})).await;
    world.daemon.wait_success(&id).await;
    assert_eq!(world.engine.run(&image, &["cat", "/epoch"]), "1600000000");
}

/// The Dockerfile may be a link in the repository, and its name may be in lower case. A message names any other fault.
async fn a_dockerfile_may_be_a_link_or_in_lower_case(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let repo = &world.repo;
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch # {}\n",
        unique()
    );
    repo.commit("develop", &[("dockerfile", &dockerfile), ("real/main", &dockerfile)]);
    let id = submit(&world, json!({})).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(
        log.contains("There is no Dockerfile: the file is dockerfile\n") && log.contains(" -f dockerfile"),
        "{log}"
    );

    std::os::unix::fs::symlink("real", repo.path("web")).unwrap();
    std::os::unix::fs::symlink("main", repo.path("real/Dockerfile")).unwrap();
    std::os::unix::fs::symlink("/etc/ignore", repo.path(".dockerignore")).unwrap();
    repo.commit("develop", &[]);
    let id = submit(&world, json!({"build": {"dockerfile": "web/Dockerfile"}, "tag": "web"})).await;
    let image = world.daemon.wait_success(&id).await["image"].as_str().unwrap().to_owned();
    assert!(image.ends_with("/totem/acme-hello/web:web"), "{image}");
    // The declaration is read through the link.
    let epoch = repo.git(&["log", "-1", "--format=%ct"]);
    assert_eq!(world.engine.run(&image, &["cat", "/epoch"]), epoch);
    let log = world.daemon.log(&id).await;
    let absent = ".dockerignore counts as absent: the link .dockerignore → /etc/ignore is absolute";
    assert!(log.contains(absent), "{log}");

    std::fs::remove_file(repo.path(".dockerignore")).unwrap();
    for (name, target) in [("out", "../../x"), ("gone", "none"), ("round", "round"), ("dir", "real")] {
        std::os::unix::fs::symlink(target, repo.path(name)).unwrap();
    }
    let head = repo.git(&["rev-parse", "HEAD"]);
    repo.gitlink("sub", &head);
    repo.commit("develop", &[("ignored", &dockerfile), ("ignored.dockerignore/x", "")]);
    let mut messages = String::new();
    for path in ["out", "gone", "round", "dir", "sub", "Dockerfile.web", "ignored"] {
        let id = submit(&world, json!({"build": {"dockerfile": path}})).await;
        let job = world.daemon.wait_failure(&id).await;
        assert_eq!(job["class"], "dockerfile", "{path}: {job:#}");
        let message = job["results"]["checkout"]["err"]["message"].as_str().unwrap();
        let _ = writeln!(messages, "{path}\n    {message}");
    }
    let sha = repo.git(&["rev-parse", "HEAD"]);
    insta::assert_snapshot!("wrong_dockerfiles", masked(&messages, &[(&sha, "sha"), (&sha[..7], "short sha")]));
}

/// A value is refused only if it is a whole secret of 16 characters or more, and the operator hears of it.
#[tokio::test]
async fn a_job_with_a_secret_in_an_argument_is_refused() {
    let world = World::start_with(&[("CONCURRENCY", "0")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let admin = world.daemon.token();
    let ask = async |value: &str| {
        let arguments = json!({"OK": "fine", "TOKEN": value});
        let body = json!({"owner": "acme", "repo": "hello", "build": {"buildArgs": arguments}});
        let answer = world.daemon.request(reqwest::Method::POST, "/job").json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for secret in [crate::harness::REGISTRY_PASSWORD, &admin] {
        let (status, answer) = ask(secret).await;
        assert!(status == 400 && !answer.contains(secret), "{answer}");
        insta::assert_snapshot!("secret_in_an_argument", answer);
    }
    assert_eq!(world.daemon.get("/job").await, json!([]));
    for guess in [&crate::harness::REGISTRY_PASSWORD[..16], &admin[..20]] {
        assert_eq!(ask(guess).await.0, 201, "{guess}");
    }
    let metrics = world.daemon.request(reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nimage_factory_secret_refusals_total 2\n"), "{metrics}");
    let output = world.daemon.output();
    let line = output.lines().find(|line| line.contains("may be a guess")).unwrap();
    assert!(line.contains("secrets in the build arguments TOKEN") && line.contains("admin"), "{line}");
}

/// The job was stored before the value of its argument became a secret.
#[tokio::test]
async fn a_stored_job_fails_if_its_argument_has_become_a_secret() {
    let mut world = World::start_with(&[("CONCURRENCY", "0")]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let id = submit(&world, json!({"build": {"buildArgs": {"TOKEN": "tomorrow's user:passw0rd"}}})).await;
    world.daemon.set("GIT_TOKEN", "tomorrow's user:passw0rd");
    world.daemon.set("CONCURRENCY", "1");
    world.daemon.term(std::time::Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let job = world.daemon.wait_failure(&id).await;
    insta::assert_snapshot!(job["cause"].as_str().unwrap(), @"clone: buildArgs/TOKEN has a secret of this daemon in it, and everyone who has the image could read it there");
}

#[tokio::test]
async fn the_command_line_has_the_options_of_a_build() {
    let world = World::start_with(&[("CONCURRENCY", "0")]).await;
    let run = |args: &[&str]| {
        let cli = Cli::new(&[&["build", "acme/hello", "--json"], args].concat());
        cli.env("IMAGE_FACTORY_URL", &world.daemon.url()).env("IMAGE_FACTORY_TOKEN", &world.daemon.token()).run()
    };
    let options =
        ["--dockerfile", "d/web", "--target", "prod", "--build-arg", "A=1=2", "--build-arg", "B=", "--platform"];
    let made = run(&[&options[..], &["linux/arm64", "--pull", "--no-cache"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let job: Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = job["id"].as_str().unwrap();
    let expected = json!({"dockerfile": "d/web", "target": "prod", "buildArgs": {"A": "1=2", "B": ""},
        "platform": "linux/arm64", "pull": "always", "noCache": true});
    assert_eq!(world.daemon.job(id).await["context"]["build"], expected);

    let mut messages = String::new();
    for (args, code) in [(["--build-arg", "A"], 2), (["--platform", "windows/amd64"], 5), (["--dockerfile", "../x"], 5)]
    {
        let refused = run(&args);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {said}");
        let _ = writeln!(messages, "{args:?}\n{said}");
    }
    insta::assert_snapshot!("refused_arguments", masked(&messages, &[]));
}
