//! A way in by ssh for the holders of the authorized keys: OpenSSH with a configuration of ours, which this process feeds,
//! watches and ends. It reads the keys from their store itself, so that a daemon that is away does not lock out who mends it.

mod config;
mod connections;
mod processes;

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::ChildStderr;
use tokio_util::sync::CancellationToken;

use super::own_socket;
use crate::durable::replace_file;
use crate::engine::Host;
use crate::model::EtcdApi;
use crate::process::Program;
pub use crate::process::replace_self;
use crate::secrets::{EtcdConfig, KeyHolders, Place, StoredHolders, TlsFiles};
use crate::settings::{Settings, SshdChoice};
use crate::telemetry::SyslogHandle;
use config::sshd_config;
use connections::{Keys, LoginConnections};
use processes::kill_others;

/// OpenSSH's server, and the one user who can log in unless `image-factory sshd` is told another.
const SSHD: &str = "/usr/sbin/sshd";
pub const USER: &str = "factory";

/// The beginnings of the lines in which sshd tells steps of a login. Other lines tell how it ended.
const STEPS: &[&str] = &["Accepted key", "Connection from", "Postponed", "Starting session", "User child"];

/// Time for etcd's answer to a question without credentials.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the socket at which sshd asks for a key.
pub fn keys_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("keys")
}

/// Returns the socket at which a session asks for its variables.
pub fn session_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("session")
}

/// Runs OpenSSH for `user` until `shutdown`, and ends the sessions then.
///
/// # Errors
/// The settings or the machine do not allow it, or OpenSSH ended.
pub async fn run(
    settings: &Settings,
    run_dir: &Path,
    user: &str,
    syslog: Option<SyslogHandle>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    check(settings)?;
    ensure_closed(&super::secrets_config(settings).place).await?;
    anyhow::ensure!(geteuid().is_root(), "sshd needs root: start `image-factory sshd` as root");
    let (uid, gid) = ids(user)?;
    kill_others(uid, None, &[]);
    for dir in [Path::new("/run/sshd"), run_dir] {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
        made.with_context(|| format!("{} cannot be made: a read-only root needs a tmpfs at /run", dir.display()))?;
    }
    let host_key = host_key(settings).await?;
    let config = run_dir.join("sshd_config");
    let program = std::env::current_exe()?;
    let text = sshd_config(settings.sshd_port, user, &host_key, &program, run_dir);
    replace_file(&config, 0o600, text.as_bytes())?;
    let keys = listen(&keys_socket(run_dir), (0, 0))?;
    let sessions = listen(&session_socket(run_dir), (uid, gid))?;
    let api = run_dir.join("api");
    tokio::spawn(forward(listen(&api, (uid, gid))?, own_socket::ssh_path(&settings.data_dir())));
    // The first of several engines. The daemon passes on what goes to an engine of another kind, for which it has credentials.
    let engine = match super::assemble::engine::hosts(settings, None)?.into_iter().next() {
        Some(Host::Unix(path)) => path,
        _ => own_socket::ssh_engine_path(&settings.data_dir()),
    };
    let docker = run_dir.join("docker");
    tokio::spawn(forward(listen(&docker, (uid, gid))?, engine));
    let variables = format!("DOCKER_HOST=unix://{}\nIMAGE_FACTORY_URL=unix:{}\n", docker.display(), api.display());

    let mut sshd = Program::new(SSHD).args(["-D", "-e", "-f"]).arg(&config).start()?;
    let listener = sshd.id().context("sshd ended at once")?;
    let connections = Arc::new(LoginConnections::new(listener, variables));
    if let Some(stderr) = sshd.stderr() {
        tokio::spawn(log(stderr, connections.clone()));
    }
    tokio::spawn(connections.clone().serve_keys(keys));
    tokio::spawn(connections.clone().serve_sessions(sessions));
    let place = super::secrets_config(settings).place;
    tracing::info!("ssh: port {} is open to the authorized keys of {}", settings.sshd_port, place.describe());
    let ended = tokio::select! {
        ended = sshd.wait() => ended.map_err(Into::into).and_then(|status| {
            Err(anyhow::anyhow!("sshd ended ({status}): the lines before say why"))
        }),
        never = follow(&place, &connections, uid, syslog) => match never {},
        () = shutdown.cancelled() => Ok(()),
    };
    kill_others(uid, Some(listener), &[]);
    ended
}

/// Returns why SSHD=auto keeps the way in closed, as far as the settings say and the files that they name.
pub async fn faults(settings: &Settings) -> Vec<String> {
    if settings.sshd == SshdChoice::Off {
        return Vec::new();
    }
    let host_key = match &settings.ssh_host_key {
        Some(path) => check_host_key(path).await,
        None => Ok(()),
    };
    [check(settings), host_key].into_iter().filter_map(Result::err).map(|why| format!("{why:#}")).collect()
}

/// Logs the faults of [`faults`] and that of [`ensure_closed`]. A daemon says them, too, because `image-factory sshd` may
/// never be started.
pub async fn warn_of_faults(settings: Settings) {
    let mut faults = faults(&settings).await;
    if settings.sshd == SshdChoice::Auto && faults.is_empty() {
        faults.extend(ensure_closed(&super::secrets_config(&settings).place).await.err().map(|why| format!("{why:#}")));
    }
    for fault in faults {
        tracing::warn!("nobody gets in by ssh: {fault}");
    }
    for lack in lacks(&settings) {
        tracing::warn!("{lack}");
    }
}

/// Returns what this machine lacks for `image-factory sshd` with its default user, if SSHD=auto asks for it.
pub fn lacks(settings: &Settings) -> Vec<String> {
    if settings.sshd == SshdChoice::Off {
        return Vec::new();
    }
    let server = Path::new(SSHD).exists().then_some(()).with_context(|| {
        format!("{SSHD} is missing, which `image-factory sshd` runs: install OpenSSH's server (`apt-get install openssh-server`)")
    });
    [server, ids(USER).map(drop)].into_iter().filter_map(Result::err).map(|why| format!("{why:#}")).collect()
}

/// Returns why SSHD=auto keeps the way in closed.
///
/// # Errors
/// The store asks for no credentials.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    match super::secrets_config(settings).place {
        Place::Etcd(etcd) if etcd.login.is_none() && etcd.tls.identity.is_none() => anyhow::bail!(
            "SSHD=auto needs an etcd that asks for credentials, because a stored key reaches the engine: \
             set ETCD_USER and ETCD_PASSWORD, or ETCD_CERT and ETCD_KEY"
        ),
        _ => Ok(()),
    }
}

/// Returns why an etcd that has a login of ours is open all the same: API v2 without its authentication reads no login.
///
/// # Errors
/// The etcd lets anybody read.
pub async fn ensure_closed(place: &Place) -> anyhow::Result<()> {
    let Place::Etcd(etcd) = place else { return Ok(()) };
    // The two APIs have an authentication each.
    for api in [EtcdApi::V3, EtcdApi::V2].into_iter().filter(|api| [*api, EtcdApi::Auto].contains(&etcd.api)) {
        let tls = TlsFiles { identity: None, ..etcd.tls.clone() };
        let mut anybody = KeyHolders::new(&Place::Etcd(EtcdConfig { api, login: None, tls, ..etcd.clone() }));
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, anybody.next()).await;
        anyhow::ensure!(
            !matches!(answer, Ok(Ok(_))),
            "SSHD=auto needs an etcd that asks for credentials, and its {} API lets anybody read: turn on authentication there",
            api.as_str()
        );
    }
    Ok(())
}

/// Returns the ids of the one user who can log in, and of its group.
fn ids(user: &str) -> anyhow::Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let ids = ids.filter(|(uid, _)| *uid != 0);
    ids.with_context(|| {
        format!(
            "there is no user {user}: add one, `useradd --home-dir / --password '*' {user}`, or name another by \
             `image-factory sshd --user`"
        )
    })
}

/// Returns the file of the host key. One that is made stays in the data folder, because clients remember it.
async fn host_key(settings: &Settings) -> anyhow::Result<PathBuf> {
    if let Some(path) = &settings.ssh_host_key {
        check_host_key(path).await?;
        return Ok(path.clone());
    }
    let dir = settings.data_dir().join("ssh");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    // The data folder is another user's, who could put a link here and have root write elsewhere.
    let is_roots = fs::symlink_metadata(&dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == 0);
    anyhow::ensure!(is_roots, "{} is no folder of root's: remove it, and the next start makes one", dir.display());
    let path = dir.join("ssh_host_ed25519_key");
    if !path.exists() {
        let program = Program::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "image-factory", "-f"]);
        let made = program.arg(&path).output().await?;
        anyhow::ensure!(made.status.success(), "no host key can be made in {}: {}", dir.display(), made.stderr.trim());
    }
    Ok(path)
}

/// Checks the file of SSH_HOST_KEY. The daemon need not be able to read it, because OpenSSH reads it as root.
async fn check_host_key(path: &Path) -> anyhow::Result<()> {
    let is_hidden = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root();
    let shown = path.display();
    let file = match fs::metadata(path) {
        Err(error) if is_hidden(&error) => return Ok(()),
        file => file.with_context(|| format!("SSH_HOST_KEY={shown} cannot be read"))?,
    };
    anyhow::ensure!(file.mode() & 0o077 == 0, "SSH_HOST_KEY={shown} can be read by others: change its mode to 0600");
    match fs::File::open(path) {
        Err(error) if is_hidden(&error) => return Ok(()),
        opened => opened.with_context(|| format!("SSH_HOST_KEY={shown} cannot be read"))?,
    };
    let read = Program::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(path).output().await?;
    let said = read.stderr.trim().lines().last().unwrap_or_default().to_owned();
    anyhow::ensure!(
        read.status.success(),
        "SSH_HOST_KEY={shown} is no private key without a passphrase ({said}): make one by \
         `ssh-keygen -t ed25519 -N '' -f FILE`, or unset it"
    );
    Ok(())
}

/// Listens on a Unix socket for the owner alone.
fn listen(path: &Path, (uid, gid): (u32, u32)) -> anyhow::Result<UnixListener> {
    let _ = fs::remove_file(path);
    let bound = || {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        chown(path, Some(uid), Some(gid))?;
        Ok::<_, io::Error>(listener)
    };
    bound().with_context(|| format!("cannot listen on {}", path.display()))
}

/// Keeps the keys that may log in up to date, and ends the sessions of those that were removed.
async fn follow(place: &Place, connections: &LoginConnections, uid: u32, syslog: Option<SyslogHandle>) -> Infallible {
    let (mut source, mut told) = (KeyHolders::new(place), Vec::new());
    loop {
        let trouble = match source.next().await {
            Ok(StoredHolders { holders, trouble, syslog_host }) => {
                if let Some(syslog) = &syslog {
                    syslog.follow(syslog_host.as_deref());
                }
                let by_print = holders.into_iter().map(|holder| (holder.fingerprint.clone(), holder));
                let removed = connections.replace_keys(by_print.collect::<Keys>());
                for key in &removed {
                    tracing::info!("ssh: the key {} ({}) was removed: its sessions end", key.fingerprint, key.comment);
                }
                if !removed.is_empty() {
                    kill_others(uid, Some(connections.listener()), &connections.admitted());
                }
                trouble
            }
            Err(error) => vec![format!("{error}; the keys that were read last stay in use")],
        };
        trouble.iter().filter(|line| !told.contains(*line)).for_each(|line| tracing::warn!("ssh: {line}"));
        told = trouble;
    }
}

/// Passes each connection on to the socket `target`, which the user of the sessions may not open itself.
async fn forward(listener: UnixListener, target: PathBuf) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else {
            // Too many files are open: some of them are closed in a moment.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let target = target.clone();
        tokio::spawn(async move {
            // A target that is away closes the connection, which the client reports.
            if let Ok(mut far) = UnixStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

/// Logs what sshd says, with the comment of a key beside its fingerprint.
async fn log(stderr: ChildStderr, connections: Arc<LoginConnections>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        let holder = line.split_whitespace().find_map(|word| connections.holder(word));
        let comment = holder.map(|holder| format!(" ({})", holder.comment)).unwrap_or_default();
        match STEPS.iter().any(|step| line.starts_with(step)) {
            true => tracing::debug!("sshd: {line}{comment}"),
            false => tracing::info!("sshd: {line}{comment}"),
        }
    }
}
