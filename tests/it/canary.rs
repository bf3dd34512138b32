//! Each secret is tried to be had by every road that somebody might take it on. What the harness does for each daemon,
//! to search all that it wrote, is done here on purpose.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use image_factory::settings::TABLE;
use reqwest::Method;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{
    Canaries, Capture, Daemon, DeployKey, HOOK_SECRET, KeyType, PASSPHRASE, REGISTRY_PASSWORD, Settings, World, folder,
    succeed, unique,
};

/// No setting's value is shown when the start fails, of those that are secret.
#[test]
fn wrong_settings_show_no_secret() {
    for spec in TABLE.iter().filter(|spec| spec.secret) {
        for value in ["canary-tooshort", "canary:admin:https://canary-user:canary-word@", "whsec_canary-no-base64"] {
            let values = [(spec.name, value), ("LISTEN", "nowhere")];
            let settings = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let output = Daemon::fail(&settings, &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("LISTEN"), "{said}");
            assert!(!said.contains("canary"), "{}: {said}", spec.name);
        }
    }
}

/// A private key as somebody might have it in a file, without a passphrase.
fn plain(key: &DeployKey) -> String {
    let dir = folder();
    let file = dir.path().join("key");
    std::fs::write(&file, &key.private).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    succeed(Command::new("ssh-keygen").args(["-q", "-p", "-P", PASSPHRASE, "-N", "", "-f"]).arg(&file), b"");
    std::fs::read_to_string(file).unwrap()
}

/// The command lines and environments of all that the daemon started, seen often. (Before a child becomes its program it
/// has the daemon's own.)
fn watch_children(daemon: i32) -> (Arc<Mutex<BTreeSet<String>>>, AbortOnDropHandle<()>) {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let theirs = seen.clone();
    let watch = tokio::task::spawn(async move {
        let read = |path: std::path::PathBuf| std::fs::read(path).unwrap_or_default();
        let own = read(format!("/proc/{daemon}/environ").into());
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(2)?.parse().ok());
                if parent == Some(daemon) {
                    for file in ["cmdline", "environ"] {
                        let text = read(entry.path().join(file));
                        if text != own {
                            theirs.lock().unwrap().insert(String::from_utf8_lossy(&text).replace('\0', " "));
                        }
                    }
                }
            }
        }
    });
    (seen, AbortOnDropHandle::new(watch))
}

/// A careless repository has the secrets of its jobs in a file and prints them in every way; the daemon logs all that it
/// can.
#[tokio::test]
async fn a_build_that_prints_all_secrets_leaks_none() {
    let capture = Capture::start(&[500]);
    let at = capture.url();
    let signing = format!("whsec_{}", BASE64_STANDARD.encode("canary of the signing key, 32 b."));
    let slack = format!("{at}/T0/B0/canary-of-slack");
    let hook = format!("{at}?token=canary-of-the-hook");
    let mut world = World::start_with(&[
        ("RUST_LOG", "trace"),
        ("HOOK_POST_URL", &hook),
        ("HOOK_SIGNING_KEY", &signing),
        ("API_TOKENS", "ci:build:canary-of-the-api"),
        ("GIT_TOKEN", "me:canary-of-git"),
        ("GITHUB_TOKEN", "canary-of-github"),
        ("GITHUB_API", &at),
        ("HIPCHAT_TOKEN", "canary-of-hipchat"),
        ("HIPCHAT_ROOM", "1"),
        ("HIPCHAT_API", &at),
        ("SLACK_URL", &slack),
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", "1"),
        ("SMTP_TLS", "starttls"),
        ("SMTP_USER", "factory"),
        ("SMTP_PASS", "canary-of-smtp"),
        ("SMTP_FROM", "factory@localhost"),
        ("SMTP_TO", "dev@localhost"),
    ])
    .await;
    let (children, watch) = watch_children(world.daemon.pid());
    // An RSA key is one whose lines are all secret but the first; of an ed25519 key one line is.
    let key = DeployKey::generate(KeyType::Rsa, PASSPHRASE);
    world.git.authorize(&[&world.key, &key]);
    world.etcd.put("/totem/image-factory/github-keys/acme/hello", key.private.as_str()).await;
    crate::harness::eventually(Duration::from_secs(20), "the key is read", async || {
        world.daemon.output().contains("github-keys/acme/hello: loaded").then_some(())
    })
    .await;

    let admin = world.daemon.token();
    let tokens = [
        "canary-of-the-api",
        "canary-of-git",
        "canary-of-github",
        "canary-of-hipchat",
        "T0/B0/canary-of-slack",
        "canary-of-smtp",
        "canary-of-the-hook",
        PASSPHRASE,
        HOOK_SECRET,
        REGISTRY_PASSWORD,
        &signing[6..],
        &admin,
    ];
    let keys = [plain(&world.key), plain(&key)];
    for secret in &tokens {
        world.daemon.guard(&format!("printed: {secret}"), secret.trim_end_matches('='));
    }
    for (key, place) in keys.iter().zip([&[216][..], &[900, 1000, 1200, 1400, 1550]]) {
        // Parts of the secret numbers; before them is what is public, and another number at each export.
        let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
        place.iter().for_each(|&at| world.daemon.guard(&format!("a part of a key at {at}"), &body[at..at + 40]));
    }
    // The other secrets never come near a build.
    let mut secrets = format!("canary-of-git\n{REGISTRY_PASSWORD}\n");
    keys.iter().for_each(|key| secrets += key);
    let url: String = form_urlencoded::byte_serialize(REGISTRY_PASSWORD.as_bytes()).collect();
    let json = serde_json::to_string(&secrets).unwrap();
    let encoded = [BASE64_STANDARD.encode(&secrets), BASE64_URL_SAFE.encode(format!("x{secrets}"))].join("\n");
    let files = [("secrets", secrets.as_str()), ("json", &json), ("encoded", &encoded)];
    let mut commit = files.to_vec();
    let dockerfile = format!(
        "FROM image-factory-busybox:1\nARG TOKEN=canary-of-git\nENV TOKEN=$TOKEN\nCOPY . /all\nWORKDIR /all\n\
         RUN echo {} && cat secrets && cat json && cat encoded && cat secrets >&2 && echo '{url}'\n\
         RUN base64 < secrets && base64 -w 0 < secrets && tr -d '\\n' < secrets | base64\n\
         RUN for w in 7 11 40; do fold -w $w secrets; fold -w $w encoded; done\n\
         RUN sed 's/^/    /' secrets; while read -r line; do echo \"$line\"; done < secrets\n\
         RUN while read -r line; do printf '%s' \"$line\" | cut -c-5 | tr -d '\\n'; printf '%s\\n' \"$line\" | cut -c6-; done < secrets\n\
         RUN echo $TOKEN; : canary-of-git; echo it is do''ne; exit 3 # canary-of-git\n",
        unique()
    );
    commit.push(("Dockerfile", &dockerfile));
    let sha = world.repo.commit("develop", &commit);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_failure(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("it is done"), "{log}");
    // BuildKit's message quotes the step.
    assert!(job["cause"].as_str().unwrap().contains("***"), "{job:#}");

    // The secrets are also sent where the API does not expect them.
    let daemon = &world.daemon;
    for request in [
        daemon.bare_request(Method::GET, "/job?token=canary-of-the-api"),
        daemon.bare_request(Method::GET, "/job").bearer_auth("canary-of-the-api"),
        daemon.bare_request(Method::GET, "/job").basic_auth("canary-of-the-api", Some("canary-of-the-api")),
        daemon.bare_request(Method::GET, &format!("/job/{HOOK_SECRET}")).bearer_auth(&admin),
        daemon.bare_request(Method::POST, "/hooks/github").header("X-Hub-Signature-256", HOOK_SECRET).body("{}"),
        daemon.bare_request(Method::POST, "/hooks/github").header("X-Github-Encoded-Secret", HOOK_SECRET).body("{}"),
        daemon.request(Method::POST, "/job").json(&json!({"owner": "acme", "repo": "hello",
                "build": {"buildArgs": {"TOKEN": "canary-of-the-api"}}})),
    ] {
        let answer = request.send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        let text = headers + &answer.text().await.unwrap();
        assert!(!text.contains("canary-of") && !text.contains(&admin), "{text}");
    }
    // The capture gets at least the hook, and the hook again after its failure.
    capture.wait(2, Duration::from_secs(20)).await;

    // A build that goes well, so that the registry's password is used.
    let good = world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY Dockerfile /\n")]);
    let id = world.daemon.push_event("acme/hello", "develop", &good).await;
    world.daemon.wait_success(&id).await;

    let mut all = Canaries::known();
    tokens.iter().for_each(|secret| all.add(secret, secret.trim_end_matches('=')));
    drop(watch);
    let children = children.lock().unwrap();
    assert!(children.iter().any(|line| line.contains("git")), "{children:?}");
    for line in children.iter() {
        assert!(all.found_in(line.as_bytes()).is_empty(), "{line}");
    }
    for request in capture.requests() {
        let text = String::from_utf8_lossy(&request.body);
        assert!(all.found_in(text.as_bytes()).is_empty(), "{text}");
    }
    // All that was written, its database too, is searched when it ends.
}

/// `doctor` looks at everything, and shows nothing of it.
#[tokio::test]
async fn the_doctor_shows_no_secret() {
    let settings: Settings = [
        ("HOOK_SECRET", HOOK_SECRET),
        ("GIT_TOKEN", "me:canary-of-git"),
        ("HOOK_POST_URL", "http://me:canary-of-the-hook@127.0.0.1:1/x?token=canary-of-the-query"),
        ("API_TOKENS", "ci:build:canary-of-the-api"),
        ("RUST_LOG", "trace"),
        ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let daemon = Daemon::start(settings).await;
    let output = daemon.beside(&["doctor", "--json"]).run();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("post-build") || said.contains("hook"), "{said}");
    for secret in ["canary-of", HOOK_SECRET] {
        assert!(!said.contains(secret) && !daemon.output().contains(secret), "{said}");
    }
}
