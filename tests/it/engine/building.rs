//! How builds end, well and badly.

use super::*;

#[tokio::test]
async fn a_dockerfile_elsewhere_and_its_labels() {
    let bench = Bench::new("elsewhere");
    bench.write("docker files/web.dockerfile", ALL);
    bench.write("a", "a");
    bench.commit();
    let log = Log::default();
    let snapshot = bench.snapshot(&log).await;
    let built = bench.build_of(snapshot, &bench.image(), "docker files/web.dockerfile", &log).await.unwrap();
    let labels = bench.docker(&["inspect", "-f", "{{json .Config.Labels}}", &built.image_id]).output().unwrap();
    let labels: serde_json::Value = serde_json::from_slice(&labels.stdout).unwrap();
    assert_eq!(labels, serde_json::json!({ "org.example.ä": "a \"b\" & c" }));
    assert!(built.image_id.starts_with("sha256:"));
}

#[tokio::test]
async fn a_failing_step_gives_its_exit_code() {
    let bench = Bench::new("exit");
    bench.write("Dockerfile", "FROM busybox\nRUN echo before the end; echo and this >&2; exit 3\n");
    bench.commit();
    let log = Log::default();
    let error = bench.try_build(&log).await.unwrap_err();
    assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, Some(3)), "{error}");
    assert!(error.message.contains("exit 3") && error.message.contains("[2/2] RUN"), "{error}");
    let text = log.text();
    assert!(text.contains("before the end\n") && text.contains("and this\n") && text.contains("ERROR"), "{text}");
    assert!(!bench.exists());
}

#[tokio::test]
async fn bad_dockerfiles_are_the_users() {
    let bench = Bench::new("bad");
    for (dockerfile, word) in [
        ("FROM busybox\nFOO x\n", "FOO"),
        ("FROM busybox\nCOPY none /\n", "none"),
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

#[tokio::test]
async fn a_base_image_of_an_absent_registry() {
    let bench = Bench::new("base");
    bench.write("Dockerfile", "FROM 127.0.0.1:1/nosuch/image:v1\n");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Registry, "{error}");
    assert!(error.message.contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn dropping_a_build_stops_its_step() {
    let bench = Bench::new("cancel");
    let marker = format!("3{:09}", std::process::id());
    bench.write("Dockerfile", format!("FROM busybox\nRUN sleep {marker}\n"));
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
    // And the next build is right.
    bench.write("Dockerfile", ALL);
    bench.commit();
    bench.build().await;
    assert!(bench.content(&bench.image()) == bench.archive());
}

#[tokio::test]
async fn an_engine_tells_what_it_is() {
    let info = Bench::new("info").engine.info().await.unwrap();
    assert!(info.buildkit && !info.version.is_empty() && info.api_version.contains('.'), "{info:?}");
}
