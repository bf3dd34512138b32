//! Settings that are read again by SIGHUP.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{
    Capture, Daemon, Engine, Fault, HttpsHost, Settings, Supervisor, World, eventually, folder, push_payload, unique,
};

const FIRST: &str = "first-token-0123456789";
const SECOND: &str = "second-token-0123456789";
const SECRET: &str = "a-new-secret-of-webhooks";
const DONE: &str = "were read again";
const REFUSED: &str = "the former ones stay in effect";

/// Answers to a request with this token, and to one for a job of `other/repo` by the admin.
async fn answers(daemon: &Daemon, token: &str) -> (StatusCode, StatusCode) {
    let jobs = daemon.bare_request(Method::GET, "/job").bearer_auth(token).send().await.unwrap();
    let job = daemon.request(Method::POST, "/job").json(&json!({"owner": "other", "repo": "repo"}));
    (jobs.status(), job.send().await.unwrap().status())
}

/// A job that runs goes on, and what it ends with goes to the hook that was set meanwhile.
#[tokio::test]
async fn live_settings_change_and_no_job_is_dropped() {
    let capture = Capture::start(&[]);
    let own = [("API_TOKENS", ""), ("HOOK_SECRET", ""), ("PUSH_RETRIES", "1000"), ("PUSH_RETRY_WAIT", "1s")];
    let mut world = World::start_with(&own).await;
    let sha = world.repo.commit(
        "develop",
        &[(
            "Dockerfile",
            "FROM image-factory-busybox:1
",
        )],
    );
    // The job runs until the registry takes its image.
    world.registry.fault(Fault::Manifests { status: 503, times: usize::MAX });
    let running = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_stage(&running, "push").await;
    assert_eq!(answers(&world.daemon, FIRST).await, (StatusCode::UNAUTHORIZED, StatusCode::CREATED));
    let payload = push_payload("acme/hello", "refs/heads/develop", &sha);
    assert_eq!(world.daemon.hook("push", &payload).await.status(), StatusCode::SERVICE_UNAVAILABLE);

    let hook = capture.url();
    let first = format!(
        "API_TOKENS=ci:read:{FIRST}\nHOOK_SECRET={SECRET}\nALLOW_REPOS=acme/*\nPRIORITIES=acme/*=7\nHOOK_POST_URL={hook}\n\
         HOOK_POST_SECRET=short\nBRANCHES=develop\nHOSTS=builds.internal\nCONCURRENCY=5\nDOCKER_REPO_BASE=elsewhere.example.com/x\n"
    );
    let said = world.daemon.reload(&first, "DOCKER_REPO_BASE changed in a file, without effect").await;
    assert!(
        said.contains(
            "again: HOOK_SECRET, ALLOW_REPOS, BRANCHES, PRIORITIES, HOOK_POST_URL, HOOK_POST_SECRET, API_TOKENS, HOSTS changed"
        ),
        "{said}"
    );
    assert!(said.contains("need a restart, which loses no job: CONCURRENCY\n"), "{said}");
    assert!(said.contains("HOOK_POST_SECRET has less than 16 characters"), "{said}");
    assert_eq!(answers(&world.daemon, FIRST).await, (StatusCode::OK, StatusCode::FORBIDDEN));
    world.daemon.set("HOOK_SECRET", SECRET);
    let job = world.daemon.push_event("acme/hello", "develop", &sha).await;
    assert_eq!(world.daemon.job(&job).await["priority"], 7);
    // A password that a browser may add counts for a known name alone.
    let cancel = |host: &'static str| {
        let request = world.daemon.bare_request(Method::POST, &format!("/job/{running}/cancel"));
        request.basic_auth("me", Some(FIRST)).header("Host", host).send()
    };
    assert!(cancel("elsewhere.example.com").await.unwrap().text().await.unwrap().contains("is not known here"));
    assert!(!cancel("builds.internal").await.unwrap().text().await.unwrap().contains("is not known here"));
    let wip = world.daemon.hook("push", &push_payload("acme/hello", "refs/heads/wip", &sha)).await;
    assert_eq!(wip.status(), StatusCode::NO_CONTENT);
    world.registry.fault(Fault::None);
    world.daemon.wait_success(&running).await;
    let about =
        async || capture.requests().into_iter().find(|sent| String::from_utf8_lossy(&sent.body).contains(&running));
    let sent = eventually(Duration::from_secs(20), "the hook arrives", about).await;
    assert!(sent.headers.contains_key("x-hook-signature"), "{sent:?}");

    // A file with a fault changes nothing.
    let broken = format!("API_TOKENS=ci:read:{SECOND}\nALLOW_REPOS=a[\n");
    let said = world.daemon.reload(&broken, REFUSED).await;
    assert!(said.contains("ALLOW_REPOS=\"a[\" (") && said.contains("/env:2) is not valid"), "{said}");
    assert_eq!(answers(&world.daemon, FIRST).await, (StatusCode::OK, StatusCode::FORBIDDEN));
    let said = world.daemon.reload("ALLOW_REPOS acme/*\n", REFUSED).await;
    assert!(said.contains("/env:1: this line has no ="), "{said}");
    assert_eq!(answers(&world.daemon, FIRST).await, (StatusCode::OK, StatusCode::FORBIDDEN));
    std::fs::write(world.daemon.data_dir().join("admin-token"), "another-admin-token-0123456789").unwrap();
    let said = world.daemon.reload(&broken.replace("a[", "*"), DONE).await;
    assert!(said.contains("API_TOKENS, HOSTS, DATA_DIR/admin-token changed"), "{said}");
    assert_eq!(answers(&world.daemon, FIRST).await, (StatusCode::UNAUTHORIZED, StatusCode::CREATED));
    assert_eq!(answers(&world.daemon, SECOND).await.0, StatusCode::OK);
}

/// A token is revoked although what needs a restart is broken: a file that a setting names, and a setting's own text.
#[tokio::test]
async fn a_fault_that_needs_a_restart_holds_up_nothing() {
    let dir = folder();
    let hosts = dir.path().join("known_hosts");
    std::fs::write(&hosts, "").unwrap();
    let own = [
        ("API_TOKENS", String::new()),
        ("KNOWN_HOSTS", hosts.to_str().unwrap().to_owned()),
        ("CONCURRENCY", "0".into()),
        ("DOCKER_HOST", "unix:///nowhere/docker.sock".into()),
    ];
    let mut daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value)).into()).await;
    let status = async |daemon: &Daemon| {
        daemon.bare_request(Method::GET, "/job").bearer_auth(FIRST).send().await.unwrap().status()
    };
    daemon.reload(&format!("API_TOKENS=ci:read:{FIRST}\n"), DONE).await;
    assert_eq!(status(&daemon).await, StatusCode::OK);
    std::fs::remove_file(&hosts).unwrap();
    // Live settings are taken together, also with the files that they name.
    let cacert = format!("API_TOKENS=ci:read:{SECOND}\nGIT_CACERT={}\n", hosts.display());
    let said = daemon.reload(&cacert, REFUSED).await;
    assert!(said.contains("GIT_CACERT"), "{said}");
    assert_eq!(status(&daemon).await, StatusCode::OK);
    let said = daemon.reload(&format!("API_TOKENS=ci:read:{SECOND}\nBUILD_TIMEOUT=soon\n"), DONE).await;
    for fault in ["BUILD_TIMEOUT=\"soon\" (", "known_hosts\" cannot be read"] {
        let line = said.lines().find(|line| line.contains(fault)).unwrap_or_else(|| panic!("{fault}: {said}"));
        assert!(line.contains("the next start would fail"), "{line}");
    }
    assert_eq!(status(&daemon).await, StatusCode::UNAUTHORIZED);
}

/// A token is revoked although a live setting contradicts one that needs a restart: in the files, or with what is in effect.
#[tokio::test]
async fn a_contradiction_with_a_restart_holds_up_its_own_setting_alone() {
    let own =
        [("API_TOKENS", ""), ("HOOK_SECRET", ""), ("CONCURRENCY", "0"), ("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let mut daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await;
    let status = async |daemon: &Daemon, token: &str| {
        daemon.bare_request(Method::GET, "/job").bearer_auth(token).send().await.unwrap().status()
    };
    daemon.reload(&format!("API_TOKENS=ci:read:{FIRST}\nHOOK_SECRET={SECRET}\n"), DONE).await;
    assert_eq!(status(&daemon, FIRST).await, StatusCode::OK);
    // Both are in the files, and the next start would fail.
    let text = format!("API_TOKENS=ci:read:{SECOND}\nHOOK_SECRET=\nBASIC_AUTH=me:{FIRST}\nAPI_AUTH=none\n");
    let said = daemon.reload(&text, DONE).await;
    let left = "this reload leaves BASIC_AUTH as before, but the next start would fail";
    assert!(said.contains(left) && said.contains("again: HOOK_SECRET, API_TOKENS changed"), "{said}");
    assert_eq!(status(&daemon, FIRST).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&daemon, SECOND).await, StatusCode::OK);
    let said = daemon.reload(&text.replace("API_AUTH=none", ""), DONE).await;
    assert!(said.contains("again: BASIC_AUTH changed"), "{said}");

    // The files agree, and what is in effect does not.
    daemon.reload("API_AUTH=none\n", DONE).await;
    daemon.term(Duration::from_secs(30)).await;
    daemon.restart().await;
    let said = daemon.reload(&text.replace("API_AUTH=none", ""), DONE).await;
    assert!(said.contains("this reload leaves BASIC_AUTH as before: restart"), "{said}");
    assert!(said.contains("again: API_TOKENS changed"), "{said}");
}

/// The certificates of GIT_CACERT and the token of a file are taken from the next fetch on, and the new token is masked.
#[tokio::test]
async fn certificates_and_secret_files_are_read_again() {
    let (host, other) = (HttpsHost::start(), HttpsHost::start());
    let dir = folder();
    let (cacert, token) = (dir.path().join("ca.pem"), dir.path().join("token"));
    std::fs::copy(other.authority(), &cacert).unwrap();
    std::fs::write(&token, "ghp_9876543210\n").unwrap();
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo ghp_0123456789 # {}\n", unique());
    host.repo("acme", "hello").commit("develop", &[("Dockerfile", &dockerfile)]);
    host.require("Basic eC1hY2Nlc3MtdG9rZW46Z2hwXzAxMjM0NTY3ODk=");
    let settings = [
        ("GIT_URL", host.url()),
        ("GIT_CACERT", cacert.display().to_string()),
        ("GIT_TOKEN_FILE", token.display().to_string()),
        ("DOCKER_REPO_BASE", "127.0.0.1:1/totem".into()),
        ("DOCKER_HOST", Engine::shared().host),
    ];
    let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
    let mut daemon = Daemon::start(settings).await;
    let clones = async |daemon: &Daemon| {
        let id = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        let job = daemon.wait_for(&id, Duration::from_secs(60), |job| {
            let is_tried_again = job["status"] == "pending" && job["attempt"] != 0;
            is_tried_again || matches!(job["results"]["clone"]["status"].as_str(), Some("success" | "failure"))
        });
        (job.await["results"]["clone"]["status"] == "success", id)
    };
    assert!(!clones(&daemon).await.0, "the server's authority is unknown");
    std::fs::copy(host.authority(), &cacert).unwrap();
    daemon.reload("", DONE).await;
    assert!(!clones(&daemon).await.0, "the token is another one");
    std::fs::write(&token, "ghp_0123456789\n").unwrap();
    let said = daemon.reload("", DONE).await;
    assert!(said.contains("again: GIT_TOKEN changed"), "{said}");
    let (is_cloned, id) = clones(&daemon).await;
    assert!(is_cloned, "{}", daemon.log(&id).await);
    assert!(daemon.wait_log(&id, "echo ***").await.contains("echo ***"));
}

/// systemd waits for READY after RELOADING.
#[tokio::test]
async fn systemd_sees_a_reload() {
    let supervisor = Supervisor::start();
    let own = [
        ("NOTIFY_SOCKET", supervisor.path().to_str().unwrap().to_owned()),
        ("CONCURRENCY", "0".into()),
        ("DOCKER_HOST", "unix:///nowhere/docker.sock".into()),
    ];
    let mut daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value)).into()).await;
    daemon.reload("SUPERSEDE=soon", REFUSED).await;
    let ready = async || (supervisor.count("READY=1") == 2).then_some(());
    eventually(Duration::from_secs(10), "it is ready again", ready).await;
    let states: Vec<_> = supervisor.heard().into_iter().map(|(_, line)| line).collect();
    let place = |wanted: &str| states.iter().rposition(|line| line == wanted).unwrap();
    assert!(place("RELOADING=1") < place("READY=1"), "{states:?}");
    assert!(states.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{states:?}");
}
