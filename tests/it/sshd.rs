//! The way in by ssh, tried with OpenSSH's own client.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::{
    Authority, BASE, Cli, Daemon, DeployKey, Engine, Etcd, KeyType, Proc, Settings, SshLogin, TlsFront, USER,
    eventually, folder, succeed, unique,
};

const LIMIT: Duration = Duration::from_secs(30);

fn settings<const N: usize>(values: [(&str, &str); N]) -> Settings {
    values.map(|(name, value)| (name.to_string(), value.to_string())).into()
}

/// Starts a daemon with its secrets in a folder, whose authorized keys are these lines.
async fn daemon(lines: &str) -> Daemon {
    let engine = Engine::shared();
    let daemon = Daemon::start(settings([("SSHD", "auto"), ("DOCKER_HOST", &engine.host)])).await;
    store(&daemon.data_dir(), lines);
    daemon
}

fn store(data_dir: &Path, lines: &str) {
    std::fs::create_dir_all(data_dir.join("secrets/ssh")).unwrap();
    std::fs::write(data_dir.join("secrets/ssh/authorized-keys"), lines).unwrap();
}

fn key() -> DeployKey {
    DeployKey::generate(KeyType::Ed25519, "")
}

/// Returns the standard output of a command that succeeded.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the key lets in.
async fn admitted(ssh: &SshLogin, key: &DeployKey) {
    eventually(LIMIT, "the key lets in", async || ssh.run(key, "true").status.success().then_some(())).await;
}

async fn logged(ssh: &SshLogin, text: &str) {
    eventually(LIMIT, &format!("the log has {text:?}"), async || ssh.output().contains(text).then_some(())).await;
}

fn fingerprint(key: &DeployKey) -> String {
    let dir = folder();
    let file = dir.path().join("key.pub");
    std::fs::write(&file, &key.public).unwrap();
    let listed = said(succeed(Command::new("ssh-keygen").args(["-l", "-f"]).arg(file), b""));
    listed.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn who_holds_a_stored_key_reaches_the_engine_and_the_daemon() {
    let (mine, rsa) = (key(), DeployKey::generate(KeyType::Rsa, ""));
    let daemon =
        daemon(&format!("{} of Ann\nagent-forwarding,environment=\"A=B\" {}\n", mine.public, rsa.public)).await;
    let mut ssh = SshLogin::start(&daemon).await;
    admitted(&ssh, &mine).await;
    let container = format!("ssh-{}", unique());
    said(ssh.run(&mine, &format!("docker create --name {container} {BASE} true")));
    assert!(said(ssh.run(&rsa, "docker ps --all")).contains(&container));
    Engine::shared().remove_container(&container);
    assert_eq!(said(ssh.run(&mine, "/mnt/image-factory jobs --json")).trim(), "[]");
    // The sessions have the role build and no token.
    let tokens = ssh.run(&mine, "/mnt/image-factory tokens list");
    assert!(String::from_utf8_lossy(&tokens.stderr).contains("need the role admin"), "{tokens:?}");
    let variables = said(ssh.run(&rsa, "env"));
    assert!(variables.contains("DOCKER_HOST=unix:///mnt/run/docker\n"), "{variables}");
    assert!(!variables.contains("\nA=B\n") && !variables.contains("TOKEN"), "{variables}");
    // A terminal is given.
    assert_eq!(
        said(ssh.client(&mine, &["-tt", "factory@127.0.0.1", "test -t 0 && id -un"]).output().unwrap()).trim(),
        "factory"
    );
    let print = fingerprint(&mine);
    logged(&ssh, &format!("ssh: a session of {print} (deploy@test of Ann) begins")).await;
    logged(&ssh, &format!("ssh: a session of {print} (deploy@test of Ann) has ended")).await;
    logged(&ssh, "the options of the key (deploy@test) are not used").await;
    // The host key stays, because clients remember it.
    let host_key = ssh.host_key();
    ssh.kill9();
    let ssh = SshLogin::start(&daemon).await;
    admitted(&ssh, &mine).await;
    assert_eq!(ssh.host_key(), host_key);
}

/// The daemon shows the engine its certificate, and a session has no certificate. The host key is the operator's.
#[tokio::test]
async fn a_session_reaches_an_engine_that_asks_for_a_certificate() {
    let (engine, mine, authority) = (Engine::shared(), key(), Authority::new());
    let front = TlsFront::start(authority.docker_certs("serverAuth", "IP:127.0.0.1", false).path(), &engine.host);
    let certs = authority.docker_certs("clientAuth", "DNS:client", false);
    let (dir, host_key) = (folder(), key());
    let file = dir.path().join("host-key");
    std::fs::write(&file, &host_key.private).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(settings([
        ("SSHD", "auto"),
        ("SSH_HOST_KEY", file.to_str().unwrap()),
        ("DOCKER_HOST", &format!("tcp://127.0.0.1:{}", front.port)),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", certs.path().to_str().unwrap()),
    ]))
    .await;
    store(&daemon.data_dir(), &mine.public);
    let ssh = SshLogin::start(&daemon).await;
    admitted(&ssh, &mine).await;
    let version = said(ssh.run(&mine, "docker version --format '{{.Server.Version}}'"));
    assert_eq!(version.trim(), engine.docker(&["version", "--format", "{{.Server.Version}}"]));
    let variables = said(ssh.run(&mine, "env"));
    assert!(variables.contains("DOCKER_HOST=unix:///mnt/run/docker\n"), "{variables}");
    assert!(!variables.contains("DOCKER_TLS") && !variables.contains("DOCKER_CERT"), "{variables}");
    assert_eq!(Some(&*ssh.host_key()), host_key.public.split(' ').nth(1));
}

#[tokio::test]
async fn nothing_else_gets_in_or_through() {
    let (mine, other, narrow) = (key(), key(), key());
    let lines = [
        format!("permitopen=\"*:*\",port-forwarding,agent-forwarding {}", mine.public),
        format!("command=\"/usr/local/bin/backup\" {} backup", narrow.public),
        "ssh-mldsa44-ed25519 AAAAE3NzaC1tbGRzYTQ0LWVkMjU1MTkBAgME future".into(),
        format!("cert-authority {} ca", other.public),
    ];
    let daemon = daemon(&lines.join("\n")).await;
    let mut ssh = SshLogin::start(&daemon).await;
    admitted(&ssh, &mine).await;
    for text in [
        "the key (deploy@test backup) is left out, because its command= would not hold",
        "a key of kind ssh-mldsa44-ed25519 (future) is left out",
        "the certificate authority (deploy@test ca) is left out",
    ] {
        logged(&ssh, text).await;
    }
    let refused = |key: &DeployKey, options: &[&str]| {
        let output = ssh.client(key, options).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{options:?}: {output:?}");
        text
    };
    // Other keys, other users, and other ways than a key.
    for (key, user) in [(&other, "factory"), (&narrow, "factory"), (&mine, "root"), (&mine, "nobody")] {
        let text = refused(key, &[&format!("{user}@127.0.0.1"), "true"]);
        assert!(text.contains("Permission denied (publickey)"), "{user}: {text}");
    }
    for way in ["password", "keyboard-interactive", "gssapi-with-mic", "hostbased"] {
        let text = refused(&mine, &["-o", &format!("PreferredAuthentications={way}"), "factory@127.0.0.1", "true"]);
        assert!(text.contains("Permission denied (publickey)"), "{way}: {text}");
    }
    logged(&ssh, "Failed publickey for factory from 127.0.0.1 port").await;
    // Forwarding in both directions; -D opens the same channels as -L.
    let target = format!("127.0.0.1:{}", daemon.port());
    let text = refused(&mine, &["-W", &target, "factory@127.0.0.1"]);
    assert!(text.contains("administratively prohibited"), "{text}");
    for forward in [format!("0:{target}"), format!("/tmp/{}:{target}", unique())] {
        let options = ["-o", "ExitOnForwardFailure=yes", "-R", &forward, "factory@127.0.0.1", "true"];
        let text = refused(&mine, &options);
        assert!(text.contains("remote port forwarding failed"), "{text}");
    }
    let dir = folder();
    let socket = dir.path().join("agent");
    let mut agent = Command::new("ssh-agent");
    let _agent = Proc::spawn("ssh-agent", agent.args(["-D", "-a"]).arg(&socket), &dir.path().join("log"));
    eventually(LIMIT, "the agent listens", async || socket.exists().then_some(())).await;
    let mut with_agent = ssh.client(&mine, &["-A", "-o", "SetEnv=LC_X=1", "factory@127.0.0.1", "env"]);
    let variables = said(with_agent.env("SSH_AUTH_SOCK", &socket).output().unwrap());
    assert!(!variables.contains("SSH_AUTH_SOCK") && !variables.contains("LC_X"), "{variables}");
    // Files go by no protocol of their own.
    let text = refused(&mine, &["-s", "factory@127.0.0.1", "sftp"]);
    assert!(text.contains("subsystem request failed"), "{text}");
    // A machine of tests has no tunnel's device, so sshd says what it takes.
    let config = ssh.config();
    for line in
        ["permittunnel no", "permituserrc no", "permituserenvironment no", "passwordauthentication no", "acceptenv"]
    {
        assert_eq!(config.contains(line), line != "acceptenv", "{line}: {config}");
    }
    // Once the process that feeds sshd has ended, nobody gets in, and no session is left.
    let mut session = ssh.idle(&mine).await;
    ssh.kill9();
    session.exit(LIMIT).await;
    assert!(!ssh.run(&mine, "true").status.success());
}

#[tokio::test]
async fn a_removed_key_ends_its_sessions_and_an_absent_store_ends_none() {
    let (stays, goes) = (key(), key());
    let mut etcd = Etcd::start().await;
    etcd.put("/totem/ssh/authorized-keys", format!("{}\n{}\n", stays.public, goes.public)).await;
    etcd.ask_for_users().await;
    let (host, port) = ("127.0.0.1", etcd.port().to_string());
    let engine = Engine::shared();
    let settings = settings([
        ("SSHD", "auto"),
        ("DOCKER_HOST", &engine.host),
        ("ETCD_HOST", host),
        ("ETCD_PORT", &port),
        ("ETCD_USER", USER.0),
        ("ETCD_PASSWORD", USER.1),
    ]);
    let daemon = Daemon::start(settings).await;
    let ssh = SshLogin::start(&daemon).await;
    admitted(&ssh, &goes).await;
    let (mut staying, mut going) = (ssh.idle(&stays).await, ssh.idle(&goes).await);
    // A connection without a session idles, too.
    let dir = folder();
    let mut bare =
        Proc::spawn("ssh", &mut ssh.client(&goes, &["-v", "-N", "factory@127.0.0.1"]), &dir.path().join("log"));
    let is_in = async || bare.output().contains("Authenticated to").then_some(());
    eventually(LIMIT, "the connection is admitted", is_in).await;
    // A process that left its session has nobody's key.
    said(ssh.run(&goes, "setsid sleep 601 >/dev/null 2>&1 &"));
    etcd.stop();
    logged(&ssh, "the keys that were read last stay in use").await;
    assert!(going.running() && staying.running() && bare.running());
    assert!(ssh.run(&goes, "true").status.success());
    etcd.restart().await;
    etcd.put("/totem/ssh/authorized-keys", format!("{}\n", stays.public)).await;
    assert!(!going.exit(LIMIT).await.success());
    assert!(!bare.exit(LIMIT).await.success());
    logged(&ssh, &format!("ssh: the key {} (deploy@test) was removed: its sessions end", fingerprint(&goes))).await;
    assert!(!ssh.run(&goes, "true").status.success());
    assert!(staying.running());
    assert_eq!(said(ssh.run(&stays, "ps -eo args | grep -c '[s]leep 601' || true")).trim(), "0");
    // A key that comes back lets in again.
    etcd.put("/totem/ssh/authorized-keys", format!("{}\n{}\n", stays.public, goes.public)).await;
    admitted(&ssh, &goes).await;
}

#[tokio::test]
async fn the_start_says_why_the_way_in_stays_closed() {
    let dir = folder();
    let data = ("DATA_DIR", dir.path().to_str().unwrap());
    let off = SshLogin::refused(&settings([data, ("SSHD", "off")]));
    insta::assert_snapshot!(off, @"image-factory: SSHD is off: set SSHD=auto to let the stored authorized keys log in");
    let open = SshLogin::refused(&settings([data, ("SSHD", "auto"), ("ETCD_HOST", "etcd.example.com")]));
    insta::assert_snapshot!(open, @"image-factory: SSHD=auto needs an etcd that asks for credentials, because a stored key reaches the engine: set ETCD_USER and ETCD_PASSWORD, or ETCD_CERT and ETCD_KEY");
    // Without authentication etcd's API v2 reads no login.
    let etcd = Etcd::with_v2().await;
    let port = etcd.port().to_string();
    let ignored = SshLogin::refused(&settings([
        data,
        ("SSHD", "auto"),
        ("ETCD_HOST", "127.0.0.1"),
        ("ETCD_PORT", &port),
        ("ETCD_API", "v2"),
        ("ETCD_USER", USER.0),
        ("ETCD_PASSWORD", USER.1),
    ]));
    let cause = ignored.lines().last().unwrap();
    insta::assert_snapshot!(cause, @"image-factory: SSHD=auto needs an etcd that asks for credentials, and its v2 API lets anybody read: turn on authentication there");
    let unknown = SshLogin::refused(&settings([data, ("SSHD", "auto")]));
    assert!(unknown.contains("there is no user factory: add one"), "{unknown}");
}

/// Where the way in stays closed, the daemon, its check and the doctor say so, too: `image-factory sshd` may never be started.
#[tokio::test]
async fn the_daemon_says_why_the_way_in_stays_closed() {
    let dir = folder();
    let key = dir.path().join("host-key");
    std::fs::write(&key, "no key\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(settings([
        ("SSHD", "auto"),
        ("SSH_HOST_KEY", key.to_str().unwrap()),
        ("DOCKER_HOST", &Engine::shared().host),
    ]))
    .await;
    let fault = format!("SSH_HOST_KEY={} is no private key without a passphrase", key.display());
    let told = async || daemon.output().contains(&format!("nobody gets in by ssh: {fault}")).then_some(());
    eventually(LIMIT, "the daemon says it", told).await;
    let run = async |cli: Cli| tokio::task::spawn_blocking(|| cli.run()).await.unwrap();
    let checked = run(daemon.beside(&["serve", "--check"])).await;
    assert!(checked.status.success() && String::from_utf8_lossy(&checked.stderr).contains(&fault), "{checked:?}");
    let found = String::from_utf8(run(daemon.beside(&["doctor"])).await.stdout).unwrap();
    let line = found.lines().find(|line| line.contains(&fault)).unwrap_or_else(|| panic!("{found}"));
    assert!(line.starts_with("BAD") && line.contains("nobody gets in"), "{line}");

    // Another one is good, and the etcd asks for no credentials.
    std::fs::write(&key, &DeployKey::generate(KeyType::Ed25519, "").private).unwrap();
    let checked = run(daemon.beside(&["serve", "--check"])).await;
    let lack = "there is no user factory: add one, `useradd --home-dir / --password '*' factory`, or name another by \
         `image-factory sshd --user`\n";
    assert_eq!(String::from_utf8_lossy(&checked.stderr), lack);
    assert!(daemon.output().contains(lack.trim()));
    let open = daemon.beside(&["serve", "--check"]).env("ETCD_HOST", "etcd.example.com");
    let checked = String::from_utf8(run(open).await.stderr).unwrap();
    assert!(checked.contains("nobody gets in by ssh: SSHD=auto needs an etcd that asks for credentials"), "{checked}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let checked = String::from_utf8(run(daemon.beside(&["serve", "--check"])).await.stderr).unwrap();
    assert!(checked.contains("can be read by others: change its mode to 0600"), "{checked}");
}
