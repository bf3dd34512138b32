//! `image-factory doctor`: on a machine that is well, and for each thing that can be wrong with one.

use std::process::{Command, Output};

use axum::http::header::DATE;
use serde_json::Value;

use crate::harness::{
    Account, Capture, Cli, DeployKey, KeyType, PASSPHRASE, Registry, Served, Settings, Silent, World, dockercfg,
    folder, gpg_encrypt, start, succeed, unique,
};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn both(output: &Output) -> String {
    out(output) + &String::from_utf8_lossy(&output.stderr)
}

/// The lines that are not ok. That a disk of this machine has little room, or its engine known holes, is not the test's
/// business.
fn complaints(output: &Output) -> Vec<String> {
    let ours = |line: &str| line.contains(" GiB (") || line.starts_with("warn engine: ");
    let fine = |line: &&str| line.starts_with("ok   ") || line.starts_with("warn") && ours(line);
    out(output).lines().filter(|line| !fine(line)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_machine_that_is_well() {
    let mut world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {}; sleep 1\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    // A running job is not disturbed.
    let id = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_stage(&id, "build").await;
    let args = ["doctor", "--repo", "acme/hello", "--branch", "develop"];
    let found = world.daemon.beside(&args).run();
    world.daemon.wait_success(&id).await;
    assert!(found.status.success() && found.stderr.is_empty(), "{}", both(&found));
    assert_eq!(complaints(&found), Vec::<String>::new());
    for part in ["daemon: 0.", "Docker Engine", "git version", &sha, world.key.public.split(' ').next().unwrap()] {
        assert!(out(&found).contains(part), "{part} is not in {}", out(&found));
    }
    let order =
        |text: &str| text.lines().map(|line| line[5..].split(':').next().unwrap().to_owned()).collect::<Vec<_>>();
    let with_daemon = order(&out(&found));

    // The doctor needs no daemon.
    world.daemon.term(std::time::Duration::from_secs(10)).await;
    let found = world.daemon.beside(&["doctor"]).run();
    assert!(found.status.success() && complaints(&found).is_empty(), "{}", both(&found));
    assert!(out(&found).contains("none runs here"), "{}", out(&found));
    assert_eq!(order(&out(&found)), with_daemon, "the order is another one");

    let json = world.daemon.beside(&["doctor", "--json"]).run();
    let findings: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    let checks: Vec<_> = findings.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(checks, with_daemon);
    assert!(findings.iter().all(|finding| finding["message"].as_str().is_some_and(|text| !text.is_empty())));
}

/// Settings that are changed, further arguments, and the beginning and some words of the line that they lead to.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str, &'a [&'a str]);

/// BAD lines make it fail.
#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let (dir, other, closed) = (folder(), Capture::start(&[]), Silent::start().port());
    let at = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let stranger = DeployKey::generate(KeyType::Ed25519, "").public;
    let wrong_hosts = at("wrong", &format!("[127.0.0.1]:{} {stranger}\n", world.git.port()));
    let (no_hosts, config) = (at("none", "# nobody\n"), at("config.toml", "concurrencies = 1\n"));
    let taken = other.url().replace("http://", "").replace("/hook", "");
    let past = async || ([(DATE, "Sat, 01 Jan 2000 00:00:00 GMT")], "");
    let past = Served::start(axum::Router::new().fallback(past));
    let git_past = format!("http://{}/{{owner}}/{{repo}}.git", past.address);
    let (closed_etcd, closed_hook) = (closed.to_string(), format!("http://127.0.0.1:{closed}/a-token"));
    let (nowhere, closed_log) = (format!("127.0.0.1:{closed}/totem"), format!("tcp://127.0.0.1:{closed}"));
    let plain_hook = other.url().replace("http:", "https:");

    let repo = ["--repo", "acme/hello"];
    let rows: &[Row] = &[
        (&[("ENC_PASSPHRASE", "wrong")], &[], "BAD  secrets", &["image-factory/github-key", "passphrase"]),
        (&[("DOCKER_HOSTS", "unix:///no/a.sock,unix:///no/b.sock")], &[], "BAD  engine", &["/no/a.sock", "start it"]),
        (&[("DOCKER_HOSTS", "unix:///no/a.sock,unix:///no/b.sock")], &[], "BAD  engine", &["/no/b.sock", "start it"]),
        (&[("DISK_FLOOR", "999TiB")], &[], "BAD  data", &["jobs wait below DISK_FLOOR=", "make room"]),
        (&[("DISK_FLOOR", "999TiB")], &[], "BAD  engine", &["jobs wait below DISK_FLOOR=", "docker system df"]),
        (&[("ENC_PASSPHRASE", "wrong")], &[], "BAD  secrets", &["image-factory/dockercfg"]),
        (&[("ETCD_PORT", &closed_etcd)], &repo, "BAD  secrets", &["etcd", &closed_etcd]),
        (&[("ETCD_PORT", &closed_etcd)], &repo, "warn git", &["acme/hello was not tried"]),
        (&[("DOCKER_HOST", "unix:///nowhere/docker.sock")], &[], "BAD  engine", &["/nowhere/docker.sock", "start it"]),
        (&[("DOCKER_HOST", "tcp://192.0.2.1:2375")], &[], "BAD  settings", &["beyond loopback"]),
        (&[], &["--repo", "acme/nope"], "BAD  git", &["acme/nope", "check"]),
        (&[], &["--repo", "acme/hello", "--branch", "nope"], "BAD  git", &["no branch or tag \"nope\"", "push it"]),
        (&[("KNOWN_HOSTS", &wrong_hosts)], &repo, "BAD  git", &["host key of 127.0.0.1", &wrong_hosts]),
        (&[("KNOWN_HOSTS", &no_hosts)], &repo, "BAD  git", &["is unknown", "ssh-keyscan"]),
        (&[("KNOWN_HOSTS", &no_hosts)], &[], "warn programs", &["no host key in", "ssh-keyscan"]),
        (&[("KNOWN_HOSTS", "/nowhere")], &[], "BAD  settings", &["KNOWN_HOSTS"]),
        (&[("LISTEN", &taken)], &[], "BAD  daemon", &["another program", &taken]),
        (&[("LISTEN", "192.0.2.1:8080")], &[], "BAD  daemon", &["no address of this machine"]),
        (&[("LISTEN", "0.0.0.0:0")], &[], "warn address", &["beyond loopback", "TLS proxy"]),
        (&[("LISTEN", "0.0.0.0:0"), ("API_AUTH", "none")], &[], "warn address", &["everyone"]),
        (&[("HOOK_SECRET", "")], &[], "warn address", &["set HOOK_SECRET"]),
        (&[("DOCKER_REPO_BASE", "Not/Valid")], &[], "BAD  ", &["Not/Valid", "DOCKER_REPO_BASE"]),
        (&[("DOCKER_REPO_BASE", &nowhere)], &repo, "BAD  registry", &[&nowhere[..10], "not reached"]),
        (&[("HOOK_POST_URL", &closed_hook)], &[], "BAD  hook", &["127.0.0.1", "refused", "HOOK_POST_URL"]),
        (&[("HOOK_POST_URL", &plain_hook)], &[], "BAD  hook", &["not reached"]),
        (&[("HOOK_POST_URL", "http://169.254.169.254/")], &[], "BAD  hook", &["169.254.169.254, which is refused"]),
        (&[("SYSLOG", &closed_log)], &[], "BAD  syslog", &[&closed_log, "refused", "SYSLOG"]),
        (&[("SYSLOG", "unix:///nowhere/log")], &[], "BAD  syslog", &["/nowhere/log is not reached"]),
        (&[("GIT_URL", &git_past)], &[], "warn clock", &["s ahead of", "NTP"]),
        (&[("CONCURRENCY", "many"), ("LISTEN", "here")], &[], "BAD  settings", &["CONCURRENCY"]),
        (&[("CONCURRENCY", "many"), ("LISTEN", "here")], &[], "BAD  settings", &["LISTEN"]),
        (&[], &["--config", &config], "BAD  settings", &["concurrencies"]),
        (&[("DATA_DIR", "/proc/nothing")], &[], "BAD  data", &["/proc/nothing", "DATA_DIR"]),
        (&[("DATA_DIR", "/dev/null/data")], &[], "BAD  data", &["/dev/null/data", "DATA_DIR"]),
        (&[("DATA_DIR", "/dev/shm")], &[], "warn data", &["tmpfs", "lost"]),
    ];
    for (settings, args, start, words) in rows {
        let cli = world.daemon.beside(&[&["doctor"], *args].concat());
        let found = settings.iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run();
        let complaints = complaints(&found);
        let line =
            complaints.iter().find(|line| line.starts_with(start) && words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{settings:?} {args:?}: no line {start} with {words:?} in\n{}", both(&found));
        let is_bad = complaints.iter().any(|line| line.starts_with("BAD"));
        assert_eq!(found.status.code(), Some(i32::from(is_bad)), "{settings:?} {args:?}");
        for secret in ["correct horse", "battery staple", "registry password", "a-token"] {
            assert!(!both(&found).contains(secret), "{secret} is shown: {}", both(&found));
        }
    }
    assert!(other.requests().iter().all(|request| request.uri.path() != "/hook"), "a hook was sent");

    world.git.authorize(&[]);
    let found = world.daemon.beside(&["doctor", "--repo", "acme/hello"]).run();
    assert!(complaints(&found)[0].starts_with("BAD  git: 127.0.0.1"), "{}", both(&found));
    assert!(out(&found).contains("refuses the deploy key SHA256:"), "{}", out(&found));
}

/// A hook's server must be trusted, and its certificate be for its name.
#[tokio::test]
async fn the_hook_s_certificate_is_checked() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut request = Command::new("openssl");
    request.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    request.args(["-subj", "/CN=hooks", "-addext", "subjectAltName=IP:127.0.0.1"]);
    // rustls takes no authority for a server.
    request.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &at("key")]);
    succeed(request.args(["-out", &at("cert")]), b"");
    let (_server, [port]) = start(
        "openssl",
        &dir.path().join("log"),
        |[port]| {
            let mut command = Command::new("openssl");
            command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
            command.args(["-cert", &at("cert"), "-key", &at("key")]);
            command
        },
        async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
    )
    .await;
    for (host, trusted, words) in [
        ("127.0.0.1", true, "ok   hook: 127.0.0.1:"),
        ("127.0.0.1", false, "UnknownIssuer"),
        ("localhost", true, "not valid for name"),
    ] {
        let cli = Cli::new(&["doctor"]).env("HOOK_POST_URL", &format!("https://{host}:{port}/hook"));
        let cli = cli.env("HOOK_POST_SECRET", "secret").env("DATA_DIR", &at("data"));
        let found = if trusted { cli.env("SSL_CERT_FILE", &at("cert")) } else { cli }.run();
        assert!(out(&found).contains(words), "{host} {trusted}: {}", both(&found));
    }
    for (secrets, words) in [(&["HOOK_SECRET"][..], "can forge GitHub's webhooks"), (&[], "are not signed")] {
        let cli = Cli::new(&["doctor"]).env("HOOK_POST_URL", &format!("https://127.0.0.1:{port}/hook"));
        let cli = cli.env("SSL_CERT_FILE", &at("cert")).env("DATA_DIR", &at("data"));
        let found = secrets.iter().fold(cli, |cli, name| cli.env(name, "secret")).run();
        let line = format!("warn hook: 127.0.0.1:{port} is reached");
        assert!(out(&found).lines().any(|l| l.starts_with(&line) && l.contains(words)), "{}", both(&found));
    }
}

/// Read before anything is pushed: who may, who may not, and who is not known.
#[tokio::test]
async fn the_right_to_push_is_tried() {
    const PUSHER: Account = Account { user: "pusher", password: "s3cret:push", actions: &["pull", "push", "delete"] };
    const READER: Account = Account { user: "reader", password: "s3cret:read", actions: &["pull"] };
    let (world, registry) = (World::start().await, Registry::with_tokens(&[PUSHER, READER]).await);
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let base = format!("{}/totem", registry.address());
    for (user, password, line) in [
        ("pusher", PUSHER.password, "ok   registry: "),
        ("reader", READER.password, "BAD  registry: "),
        ("pusher", "s3cret:wrong", "BAD  registry: "),
    ] {
        let key = format!("/{user}-{}", password.len());
        world.etcd.put(&format!("{key}/image-factory/github-key"), world.key.private.as_str()).await;
        let config = gpg_encrypt(&dockercfg(&registry.address(), user, password), PASSPHRASE);
        world.etcd.put(&format!("{key}/image-factory/dockercfg"), config).await;
        let cli = world.daemon.beside(&["doctor", "--repo", "acme/hello"]);
        let found = cli.env("ETCD_TOTEM_BASE", &key).env("DOCKER_REPO_BASE", &base).run();
        assert!(out(&found).contains(line), "{user}: {}", both(&found));
        assert_eq!(found.status.success(), line.starts_with("ok"), "{user}: {}", both(&found));
        assert!(!both(&found).contains("s3cret"), "{}", both(&found));
    }
    assert_eq!(registry.calls("PUT", "/"), 0);
    assert_eq!(registry.open_uploads("totem/acme-hello"), 0);
}

#[test]
fn wrong_arguments_are_told_from_findings() {
    for args in [&["--repo", "acme"][..], &["--branch", "x"], &["--repo", "a/b", "--branch", "-x"], &["more"]] {
        let found = Cli::new(&[&["doctor"], args].concat()).run();
        assert_eq!(found.status.code(), Some(2), "{args:?}: {}", both(&found));
    }
}

/// In a namespace of its own, so that nothing stays mounted.
#[test]
fn a_data_folder_without_room() {
    let dir = folder();
    let data = dir.path().display();
    for (mount, words) in [
        (format!("mount -t tmpfs -o size=256k none {data}"), "No space left"),
        (format!("mount -t tmpfs -o ro none {data}"), "Read-only"),
    ] {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!("{mount} && exec {} doctor", env!("CARGO_BIN_EXE_image-factory")));
        let settings = Settings::from([("DATA_DIR".to_owned(), data.to_string())]);
        let found = command.env_clear().env("PATH", std::env::var("PATH").unwrap()).envs(settings).output().unwrap();
        let line = complaints(&found).into_iter().find(|line| line.starts_with("BAD  data"));
        assert!(line.is_some_and(|line| line.contains(words) && line.contains("DATA_DIR")), "{}", both(&found));
        assert_eq!(found.status.code(), Some(1));
    }
}
