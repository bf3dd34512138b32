use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::keys::succeed;
use super::{DeployKey, Engine, KeyType, LfsTransfer, Proc, folder, listen, start};

/// An sshd that serves bare repositories to whoever holds an authorized key.
pub struct GitHost {
    server: Proc,
    port: u16,
    user: String,
    host_key: String,
    dir: TempDir,
}

impl GitHost {
    /// Takes GIT_PROTOCOL from its clients, as GitHub does.
    pub async fn start() -> Self {
        Self::start_with("AcceptEnv GIT_PROTOCOL\n").await
    }

    /// Takes no variable from its clients, as an sshd does by default: Git speaks its protocol 0 there.
    pub async fn without_git_protocol() -> Self {
        Self::start_with("").await
    }

    async fn start_with(more: &str) -> Self {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        let key = DeployKey::generate(KeyType::Ed25519, "");
        std::fs::write(at("host_key"), &key.private).unwrap();
        std::fs::set_permissions(at("host_key"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(at("authorized_keys"), "").unwrap();
        std::fs::write(at("known_hosts"), "").unwrap();
        let user = String::from_utf8(succeed(Command::new("id").arg("-un"), b"").stdout).unwrap().trim().to_string();
        let (server, [port]) = start(
            "sshd",
            &at("log"),
            |[port]| {
                std::fs::write(at("sshd_config"), config(dir.path(), port, &user) + more).unwrap();
                // sshd wants its full path; it starts itself anew for every connection.
                let mut command = Command::new("/usr/sbin/sshd");
                command.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
                command
            },
            async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        )
        .await;
        let host_key = key.public.rsplit_once(' ').unwrap().0.to_string();
        let host = Self { server, port, user, host_key, dir };
        std::fs::write(host.known_hosts(), format!("[127.0.0.1]:{port} {}\n", host.host_key)).unwrap();
        host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Which keys are let in from now on.
    pub fn authorize(&self, keys: &[&DeployKey]) {
        let lines: String = keys.iter().map(|key| format!("restrict {}\n", key.public)).collect();
        std::fs::write(self.dir.path().join("authorized_keys"), lines).unwrap();
    }

    /// Lets these keys forward connections from now on, and do nothing else.
    pub fn authorize_forwarding(&self, keys: &[&DeployKey]) {
        let lines: String = keys
            .iter()
            .map(|key| format!("restrict,port-forwarding,command=\"/bin/false\" {}\n", key.public))
            .collect();
        std::fs::write(self.dir.path().join("authorized_keys"), lines).unwrap();
    }

    /// The address of an engine on this host's machine, with this port of the host.
    pub fn engine_at(&self, port: u16, engine: &Engine) -> String {
        let socket = engine.host.strip_prefix("unix://").expect("an engine on a socket");
        format!("ssh://{}@127.0.0.1:{port}{socket}", self.user)
    }

    /// A file with this host's key; a test may write another one into it.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.path().join("known_hosts")
    }

    /// A template with `{owner}` and `{repo}`.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same on another port, where nobody or something else listens.
    pub fn url_at(&self, port: u16) -> String {
        format!("ssh://{}@127.0.0.1:{port}{}/git/{{owner}}/{{repo}}.git", self.user, self.dir.path().display())
    }

    /// A new, empty repository.
    pub fn repo(&self, owner: &str, name: &str) -> Repo {
        Repo::create(&self.dir.path().join("git").join(owner).join(format!("{name}.git")))
    }

    /// A new, empty repository whose ids have 64 digits, in the place of one that may be there.
    pub fn sha256_repo(&self, owner: &str, name: &str) -> Repo {
        Repo::create_as(&self.dir.path().join("git").join(owner).join(format!("{name}.git")), "sha256")
    }

    /// Makes `git-lfs-authenticate PATH download` run this shell script from now on.
    pub fn lfs_authenticate(&self, script: &str) {
        self.install("git-lfs-authenticate", &format!("#!/bin/sh\n{script}\n"));
    }

    /// Makes the server speak protocol 0 to every request from now on, as old servers do.
    pub fn speak_protocol_0(&self) {
        self.install("git-upload-pack", "#!/bin/sh\nunset GIT_PROTOCOL; exec git upload-pack \"$@\"\n");
    }

    /// Notes from now on what each fetch asks for and is told: `GIT_PROTOCOL=…`, then Git's own trace.
    pub fn note_fetches(&self) {
        let notes = self.dir.path().join("fetches").display().to_string();
        self.install(
            "git-upload-pack",
            &format!(
                "#!/bin/sh\necho GIT_PROTOCOL=${{GIT_PROTOCOL-none}} >> {notes}\n\
                 GIT_TRACE_PACKET={notes} exec git upload-pack \"$@\"\n"
            ),
        );
    }

    /// The notes since the last call.
    pub fn noted_fetches(&self) -> String {
        let notes = self.dir.path().join("fetches");
        let noted = std::fs::read_to_string(&notes).unwrap();
        std::fs::write(notes, "").unwrap();
        noted
    }

    /// Makes the host serve LFS objects by ssh alone from now on.
    pub fn lfs_transfer(&self) -> LfsTransfer {
        let folder = self.dir.path().join("lfs");
        std::fs::create_dir_all(folder.join("objects")).unwrap();
        let program = include_str!("git-lfs-transfer.py").replace("@FOLDER@", folder.to_str().unwrap());
        self.install("git-lfs-transfer", &program);
        LfsTransfer { folder }
    }

    /// Puts a program where the host's users find it.
    fn install(&self, name: &str, program: &str) {
        let file = self.dir.path().join("bin").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, program).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Takes such a program away again.
    pub fn uninstall(&self, name: &str) {
        std::fs::remove_file(self.dir.path().join("bin").join(name)).unwrap();
    }

    /// Returns the output of sshd so far.
    pub fn output(&self) -> String {
        self.server.output()
    }
}

fn config(dir: &Path, port: u16, user: &str) -> String {
    let mut pam = "no";
    if user == "root" {
        std::fs::create_dir_all("/run/sshd").unwrap();
        // sshd refuses an account with a locked password, unless PAM decides.
        if std::fs::read_to_string("/etc/shadow").unwrap_or_default().contains("root:!") {
            pam = "yes";
        }
    }
    // SHLVL keeps bash from running this account's .bashrc, of unknown length, for every session.
    let (dir, path) = (dir.display(), std::env::var("PATH").unwrap());
    format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile none\nUsePAM {pam}\nStrictModes no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\nSetEnv PATH={dir}/bin:{path} SHLVL=2\n"
    )
}

/// A bare repository and a clone to commit in. Default branch: develop.
pub struct Repo {
    pub bare: PathBuf,
    work: TempDir,
}

impl Repo {
    /// At a path of one's own, without a host: for `file://`.
    pub fn create(bare: &Path) -> Self {
        Self::create_as(bare, "sha1")
    }

    /// A repository with ids of this format; it takes the place of one that is there.
    pub fn create_as(bare: &Path, format: &str) -> Self {
        let work = folder();
        let _ = std::fs::remove_dir_all(bare);
        let format = format!("--object-format={format}");
        git(work.path(), &["init", "-q", &format, "-b", "develop"]);
        git(work.path(), &["init", "-q", &format, "--bare", "-b", "develop", bare.to_str().unwrap()]);
        // Any commit may be requested by its id, as at GitHub.
        git(bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        git(work.path(), &["remote", "add", "origin", bare.to_str().unwrap()]);
        Self { bare: bare.into(), work }
    }

    /// Writes files, commits everything and pushes it to `branch`; the commit's id.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "A change"]);
        self.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A path in the clone: what is changed there goes into the next commit.
    pub fn path(&self, path: &str) -> PathBuf {
        self.work.path().join(path)
    }

    /// Records a submodule in the clone; `.gitmodules` is written as it is told.
    pub fn gitlink(&self, path: &str, commit: &str) {
        self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        // `git add` would take it out again.
        std::fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Makes the real git-lfs send files with these endings to the LFS server from now on.
    pub fn track_with_lfs(&self, endpoint: &str, pattern: &str) {
        self.git(&["lfs", "install", "--local"]);
        self.git(&["config", "lfs.url", endpoint]);
        self.git(&["config", "lfs.locksverify", "false"]);
        self.git(&["lfs", "track", pattern]);
    }

    pub fn tag(&self, tag: &str) {
        self.git(&["tag", "-a", "-m", tag, tag]);
        self.git(&["push", "-q", "origin", &format!("refs/tags/{tag}")]);
    }

    /// Moves a branch of the bare repository, also backwards.
    pub fn force(&self, branch: &str, commit: &str) {
        self.git(&["reset", "-q", "--hard", commit]);
        self.git(&["push", "-q", "--force", "origin", &format!("{commit}:refs/heads/{branch}")]);
    }

    /// Runs Git in the clone; its output, trimmed.
    pub fn git(&self, args: &[&str]) -> String {
        git(self.work.path(), args)
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "gc.auto=0"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    String::from_utf8_lossy(&succeed(&mut command, b"").stdout).trim().to_string()
}

/// Accepts connections and says nothing: a Git host that hangs.
pub struct Silent(TcpListener);

impl Silent {
    pub fn start() -> Self {
        // The kernel accepts for us, up to the backlog.
        Self(listen())
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}
