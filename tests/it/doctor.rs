//! `image-factory doctor` on a machine in order, and on machines with one fault each.

use std::fmt::Write;
use std::process::{Command, Output};

use axum::http::header::DATE;
use regex::Regex;
use serde_json::Value;

use crate::harness::{
    Account, Capture, Cli, DeployKey, KeyType, PASSPHRASE, Registry, Served, Settings, Silent, World, dockercfg,
    folder, gpg_encrypt, masked, port, start, succeed, unique,
};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn both(output: &Output) -> String {
    out(output) + &String::from_utf8_lossy(&output.stderr)
}

/// Returns the lines that are not ok. Warnings about a full disk of this machine and about known holes of its engine are
/// left out, because they are no business of the test.
fn complaints(output: &Output) -> Vec<String> {
    let ours = |line: &str| line.contains(" GiB (") || line.starts_with("warn engine: ");
    let fine = |line: &&str| line.starts_with("ok   ") || line.starts_with("warn") && ours(line);
    out(output).lines().filter(|line| !fine(line)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_machine_in_order_has_no_complaints() {
    let mut world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {}; sleep 1\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    // Doctor does not disturb a running job.
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

    // Doctor does not need a daemon.
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

/// Changed settings, and further arguments.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// The exit code is 1 if a line is BAD.
#[tokio::test]
async fn each_fault_has_its_complaint() {
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
    let open = format!("0.0.0.0:{}", port());
    let taken = other.url().replace("http://", "").replace("/hook", "");
    let past = async || ([(DATE, "Sat, 01 Jan 2000 00:00:00 GMT")], "");
    let past = Served::start(axum::Router::new().fallback(past));
    let git_past = format!("http://{}/{{owner}}/{{repo}}.git", past.address);
    let (closed_etcd, closed_hook) = (closed.to_string(), format!("http://127.0.0.1:{closed}/a-token"));
    let (nowhere, closed_log) = (format!("127.0.0.1:{closed}/totem"), format!("tcp://127.0.0.1:{closed}"));
    let plain_hook = other.url().replace("http:", "https:");

    let repo = ["--repo", "acme/hello"];
    let rows: &[Row] = &[
        (&[("ENC_PASSPHRASE", "wrong")], &[]),
        (&[("DOCKER_HOSTS", "unix:///no/a.sock,unix:///no/b.sock")], &[]),
        (&[("DISK_FLOOR", "999TiB")], &[]),
        (&[("ETCD_PORT", &closed_etcd)], &repo),
        (&[("DOCKER_HOST", "unix:///nowhere/docker.sock")], &[]),
        (&[("DOCKER_HOST", "tcp://192.0.2.1:2375")], &[]),
        (&[], &["--repo", "acme/nope"]),
        (&[], &["--repo", "acme/hello", "--branch", "nope"]),
        (&[("ALLOW_REPOS", "other/*")], &repo),
        (&[("KNOWN_HOSTS", &wrong_hosts)], &repo),
        (&[("KNOWN_HOSTS", &no_hosts)], &repo),
        (&[("KNOWN_HOSTS", &no_hosts)], &[]),
        (&[("KNOWN_HOSTS", "/nowhere")], &[]),
        (&[("LISTEN", &taken)], &[]),
        (&[("LISTEN", "192.0.2.1:8080")], &[]),
        (&[("LISTEN", &open)], &[]),
        (&[("LISTEN", &open), ("API_AUTH", "none")], &[]),
        (&[("HOOK_SECRET", "")], &[]),
        (&[("HOOK_SECRET", "fifteen letters")], &[]),
        (&[("BRANCHES", "main")], &["--repo", "acme/hello", "--branch", "develop"]),
        (&[("DOCKER_REPO_BASE", "Not/Valid")], &[]),
        (&[("DOCKER_REPO_BASE", &nowhere)], &repo),
        (&[("HOOK_POST_URL", &closed_hook)], &[]),
        (&[("HOOK_POST_URL", &plain_hook)], &[]),
        (&[("HOOK_POST_URL", "http://169.254.169.254/")], &[]),
        (&[("SYSLOG", &closed_log)], &[]),
        (&[("SYSLOG", "unix:///nowhere/log")], &[]),
        (&[("GIT_URL", &git_past)], &[]),
        (&[("CONCURRENCY", "many"), ("LISTEN", "here")], &[]),
        (&[], &["--config", &config]),
        (&[("DATA_DIR", "/proc/nothing")], &[]),
        (&[("DATA_DIR", "/dev/null/data")], &[]),
        (&[("DATA_DIR", "/dev/shm")], &[]),
    ];
    let git_port = world.git.port().to_string();
    let (registry, etcd_port) = (world.registry.address(), world.etcd.port().to_string());
    let names = [
        (closed_etcd.as_str(), "closed port"),
        (taken.as_str(), "taken address"),
        (open.as_str(), "open address"),
        (&past.address.to_string(), "address of the past"),
        (&registry, "registry"),
        (&git_port, "git port"),
        (&etcd_port, "etcd port"),
    ];
    let figures = [
        ("[0-9.]+ (GiB|TiB) [(][0-9]+ %[)]", "[space]"),
        ("[0-9]+ % of the inodes", "[share] of the inodes"),
        ("[0-9]+ s ahead", "[seconds] s ahead"),
        ("its folder /[^ ]+ has", "its folder [engine's folder] has"),
    ]
    .map(|(pattern, replacement)| (Regex::new(pattern).unwrap(), replacement));
    let mut text = String::new();
    for (settings, args) in rows {
        let cli = world.daemon.beside(&[&["doctor"], *args].concat());
        let found = settings.iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run();
        let complaints = complaints(&found);
        assert!(!complaints.is_empty(), "{settings:?} {args:?}: {}", both(&found));
        let is_bad = complaints.iter().any(|line| line.starts_with("BAD"));
        assert_eq!(found.status.code(), Some(i32::from(is_bad)), "{settings:?} {args:?}");
        for secret in ["correct horse", "battery staple", "registry password", "a-token"] {
            assert!(!both(&found).contains(secret), "{secret} is shown: {}", both(&found));
        }
        let settings = settings.iter().map(|(name, value)| format!("{name}={value}"));
        let changed = settings.chain(args.iter().map(|arg| (*arg).to_owned())).collect::<Vec<_>>().join(" ");
        let shown = figures.iter().fold(complaints.join("\n    "), |shown, (pattern, replacement)| {
            pattern.replace_all(&shown, *replacement).into_owned()
        });
        let _ = writeln!(text, "{changed}\n    {shown}");
    }
    insta::assert_snapshot!("complaints", masked(&text.replace("a-token", "[secret]"), &names));
    assert!(other.requests().iter().all(|request| request.uri.path() != "/hook"), "a hook was sent");

    world.git.authorize(&[]);
    let found = world.daemon.beside(&["doctor", "--repo", "acme/hello"]).run();
    insta::assert_snapshot!(masked(&complaints(&found).join("\n"), &names), @"BAD  git: 127.0.0.1:[git port] refuses the deploy key SHA256:[fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE`");
}

/// The certificate of the hook's server must come from a trusted authority and be for the server's name.
#[tokio::test]
async fn the_certificate_of_the_hook_is_checked() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut request = Command::new("openssl");
    request.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    request.args(["-subj", "/CN=hooks", "-addext", "subjectAltName=IP:127.0.0.1"]);
    // rustls refuses an authority's certificate for a server.
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
    let mut lines = String::new();
    let mut add = |case: String, found: &Output| {
        let text = out(found);
        let hooks: Vec<_> = text.lines().filter(|line| line[5..].starts_with("hook: ")).collect();
        let _ = writeln!(lines, "{case}\n    {}", hooks.join("\n    "));
    };
    for (host, trusted) in [("127.0.0.1", true), ("127.0.0.1", false), ("localhost", true)] {
        let cli = Cli::new(&["doctor"]).env("HOOK_POST_URL", &format!("https://{host}:{port}/hook"));
        let cli = cli.env("HOOK_POST_SECRET", "secret").env("DATA_DIR", &at("data"));
        let found = if trusted { cli.env("SSL_CERT_FILE", &at("cert")) } else { cli }.run();
        add(format!("{host}, {}", if trusted { "trusted" } else { "not trusted" }), &found);
    }
    for secrets in [&["HOOK_SECRET"][..], &[]] {
        let cli = Cli::new(&["doctor"]).env("HOOK_POST_URL", &format!("https://127.0.0.1:{port}/hook"));
        let cli = cli.env("SSL_CERT_FILE", &at("cert")).env("DATA_DIR", &at("data"));
        let found = secrets.iter().fold(cli, |cli, name| cli.env(name, "secret")).run();
        add(format!("only {secrets:?}"), &found);
    }
    insta::assert_snapshot!("hook", masked(&lines, &[]));
}

/// Doctor finds out before a push whether the login may push, may only read, or is unknown.
#[tokio::test]
async fn the_right_to_push_is_checked_without_a_push() {
    const PUSHER: Account = Account { user: "pusher", password: "s3cret:push", actions: &["pull", "push", "delete"] };
    const READER: Account = Account { user: "reader", password: "s3cret:read", actions: &["pull"] };
    let (world, registry) = (World::start().await, Registry::with_tokens(&[PUSHER, READER]).await);
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let base = format!("{}/totem", registry.address());
    let mut lines = String::new();
    for (user, password, may_push) in
        [("pusher", PUSHER.password, true), ("reader", READER.password, false), ("pusher", "s3cret:wrong", false)]
    {
        let key = format!("/{user}-{}", password.len());
        world.etcd.put(&format!("{key}/image-factory/github-key"), world.key.private.as_str()).await;
        let config = gpg_encrypt(&dockercfg(&registry.address(), user, password), PASSPHRASE);
        world.etcd.put(&format!("{key}/image-factory/dockercfg"), config).await;
        let cli = world.daemon.beside(&["doctor", "--repo", "acme/hello"]);
        let found = cli.env("ETCD_TOTEM_BASE", &key).env("DOCKER_REPO_BASE", &base).run();
        assert_eq!(found.status.success(), may_push, "{user}: {}", both(&found));
        assert!(!both(&found).contains("s3cret"), "{}", both(&found));
        out(&found).lines().filter(|line| line[5..].starts_with("registry: ")).for_each(|line| {
            let _ = writeln!(lines, "{line}");
        });
    }
    insta::assert_snapshot!(masked(&lines, &[(&registry.address(), "registry")]), @r"
    ok   registry: [registry] takes pushes to totem/acme-hello from pusher, by a token of 127.0.0.1
    BAD  registry: [registry] does not let reader push to totem/acme-hello; give that right to the login in the registry
    BAD  registry: [registry] does not accept the login of pusher in the dockercfg; store a valid login by `image-factory secrets put dockercfg FILE`
    ");
    assert_eq!(registry.calls("PUT", "/"), 0);
    assert_eq!(registry.open_uploads("totem/acme-hello"), 0);
}

#[test]
fn wrong_arguments_have_an_exit_code_of_their_own() {
    for args in [&["--repo", "acme"][..], &["--branch", "x"], &["--repo", "a/b", "--branch", "-x"], &["more"]] {
        let found = Cli::new(&[&["doctor"], args].concat()).run();
        assert_eq!(found.status.code(), Some(2), "{args:?}: {}", both(&found));
    }
}

/// The mounts are made in their own namespace, so that none is left.
#[test]
fn a_data_folder_that_cannot_be_written_is_bad() {
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
