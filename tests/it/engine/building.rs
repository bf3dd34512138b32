//! Builds that succeed and builds that fail.

use super::*;

on_each_engine!(
    a_dockerfile_elsewhere_and_its_labels,
    a_failing_step_gives_its_exit_code,
    a_bad_dockerfile_is_a_failure_of_its_user,
    a_base_image_of_an_absent_registry,
    the_end_of_a_context_is_told_while_steps_run,
    an_engine_reports_what_it_is,
    a_flood_of_output,
    a_target_and_arguments,
    another_platform,
    an_engine_is_examined,
);

// Podman's steps outlive their client, see `surviving`, and it has no bound for their output.
on_docker!(dropping_a_build_stops_its_step, omitted_output_is_reported);

async fn a_dockerfile_elsewhere_and_its_labels(docker: Docker) {
    let bench = Bench::new(docker, "elsewhere");
    bench.write("docker files/web.dockerfile", ALL);
    bench.write("a", "a");
    bench.commit();
    let log = Log::default();
    let snapshot = bench.snapshot(&log).await;
    let built = bench.build_of(snapshot, &bench.image(), "docker files/web.dockerfile", &log).await.unwrap();
    let labels = bench.docker(&["inspect", "-f", "{{json .Config.Labels}}", &built.image_id]).output().unwrap();
    let mut labels: serde_json::Value = serde_json::from_slice(&labels.stdout).unwrap();
    labels.as_object_mut().unwrap().remove("io.buildah.version");
    assert_eq!(labels, serde_json::json!({ "org.example.ä": "a \"b\" & c", "org.example.bench": bench.name }));
    assert!(built.image_id.starts_with("sha256:"));
}

async fn a_failing_step_gives_its_exit_code(docker: Docker) {
    let bench = Bench::new(docker, "exit");
    bench.write("Dockerfile", "FROM image-factory-busybox:1\nRUN echo before the end; echo and this >&2; exit 3\n");
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, Some(3)), "{error}");
    assert!(
        error.message.contains("exit 3") && error.message.contains(&format!("[{}] RUN", docker.second_step())),
        "{error}"
    );
    let text = log.text();
    assert!(text.contains("before the end\n") && text.contains("and this\n"), "{text}");
    assert_eq!(text.contains("ERROR"), docker.has(Feature::Buildkit), "{text}");
    assert!(!bench.exists());
}

async fn a_bad_dockerfile_is_a_failure_of_its_user(docker: Docker) {
    let bench = Bench::new(docker, "bad");
    for (dockerfile, word) in [
        ("FROM image-factory-busybox:1\nFOO x\n", "FOO"),
        ("FROM image-factory-busybox:1\nCOPY none /\n", "none"),
        ("FROM nosuchstage AS\n", "FROM"),
        ("", "empty"),
    ] {
        bench.write("Dockerfile", dockerfile);
        bench.commit();
        let log = Log::default();
        let error = bench.try_build(&log).await.unwrap_err();
        assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, None), "{error}");
        assert!(error.message.contains(word), "{error}");
        assert!(!error.message.contains('\n'));
    }
    bench.remove("Dockerfile");
    bench.write("x", "x");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains("Dockerfile"), "{error}");
}

async fn a_base_image_of_an_absent_registry(docker: Docker) {
    let bench = Bench::new(docker, "base");
    bench.write("Dockerfile", "FROM 127.0.0.1:1/nosuch/image:v1\n");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Registry, "{error}");
    assert!(error.message.contains("127.0.0.1:1"), "{error}");
}

async fn the_end_of_a_context_is_told_while_steps_run(docker: Docker) {
    for builder in docker.builders() {
        let mut bench = Bench::new(docker, "sent");
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(*builder);
        bench.write("a", "a");
        bench.write("Dockerfile", "FROM image-factory-busybox:1\nCOPY a /a\nRUN sleep 1000; true\n");
        bench.commit();
        let (log, image) = (Log::default(), bench.image());
        let request = bench.request(bench.snapshot(&log).await, &image, "Dockerfile");
        let sent = request.context_sent.clone();
        tokio::select! {
            result = bench.engine.build(request, &log) => panic!("{result:?}\n{}", log.text()),
            () = sent.cancelled() => {}
        }
    }
}

async fn dropping_a_build_stops_its_step(docker: Docker) {
    let bench = Bench::new(docker, "cancel");
    let marker = format!("3{:09}", std::process::id());
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\nRUN sleep {marker}\n"));
    bench.commit();
    let runs = || {
        let pids = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let wanted = format!("sleep\0{marker}\0");
        pids.filter_map(|pid| fs::read(pid.path().join("cmdline")).ok()).any(|line| line == wanted.as_bytes())
    };
    let log = Log::default();
    {
        let build = bench.try_build(&log);
        tokio::select! {
            result = build => panic!("{result:?}\n{}", log.text()),
            () = until("the step", runs) => {}
        }
    }
    until("the end of the step", || !runs()).await;
    assert!(!bench.exists());
    // The next build is right.
    bench.write("Dockerfile", ALL);
    bench.commit();
    bench.build().await;
    assert!(bench.content(&bench.image()) == bench.archive());
}

async fn an_engine_reports_what_it_is(docker: Docker) {
    let info = Bench::new(docker, "info").engine.info().await.unwrap();
    assert_eq!(info.buildkit, docker.has(Feature::Buildkit), "{info:?}");
    assert!(!info.version.is_empty() && info.api_version.contains('.'), "{info:?}");
}

/// An engine for itself, as dockerd starts without settings.
async fn omitted_output_is_reported(docker: Docker) {
    let private = harness::PrivateEngine::start(docker).await;
    let bench = Bench::at(docker, "clipped", private.engine.host.clone());
    bench.write(
        "Dockerfile",
        "FROM image-factory-busybox:1\nRUN yes 'a line of a build that says too much' | head -c 3000000; exit 3\n",
    );
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!(error.exit_code, Some(3));
    let text = log.text();
    assert!(text.len() < 2_900_000, "nothing was left out");
    let told: Vec<_> = text.lines().filter(|line| line.contains("BUILDKIT_STEP_LOG_MAX_SIZE=")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// Docker 20.10 may lose itself in so much; then the build ends, and says so.
async fn a_flood_of_output(docker: Docker) {
    let most = "1073741824";
    let limits = [("BUILDKIT_STEP_LOG_MAX_SIZE", most), ("BUILDKIT_STEP_LOG_MAX_SPEED", most)];
    let private = harness::PrivateEngine::start_with(docker, &limits).await;
    let bench = Bench::at(docker, "flood", private.engine.host.clone());
    bench.write(
        "Dockerfile",
        "FROM image-factory-busybox:1\nRUN yes 'a line of a build that says too much' | head -n 400000\n",
    );
    bench.commit();
    let log = Log::default();
    let result = tokio::time::timeout(Duration::from_secs(60), bench.try_build(&log)).await.expect("no end");
    match (result, docker.has(Feature::Floods)) {
        (Err(e), false) => {
            assert_eq!(e.kind, ErrorKind::Engine, "{e}");
            assert!(e.message.contains("BUILDKIT_STEP_LOG_MAX_SPEED"), "{e}");
        }
        (result, _) => {
            result.unwrap();
            let text = log.text();
            // BuildKit's lines begin with the number of the step and a time.
            let before = if docker.has(Feature::Buildkit) { " " } else { "" };
            let whole = format!("{before}a line of a build that says too much");
            let is_whole = |line: &&str| line.ends_with(&whole);
            let others: Vec<_> = text.lines().filter(|line| !is_whole(line)).collect();
            assert_eq!(text.lines().filter(is_whole).count(), 400_000, "{others:#?}");
            assert!(!text.contains("BUILDKIT_STEP_LOG"));
        }
    }
}

async fn a_target_and_arguments(docker: Docker) {
    let bench = Bench::new(docker, "options");
    let value = "a 'b' \"c\" $d & ü=1\n2";
    bench.write(
        "Dockerfile",
        "FROM image-factory-busybox:1 AS one\nARG VALUE=none\nRUN mkdir /ctx; printf %s \"$VALUE\" > /ctx/value\nFROM one AS two\nRUN exit 1\n",
    );
    bench.commit();
    let log = Log::default();
    let (snapshot, image) = (bench.snapshot(&log).await, bench.image());
    let request = |target: &'static str| {
        let mut request = bench.request(snapshot.clone(), &image, "Dockerfile");
        request.target = Some(target);
        request.build_args.insert("VALUE".into(), value.into());
        request.build_args.insert("NOT_DECLARED".into(), "x".into());
        request
    };
    bench.engine.build(request("one"), &log).await.unwrap();
    assert_eq!(bench.content(&image)[&b"value"[..]].2, value.as_bytes());
    let error = bench.engine.build(request("two"), &log).await.unwrap_err();
    assert_eq!(error.exit_code, Some(1), "{error}");
    let error = bench.engine.build(request("three"), &log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains("three"), "{error}");
}

async fn another_platform(docker: Docker) {
    let bench = Bench::new(docker, "platform");
    // No kernel runs a program for this machine.
    let mut program = *b"\x7fELF\x02\x01\x01_________\x02\x00\xff\xff\x01\x00\x00\x00";
    program[8..16].fill(0);
    bench.write("sh", program);
    fs::set_permissions(bench.work().join("sh"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.write(
        "Dockerfile",
        format!(
            "FROM --platform=$BUILDPLATFORM image-factory-busybox:1 AS build\nARG TARGETARCH\nRUN echo $TARGETARCH {} > /arch\n\
             FROM scratch AS cross\nCOPY --from=build /arch /ctx/\nFROM scratch\nCOPY sh /bin/sh\nRUN true\n",
            harness::unique()
        ),
    );
    bench.commit();
    let log = Log::default();
    let (snapshot, image) = (bench.snapshot(&log).await, bench.image());
    let request = |target| {
        let mut request = bench.request(snapshot.clone(), &image, "Dockerfile");
        (request.platform, request.target) = (Some("linux/arm64"), target);
        request
    };
    // A Dockerfile that only copies needs no program of that platform.
    let built = bench.engine.build(request(Some("cross")), &log).await.unwrap();
    let made = bench.docker(&["inspect", "-f", "{{.Os}}/{{.Architecture}}", &built.image_id]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&made.stdout).trim(), "linux/arm64");
    let error = bench.engine.build(request(None), &log).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains("linux/arm64") && error.message.contains("qemu-user-static"), "{error}");
}

async fn an_engine_is_examined(docker: Docker) {
    let report = Bench::new(docker, "doctor").engine.doctor().await.unwrap();
    if !docker.has(Feature::Buildkit) {
        assert!(!report.buildkit && report.name.starts_with("Podman "), "{report:?}");
        assert!(report.notes[0].starts_with("it has no BuildKit"), "{report:?}");
        // Its steps can be ended from here.
        assert!(!report.notes.iter().any(|note| note.contains("goes on in it")), "{report:?}");
        return;
    }
    assert!(report.buildkit, "{report:?}");
    // None of them is the newest.
    assert!(report.notes.iter().any(|note| note.contains(&report.name) && note.contains("GHSA-")), "{report:?}");
    assert!(report.notes.iter().all(|note| !note.is_empty() && !note.contains('\n')), "{report:?}");
    let leaky = report.notes.iter().any(|note| note.contains("CVE-2024-23651"));
    let major: u32 = report.name.trim_start_matches("Docker Engine ").split('.').next().unwrap().parse().unwrap();
    assert_eq!(leaky, major < 25, "{report:?}");
}
