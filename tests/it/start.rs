//! The daemon's start, and what stops it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Cli, Daemon, DeployKey, Engine, KeyType, PASSPHRASE, Proc, Registry, Repo, Settings, eventually, folder, masked,
    masked_json, port,
};

fn settings<const N: usize>(values: [(&str, &str); N]) -> Settings {
    values.map(|(name, value)| (name.to_string(), value.to_string())).into()
}

/// Returns the message of a `serve` that does not start.
fn refused(settings: &Settings, args: &[&str]) -> String {
    let output = Daemon::fail(settings, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{settings:?} {args:?} started: {said}");
    said
}

#[test]
fn wrong_settings_stop_the_start() {
    let mut messages = String::new();
    for (name, value) in [
        ("CONCURRENCY", "many"),
        ("LISTEN", "here"),
        ("DRAIN_TIMEOUT", "soon"),
        ("DOCKER_HOST", "tcp://192.0.2.1:2375"),
        ("DOCKERFILE", "../Dockerfile"),
        ("API_AUTH", "perhaps"),
        ("ALLOW_REPOS", "acme/hello,acme/*/x"),
        ("PRIORITIES", "acme/web/=5"),
        ("IMAGES_ALLOWED", "acme/mono=quay.io/acme/site:v1"),
        ("IMAGE_TAGS", "latest@"),
        ("IMAGE_TAGS", "{version}@main"),
        ("BRANCHES", "main,refs/tags/v*"),
        ("GIT_TAGS", "v{"),
        ("LISTEN", "127.0.0.1:0"),
        ("KNOWN_HOSTS", "/nowhere/known_hosts"),
        ("STATS", "statsd://127.0.0.1"),
        ("QUEUE", "sqs://sqs.example.com/builds"),
        ("LOGGER", "cloudwatch://builds"),
        ("BUILDER_IMAGE", "remind101/conveyor-builder:master"),
        ("MEMORY_BUDGET", "1KiB"),
        ("MEMORY_BUDGET", "35MiB"),
        ("REPORTER", "hb://api.honeybadger.io?key=1234"),
    ] {
        messages += &refused(&settings([(name, value)]), &[]);
    }
    messages += &refused(&settings([("CONCURRENCY", "1"), ("WORKERS", "2")]), &[]);
    messages += &refused(&settings([("HOOK_SECRET", "changeit"), ("LISTEN", "0.0.0.0:1")]), &[]);
    messages += &refused(&settings([("SSHD", "auto"), ("SSHD_PORT", "2222"), ("LISTEN", "[::1]:2222")]), &[]);
    messages += &refused(&settings([("SSHD", "auto"), ("LISTEN", "0.0.0.0:22")]), &[]);
    let token = "ci:build:0123456789abcdef";
    messages += &refused(&settings([("API_TOKENS", token), ("BASIC_AUTH", "conveyor:0123456789abcdef")]), &[]);
    // A message names a secret setting and does not show its value.
    let message = refused(&settings([("API_TOKENS", "ci:build:tooshort")]), &[]);
    assert!(!message.contains("tooshort"), "{message}");
    messages += &message;
    // Errors that settings have by themselves, and those that parts of the daemon find, come at once.
    messages += &refused(
        &settings([
            ("DOCKER_HOST", "tcp://192.0.2.1:2375"),
            ("RUST_LOG", "="),
            ("CLONE_TIMEOUT", "0s"),
            ("CONTEXT", "/x"),
        ]),
        &[],
    );
    insta::assert_snapshot!("refused_settings", messages);
}

/// Mistakes that the first job alone would notice, or nobody: the check names them, and a reload does.
#[tokio::test]
async fn what_has_no_effect_is_warned_of() {
    let dir = folder();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "# nobody\n<html>\n").unwrap();
    let mut daemon = Daemon::start(settings([("DOCKER_HOST", "unix:///nowhere/docker.sock")])).await;
    let (env, hosts) = (daemon.data_dir().with_file_name("env"), hosts.display());
    let variables = format!("ALLOW_REPOS=a/*\nKNOWN_HOSTS={hosts}\n# more\nALLOW_REPOS=b/*\n");
    let said = daemon.reload(&variables, "need a restart").await;
    let check = daemon.beside(&["serve", "--check", "--env-file", env.to_str().unwrap()]);
    let checked = tokio::task::spawn_blocking(|| check.run()).await.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let twice = "ALLOW_REPOS is set again, so that line 1 has no effect: keep one of the two lines";
    let other = "is no host key, so that ssh passes over it, and 0 are left in the file: write names, kind and key as \
         ssh-keyscan shows them, or remove the line";
    let expected = [format!("{}:4: {twice}", env.display()), format!("{hosts}:2 {other}")];
    assert_eq!(String::from_utf8(checked.stderr).unwrap().lines().collect::<Vec<_>>(), expected);
    assert!(expected.iter().all(|line| said.contains(line)), "{said}");
}

/// A program that the daemon was starting when it was killed may hold the daemon's port for a moment.
#[tokio::test]
async fn a_port_in_use_is_waited_for() {
    let mut daemon = Daemon::start(settings([("DOCKER_HOST", "unix:///nowhere/docker.sock")])).await;
    daemon.kill9();
    let held = std::net::TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
    daemon.spawn();
    let waits = async || daemon.output().contains("is in use: waiting for it").then_some(());
    eventually(Duration::from_secs(10), "it waits", waits).await;
    drop(held);
    let answers = async || daemon.request(Method::GET, "/ready").send().await.ok();
    assert_eq!(eventually(Duration::from_secs(10), "it answers", answers).await.status(), 200);

    daemon.kill9();
    let _held = std::net::TcpListener::bind(("127.0.0.1", daemon.port())).unwrap();
    daemon.spawn();
    assert!(!daemon.exit(Duration::from_secs(20)).await.success());
    assert!(daemon.output().contains("stop the program that uses it, or set LISTEN"), "{}", daemon.output());

    // An address of the range for documents (RFC 5737) is no machine's.
    daemon.set("LISTEN", "192.0.2.1:8080");
    daemon.spawn();
    assert!(!daemon.exit(Duration::from_secs(20)).await.success());
    assert!(daemon.output().contains("set LISTEN to an address of this machine"), "{}", daemon.output());
}

#[test]
fn settings_can_come_from_a_file() {
    let dir = folder();
    let file = dir.path().join("image-factory.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "CONCURRENCIES = 1\n").unwrap();
    let mut messages = refused(&Settings::new(), &["--config", path]);
    std::fs::write(&file, "CONCURRENCY = \"many\"\n").unwrap();
    messages += &refused(&Settings::new(), &["--config", path]);
    std::fs::write(&file, "INODE_FLOOR = 500\n").unwrap();
    messages += &refused(&Settings::new(), &["--config", path, "--check"]);
    insta::assert_snapshot!("refused_files", masked(&messages, &[]));
    std::fs::write(&file, "CONCURRENCY = 1\n").unwrap();
    let checked = Daemon::fail(&Settings::new(), &["--config", path, "--check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Each subcommand finds the daemon and its secrets by the daemon's files, and passes over errors in what does not
/// concern it.
#[tokio::test]
async fn every_subcommand_reads_the_files_of_the_daemon() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let of_daemon =
        [("CONCURRENCY", "0"), ("DOCKER_HOST", "unix:///nowhere/docker.sock"), ("ENC_PASSPHRASE", PASSPHRASE)];
    let daemon = Daemon::start(settings(of_daemon)).await;
    let file = format!(
        "data_dir = {:?}\nbuild_timeout = \"soon\"\nhook_secret_file = \"/nowhere\"\n",
        daemon.data_dir().display()
    );
    std::fs::write(at("image-factory.toml"), file).unwrap();
    std::fs::write(at("env"), format!("LISTEN=127.0.0.1:{}\nENC_PASSPHRASE='{PASSPHRASE}'\n", daemon.port())).unwrap();
    std::fs::write(at("key"), DeployKey::generate(KeyType::Ed25519, PASSPHRASE).private.as_bytes()).unwrap();
    let run = |args: &[&str]| {
        let files = ["--config", &at("image-factory.toml"), "--env-file", &at("env")];
        let output = Cli::new(&[args, &files].concat()).run();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), masked(&String::from_utf8(text).unwrap(), &[]))
    };
    assert_eq!(run(&["jobs", "--json"]), (true, "[]\n".into()));
    for args in [&["secrets", "put", "github-key", &at("key")][..], &["secrets", "check"]] {
        let (is_done, text) = run(args);
        assert!(is_done, "{args:?}: {text}");
    }
    for args in [&["doctor"][..], &["serve", "--check"]] {
        let (is_done, text) = run(args);
        let both = ["image-factory.toml:2) is not valid", "/nowhere (HOOK_SECRET_FILE, [folder]/image-factory.toml:3)"];
        assert!(!is_done && both.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    }
}

/// The kernel gives the files of a process that may not be dumped to root (proc(5)).
#[tokio::test]
async fn a_daemon_writes_no_core_file_and_is_not_looked_into() {
    const NOBODY: u32 = 65534;
    let dir = folder();
    std::os::unix::fs::chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_image-factory"));
    command.arg("serve").env_clear().env("PATH", std::env::var("PATH").unwrap()).uid(NOBODY).gid(NOBODY);
    command.env("DATA_DIR", dir.path()).env("LISTEN", format!("127.0.0.1:{}", port()));
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let daemon = Proc::spawn("image-factory", &mut command, &dir.path().join("log"));
    let socket = dir.path().join("socket");
    eventually(Duration::from_secs(30), "it listens", async || socket.exists().then_some(())).await;
    let proc = std::path::PathBuf::from(format!("/proc/{}", daemon.pid().as_raw_nonzero()));
    let owner = |path: &std::path::Path| std::fs::metadata(path).unwrap().uid();
    assert_eq!((owner(&socket), owner(&proc.join("mem")), owner(&proc.join("environ"))), (NOBODY, 0, 0));
    let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

/// A copy of the admin's token among those of the settings would be an admin's, whatever role stands there.
#[tokio::test]
async fn the_admins_token_has_no_other_role() {
    let mut daemon = Daemon::start(Settings::new()).await;
    daemon.term(Duration::from_secs(30)).await;
    daemon.set("API_TOKENS", &format!("ci:read:{}", daemon.token()));
    daemon.spawn();
    assert!(!daemon.exit(Duration::from_secs(30)).await.success());
    assert!(daemon.output().contains("API_TOKENS has for ci the token in "), "{}", daemon.output());
}

#[tokio::test]
async fn the_daemon_starts_without_settings() {
    let mut daemon = Daemon::start(Settings::new()).await;
    let said = daemon.output();
    for name in ["ETCD_HOST", "HOOK_SECRET", "ENC_PASSPHRASE", "HOOK_POST_URL"] {
        assert!(said.contains(name), "{name} is not named in\n{said}");
    }
    assert_eq!(daemon.get("/health").await["status"], "alive");
    let mode = std::fs::metadata(daemon.data_dir().join("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = daemon.token();

    assert_eq!(daemon.bare_request(Method::GET, "/job").send().await.unwrap().status(), 401);
    assert_eq!(daemon.get("/job").await, json!([]));
    // A webhook cannot be verified without HOOK_SECRET, so the answer names it.
    let hook = daemon.bare_request(Method::POST, "/hooks/github").header("X-GitHub-Event", "push").body("{}");
    let answer = hook.send().await.unwrap();
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.unwrap();
    insta::assert_snapshot!(format!("{status} {}", masked_json(&answer, &[])), @r#"
    503 {
      "code": "ServiceUnavailableError",
      "message": "Webhooks are not accepted yet: set HOOK_SECRET here, and the same secret in the hook's settings"
    }
    "#);

    daemon.term(Duration::from_secs(10)).await;
    daemon.restart().await;
    assert_eq!(daemon.token(), token, "the token has changed");
}

/// A public repository and an open registry need no secret. The repository is a `file://` one, because the tests reach
/// no public https host.
#[tokio::test]
async fn a_public_repository_is_built_without_secrets() {
    let (engine, registry, dir) = (Engine::shared(), Registry::open().await, folder());
    let repo = Repo::create(&dir.path().join("acme/open.git"));
    repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let daemon = Daemon::start(settings([
        ("GIT_URL", &format!("file://{}/{{owner}}/{{repo}}.git", dir.path().display())),
        ("DOCKER_REPO_BASE", &format!("{}/totem", registry.address())),
        ("DOCKER_HOST", &engine.host),
    ]))
    .await;
    let ready = async || (daemon.get("/ready").await["status"] == "ready").then_some(());
    eventually(Duration::from_secs(10), "the engine was asked", ready).await;
    let id = daemon.submit(json!({"owner": "acme", "repo": "open"})).await;
    let job = daemon.wait_success(&id).await;
    let (digest, _) = registry.manifest("totem/acme-open", "HEAD").await.unwrap();
    assert_eq!(job["digest"], digest);
    engine.remove_images(&format!("reference={}/*/*", registry.address()));
}
