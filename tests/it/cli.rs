//! The command line, run as a user runs it.

mod finding;

use std::fmt::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Cli, DeployKey, HOOK_SECRET, KeyType, PASSPHRASE, REGISTRY_PASSWORD, Silent, World, dockercfg, eventually, folder,
    masked, unique,
};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn both(output: &Output) -> String {
    out(output) + &String::from_utf8_lossy(&output.stderr)
}

fn succeeds(cli: Cli) -> String {
    let output = cli.run();
    assert!(output.status.success(), "{}: {}", output.status, both(&output));
    out(&output)
}

#[tokio::test]
async fn a_build_can_be_started_followed_and_listed() {
    let world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo a st''ep ran {}\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    world.repo.commit("feature/x", &[]);

    let said = succeeds(world.daemon.cli(&["build", "acme/hello", "--follow"]));
    assert!(said.contains("a step ran") && said.contains("Executing: docker push"), "{said}");
    assert!(!said.contains('\u{1b}'), "escape sequences in a pipe: {said}");
    for commit in [format!("acme/hello@{sha}"), format!("acme/hello:{}", &sha[..8])] {
        succeeds(world.daemon.cli(&["build", &commit, "--branch", "feature/x", "--tag", "mine", "--follow"]));
    }

    let jobs: Value = serde_json::from_str(&succeeds(world.daemon.cli(&["jobs", "--json"]))).unwrap();
    let jobs = jobs.as_array().unwrap();
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job["status"] == "success"));
    assert_eq!(jobs[0]["context"]["tag"], "mine", "the newest is not the first");
    let listed = succeeds(world.daemon.cli(&["jobs"]));
    let id = jobs[2]["id"].as_str().unwrap();
    assert!(listed.contains(id) && listed.contains("acme/hello"), "{listed}");
    assert!(succeeds(world.daemon.cli(&["logs", id])).contains("a step ran"));
    assert!(succeeds(world.daemon.cli(&["logs", "--follow", id])).contains("a step ran"));
}

/// The exit code distinguishes a build that failed, one that was cancelled and a server that is not reached.
#[tokio::test]
async fn exit_codes_name_the_kind_of_failure() {
    let world = World::start().await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN echo it ru''ns; sleep 1000\n")]);
    world.repo.commit("broken", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN exit 3\n")]);
    let failed = world.daemon.cli(&["build", "acme/hello", "--branch", "broken", "--follow"]).run();

    let dir = folder();
    let mut following = world.daemon.cli(&["build", "acme/hello", "--follow"]).spawn(&dir.path().join("log"));
    let limit = Duration::from_secs(60);
    eventually(limit, "the build runs", async || following.output().contains("it runs").then_some(())).await;
    let jobs = world.daemon.get("/job").await;
    let running = jobs.as_array().unwrap().iter().find(|job| job["status"] == "running").unwrap();
    succeeds(world.daemon.cli(&["cancel", running["id"].as_str().unwrap()]));
    let cancelled = following.exit(limit).await;

    let port = Silent::start().port();
    let away = Cli::new(&["jobs"])
        .env("IMAGE_FACTORY_URL", &format!("http://127.0.0.1:{port}"))
        .env("IMAGE_FACTORY_TOKEN", "none")
        .run();
    insta::assert_snapshot!(masked(&both(&away), &[(&port.to_string(), "closed port")]), @"image-factory: http://127.0.0.1:[closed port]/ was not reached: Connection refused (os error 111); is `image-factory serve` running there?");
    let wrong = world.daemon.cli(&["build"]).run();

    let codes = [failed.status.code(), cancelled.code(), away.status.code()].map(Option::unwrap);
    assert!(!codes.contains(&0), "{codes:?}");
    assert!(codes[0] != codes[1] && codes[1] != codes[2] && codes[0] != codes[2], "{codes:?}");
    assert_eq!(wrong.status.code(), Some(2));
    let unknown = world.daemon.cli(&["logs", "0198c0de-0000-7000-8000-000000000000"]).run();
    assert!(!unknown.status.success());
    insta::assert_snapshot!(both(&unknown), @"image-factory: refused (404 ResourceNotFound): Unable to locate job with id: 0198c0de-0000-7000-8000-000000000000");
    let refused = world.daemon.cli(&["jobs"]).env("IMAGE_FACTORY_TOKEN", "a token that nobody has").run();
    assert!(!refused.status.success());
    insta::assert_snapshot!(masked(&both(&refused), &[]), @"image-factory: refused (401 InvalidCredentials): A valid token is needed, as Authorization: Bearer TOKEN or as the password of basic authentication; set IMAGE_FACTORY_TOKEN, or run this as a user who may read DATA_DIR/admin-token");
}

/// On the daemon's own machine the command line needs only DATA_DIR and LISTEN.
#[tokio::test]
async fn the_admin_token_is_read_from_the_data_folder() {
    let world = World::start().await;
    let data = world.daemon.data_dir();
    let here = Cli::new(&["jobs"])
        .env("DATA_DIR", data.to_str().unwrap())
        .env("LISTEN", &format!("127.0.0.1:{}", world.daemon.port()));
    succeeds(here);
}

#[tokio::test]
async fn secrets_put_stores_what_secrets_check_finds() {
    let world = World::start().await;
    let dir = folder();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let secrets = |args: &[&str]| {
        Cli::new(&[&["secrets"], args].concat())
            .env("ETCD_HOST", "127.0.0.1")
            .env("ETCD_PORT", &world.etcd.port().to_string())
            .env("ENC_PASSPHRASE", PASSPHRASE)
            .env("DATA_DIR", &at("data"))
    };
    let plain = DeployKey::generate(KeyType::Ed25519, "");
    std::fs::write(at("key"), &plain.private).unwrap();
    std::fs::write(at("dockercfg"), dockercfg("registry.test", "user", "a secret password")).unwrap();
    std::fs::write(at("authorized"), &plain.public).unwrap();
    succeeds(secrets(&["put", "github-key", "--owner", "acme", "--repo", "hello", &at("key")]));
    succeeds(secrets(&["put", "dockercfg", &at("dockercfg")]));
    succeeds(secrets(&["put", "authorized-keys", &at("authorized")]));

    let stored = world.etcd.get("/totem/image-factory/github-keys/acme/hello").await.unwrap();
    let stored = ssh_key::PrivateKey::from_openssh(&stored).unwrap();
    assert!(stored.is_encrypted());
    let plain_key = ssh_key::PrivateKey::from_openssh(&plain.private).unwrap();
    assert_eq!(stored.decrypt(PASSPHRASE).unwrap().key_data(), plain_key.key_data());
    let stored = world.etcd.get("/totem/image-factory/dockercfg").await.unwrap();
    assert!(stored.starts_with(b"-----BEGIN PGP MESSAGE-----"));
    assert!(world.etcd.get("/totem/ssh/authorized-keys").await.is_some());

    // A login that its registry refuses is not stored, and one of an absent registry is.
    let (address, refused) = (world.registry.address(), dockercfg(&world.registry.address(), "builder", "s3cret"));
    let both_logins =
        refused.replace("{\"auths\":{", "{\"auths\":{\"registry.invalid/org\":{\"auth\":\"dTpw\"},\"a.test\":{},");
    std::fs::write(at("refused"), &both_logins).unwrap();
    let before = world.etcd.get("/totem/image-factory/dockercfg").await;
    let mut lines = String::new();
    for (args, is_stored) in
        [(&["put", "dockercfg", "--no-wait"][..], false), (&["put", "dockercfg", "--no-wait", "--no-check"], true)]
    {
        let output = secrets(&[args, &[&at("refused")]].concat()).run();
        assert_eq!(output.status.success(), is_stored, "{}", both(&output));
        assert_eq!(world.etcd.get("/totem/image-factory/dockercfg").await != before, is_stored);
        let _ = writeln!(lines, "{args:?}\n{}", both(&output));
    }
    let resolver = regex::Regex::new("registry.invalid is not reached: [^;]*").unwrap();
    let lines = resolver.replace_all(&lines, "registry.invalid is not reached: [cause]");
    let names = [(address.as_str(), "registry"), (&world.etcd.port().to_string(), "etcd port")];
    insta::assert_snapshot!("secrets_put_login", masked(&lines, &names));

    // The daemon uses the key that was put.
    world.git.authorize(&[&plain]);
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let config = dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD);
    std::fs::write(at("dockercfg"), config).unwrap();
    succeeds(secrets(&["put", "dockercfg", &at("dockercfg")]));
    eventually(Duration::from_secs(20), "a build with what was put", async || {
        let built = world.daemon.cli(&["build", "acme/hello", "--follow"]).run();
        built.status.success().then_some(())
    })
    .await;

    let said = succeeds(secrets(&["check"]));
    let names = [(world.etcd.port().to_string(), "etcd port"), (world.registry.address(), "registry")];
    let names = names.each_ref().map(|(value, name)| (value.as_str(), *name));
    insta::assert_snapshot!("secrets_check", masked(&said, &names));
    for secret in [REGISTRY_PASSWORD, PASSPHRASE, HOOK_SECRET, "PRIVATE KEY"] {
        assert!(!said.contains(secret), "{secret} is shown: {said}");
    }
    let wrong = secrets(&["check"]).env("ENC_PASSPHRASE", "not the right one").run();
    assert!(!wrong.status.success());
    insta::assert_snapshot!("secrets_check_wrong_passphrase", masked(&both(&wrong), &names));
}

/// `secrets put` and `rm` return when the daemon has the change, and say so if it reads another place.
#[tokio::test]
async fn a_changed_secret_is_in_use_when_the_command_returns() {
    let dir = folder();
    let own = [("CONCURRENCY", "0"), ("DOCKER_HOST", "unix:///nowhere"), ("ENC_PASSPHRASE", PASSPHRASE)];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = crate::harness::Daemon::start(own.into()).await;
    let key = dir.path().join("key").display().to_string();
    let new_key = || std::fs::write(&key, DeployKey::generate(KeyType::Ed25519, "").private).unwrap();
    let secrets = |args: &[&str]| daemon.beside(&[&["secrets"], args].concat());
    let data = daemon.data_dir().display().to_string();
    let names = [(data.as_str(), "data"), (&*daemon.port().to_string(), "port")].map(|(a, b)| (a.to_owned(), b));
    let shown = |output: std::process::Output| {
        let shown = both(&output);
        let shown = names.iter().fold(shown, |text, (value, name)| text.replace(value, &format!("[{name}]")));
        let fingerprint = regex::Regex::new("SHA256:[A-Za-z0-9+/]+").unwrap();
        format!("{:?} {}", output.status.code(), fingerprint.replace_all(&shown, "[fingerprint]"))
    };
    let mut said = String::new();
    // Each value is in use when its command returns, so it is the one that the daemon names.
    for _ in 0..3 {
        new_key();
        let put = secrets(&["put", "github-key", "--owner", "acme", &key]).run();
        assert!(put.status.success(), "{}", both(&put));
        let state = daemon.get("/secrets").await;
        assert_eq!(state["secrets"][0]["valid"], true, "{state}");
        let listed = both(&secrets(&["list"]).run());
        assert!(listed.trim_end().ends_with("in use"), "{listed}");
        said = shown(put);
    }
    let other = dir.path().join("other").display().to_string();
    let elsewhere = secrets(&["put", "github-key", &key]).env("SECRETS_DIR", &other).run();
    said += &shown(elsewhere).replace(&other, "[other folder]");
    let wrong = secrets(&["put", "github-key", &key]).env("ENC_PASSPHRASE", "another passphrase").run();
    said += &shown(wrong);
    for args in [
        &["list"][..],
        &["rm", "image-factory/github-keys/acme"],
        &["rm", "github-key"],
        &["rm", "github-key"],
        &["rm", "host"],
    ] {
        said += &format!("$ {}\n{}", args.join(" "), shown(secrets(args).run()));
    }
    assert_eq!(daemon.get("/secrets").await["secrets"], serde_json::json!([]));
    insta::assert_snapshot!("secrets_in_use", said);
}

/// The project is the one that the small program writes; the program itself is beside this one.
#[test]
fn a_scaffold_has_the_launcher_that_its_image_needs() {
    let dir = folder();
    let programs = dir.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_image-factory"), programs.join("image-factory")).unwrap();
    let scaffold = || {
        Command::new(programs.join("image-factory"))
            .args(["scaffold", "hello"])
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let missing = both(&scaffold());
    assert!(missing.contains("/bin/launcher: No such file") && missing.contains("so install it there."), "{missing}");
    assert!(!dir.path().join("hello_data").exists(), "something is left");
    std::fs::write(programs.join("launcher"), "the program").unwrap();
    let output = scaffold();
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(std::fs::read(dir.path().join("hello/bin/launcher")).unwrap(), b"the program");
    assert!(dir.path().join("hello_data/volume/configuration/pillar.sls").is_file());

    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("srv/projects/hello/project")).unwrap();
    std::fs::create_dir(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/circus.ini"), "[watcher:app]\ncmd = sh -c 'echo runs; exit 7'\nrespawn = False\n")
        .unwrap();
    let launched = Command::new(programs.join("image-factory"))
        .arg("launch")
        .arg(format!("--root={}", root.display()))
        .output()
        .unwrap();
    assert_eq!(
        (launched.status.code(), both(&launched).as_str()),
        (Some(7), "app | runs\nlauncher | app ended with 7\n")
    );
}
