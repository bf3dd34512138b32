use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::{Cli, Daemon, DeployKey, Proc, Settings, folder, start, succeed};

/// Prepares what a container has and a test's machine has not: a folder that only root can write to, with the program, and
/// the user of the sessions. Processes outside of the namespace are neither seen nor killed by uid.
const NAMESPACE: &str = "set -e
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/run
touch /mnt/image-factory
mount --bind \"$BINARY\" /mnt/image-factory
(cat /etc/passwd; echo 'factory:*:64321:64321::/:/bin/sh') > /mnt/passwd
mount --bind /mnt/passwd /etc/passwd
exec /mnt/image-factory sshd --run-dir /mnt/run";

/// OpenSSH's client, with what it knows of one server's host key.
pub struct SshClient {
    /// Command that gives the client another network.
    network: Vec<String>,
    port: u16,
    dir: TempDir,
}

impl SshClient {
    pub fn new(network: Vec<String>, port: u16) -> Self {
        Self { network, port, dir: folder() }
    }

    /// Returns a client with this key and further options of ssh, before the user and the command are named.
    pub fn client(&self, key: &DeployKey, options: &[&str]) -> Command {
        let file = self.dir.path().join(format!("key-{}", super::unique()));
        std::fs::write(&file, &key.private).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let words: Vec<_> = self.network.iter().map(String::as_str).chain(["ssh"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=INFO"]);
        command.args(["-o", "StrictHostKeyChecking=accept-new", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", self.known_hosts().display()));
        command.arg("-i").arg(file).args(["-p", &self.port.to_string()]).args(options);
        command.env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Runs a command in a session to its end.
    pub fn run(&self, key: &DeployKey, command: &str) -> Output {
        self.client(key, &["factory@127.0.0.1", command]).output().unwrap()
    }

    /// Starts a session that idles, and returns when its shell runs.
    pub async fn idle(&self, key: &DeployKey) -> Proc {
        let log = self.dir.path().join(format!("session-{}", super::unique()));
        let session = Proc::spawn("ssh", &mut self.client(key, &["factory@127.0.0.1", "echo ready; sleep 600"]), &log);
        let is_ready = async || session.output().contains("ready").then_some(());
        super::eventually(std::time::Duration::from_secs(20), "the session begins", is_ready).await;
        session
    }

    /// Returns the host key that the clients saw, without its kind.
    pub fn host_key(&self) -> String {
        let known = std::fs::read_to_string(self.known_hosts()).unwrap();
        known.split_whitespace().nth(2).unwrap().to_owned()
    }

    fn known_hosts(&self) -> PathBuf {
        self.dir.path().join("known_hosts")
    }
}

/// `image-factory sshd` beside a daemon, with its own processes, mounts and users.
pub struct SshLogin {
    server: Proc,
    client: SshClient,
    _log: TempDir,
}

impl Deref for SshLogin {
    type Target = SshClient;

    fn deref(&self) -> &SshClient {
        &self.client
    }
}

impl SshLogin {
    pub async fn start(daemon: &Daemon) -> Self {
        let dir = folder();
        let (server, [port]) = start(
            "sshd",
            &dir.path().join("log"),
            |[port]| {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", NAMESPACE]);
                command.env_clear().env("PATH", std::env::var("PATH").unwrap()).envs(variables(daemon));
                command.env("SSHD_PORT", port.to_string()).env("BINARY", env!("CARGO_BIN_EXE_image-factory"));
                command
            },
            async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        )
        .await;
        Self { server, client: SshClient::new(Vec::new(), port), _log: dir }
    }

    /// Returns what `image-factory sshd` says with these settings, which are expected to be refused.
    pub fn refused(settings: &Settings) -> String {
        let cli = settings.iter().fold(Cli::new(&["sshd"]), |cli, (name, value)| cli.env(name, value));
        let output = cli.run();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Returns what was logged.
    pub fn output(&self) -> String {
        self.server.output()
    }

    /// Returns the whole configuration that OpenSSH works with.
    pub fn config(&self) -> String {
        let file = format!("/proc/{}/root/mnt/run/sshd_config", self.server.pid().as_raw_nonzero());
        let output = succeed(Command::new("/usr/sbin/sshd").args(["-T", "-f", &file]), b"");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends OpenSSH's feeder, as a crash would.
    pub fn kill9(&mut self) {
        self.server.kill9();
    }
}

fn variables(daemon: &Daemon) -> Settings {
    let mut variables = daemon.environment();
    variables.retain(|name, _| !name.starts_with("IMAGE_FACTORY_"));
    variables
}
