//! The engine inside of the container: a dockerd as root's, with its data in the daemon's folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::service::Service;
use super::{FACTORY, InitError, cgroup};
use crate::process::Program;

/// The programs of Debian's docker.io and iptables.
const DOCKERD: &str = "/usr/sbin/dockerd";
/// Links named `iptables` and so on to the variants for old kernels, as the Dockerfile makes them.
const LEGACY: &str = "/usr/libexec/image-factory/iptables-legacy";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Addresses for tests of networks (RFC 2544), which nobody routes: the engine's bridges take no address that the host's
/// networks have.
const POOL: &str = "base=198.19.0.0/16,size=24";
/// Time that the engine has to stop its containers.
const GRACE: Duration = Duration::from_secs(20);
/// Pause between two looks at the socket.
const LOOK: Duration = Duration::from_millis(50);
/// Folder of the engine's sockets and pids. It is there after a kill, if /run is part of the container.
pub const RUN: &str = "/run/image-factory-inner";
/// Variables that the engine is given, beside those of every program: it has none of the daemon's secrets.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
/// Bit of CAP_SYS_ADMIN, which a privileged container has (linux/capability.h).
const SYS_ADMIN: u32 = 21;

/// An engine that is to run beside the daemon.
#[derive(Debug)]
pub struct InnerEngine {
    socket: PathBuf,
    data: PathBuf,
    args: Vec<String>,
    path: String,
    /// No other container uses the data while the lock is there.
    _lock: File,
}

impl InnerEngine {
    /// Prepares the engine: takes its data, and brings the container's cgroup and firewall in order.
    ///
    /// # Errors
    /// The container is not privileged, the image has no engine, or another container uses the data.
    pub async fn prepare(socket: &Path, data_dir: &Path, chosen: &[String]) -> Result<Self, InitError> {
        if !is_privileged(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
            return Err(InitError::NoSocket(socket.into()));
        }
        if !Path::new(DOCKERD).exists() {
            return Err(InitError::NoEngine(socket.into()));
        }
        let data = data_dir.join("engine");
        let lock = lock(&data)?;
        if !is_volume(data_dir, &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
            tracing::warn!(
                "{} is in no named volume, so jobs, secrets and the layer cache end with this container: add `-v \
                 image-factory:{}` to the command line",
                data_dir.display(),
                data_dir.display()
            );
        }
        if let Err(error) = cgroup::delegate(Path::new("/sys/fs/cgroup")) {
            tracing::warn!("the container's cgroup cannot be divided ({error}): builds have no limits of their own");
        }
        let run = Path::new(RUN);
        for stale in [socket, run] {
            let _ = fs::remove_file(stale).or_else(|_| fs::remove_dir_all(stale));
        }
        let path = match firewall_works().await {
            true => PATH.into(),
            false => format!("{LEGACY}:{PATH}"),
        };
        let args = dockerd_args(socket, &data, run, chosen);
        Ok(Self { socket: socket.into(), data, args, path, _lock: lock })
    }

    /// Keeps the engine running until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let program = || {
            // An engine that was killed leaves them, and the next one would wait 15 s for a containerd that has gone.
            for stale in ["containerd/containerd.pid", "../image-factory-inner.pid"] {
                let _ = fs::remove_file(Path::new(RUN).join(stale));
            }
            // By the variable an engine knows that the profiles of AppArmor are its host's matter.
            let program =
                Program::new(DOCKERD).service().env("container", "docker").env("PATH", &self.path).args(&self.args);
            PROXIES.iter().fold(program, |program, name| match std::env::var_os(name) {
                Some(value) => program.env(name, value),
                None => program,
            })
        };
        let service = Service { name: "the engine inside of this container", program, grace: GRACE };
        let looked = async {
            while ping(&self.socket).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            self.warn_of_storage();
        };
        tokio::join!(service.run(stop.clone()), async {
            tokio::select! {
                () = looked => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Warns of a storage driver that copies every layer. The engine itself takes the first of overlay2, fuse-overlayfs and
    /// vfs that the file system bears.
    fn warn_of_storage(&self) {
        if self.data.join("vfs").exists() {
            tracing::warn!(
                "the engine's storage is vfs, which copies every layer: put {} on ext4 or xfs, or add `--device /dev/fuse`",
                self.data.display()
            );
        }
    }
}

/// Waits for the engine's answer. An engine that is starting takes connections before it has its storage.
async fn ping(socket: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await?;
    stream.read_u8().await.map(drop)
}

/// Returns the arguments of dockerd. Those that were chosen take the place of ours.
fn dockerd_args(socket: &Path, data: &Path, run: &Path, chosen: &[String]) -> Vec<String> {
    let own = [
        ("--group", FACTORY.to_string()),
        ("--exec-root", run.display().to_string()),
        ("--pidfile", run.with_extension("pid").display().to_string()),
        ("--log-level", "warn".into()),
        ("--default-address-pool", POOL.into()),
    ];
    let is_chosen = |name: &str| {
        chosen.iter().any(|arg| arg == name || arg.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    // Two places of data would leave one of them outside of the volume and its lock.
    let fixed = [("--host", format!("unix://{}", socket.display())), ("--data-root", data.display().to_string())];
    let own = own.into_iter().filter(|(name, _)| !is_chosen(name));
    fixed.into_iter().chain(own).flat_map(|(name, value)| [name.into(), value]).chain(chosen.iter().cloned()).collect()
}

fn lock(data: &Path) -> Result<File, InitError> {
    let failed = |source| InitError::EngineData { path: data.into(), source };
    fs::create_dir_all(data).map_err(failed)?;
    let file = File::create(data.join("image-factory.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(InitError::InUse(data.into())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// True if this process may mount, by the text of /proc/self/status.
fn is_privileged(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> SYS_ADMIN & 1 == 1)
}

/// True if the folder is in a volume with a name or in a folder of the host, by the text of /proc/self/mountinfo (proc(5)).
/// The name of an anonymous volume is 64 hexadecimal digits.
fn is_volume(dir: &Path, mounts: &str) -> bool {
    let root = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, target) = (fields.next()?, fields.next()?);
        (target != "/" && dir.starts_with(target)).then_some((target.len(), root))
    });
    let is_anonymous =
        |root: &str| root.split('/').any(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    root.max().is_some_and(|(_, root)| !is_anonymous(root))
}

/// True if the host's kernel has nftables, which Debian's `iptables` uses. Otherwise the variants for old kernels do.
async fn firewall_works() -> bool {
    let listed = Program::new("iptables").args(["--table", "nat", "--list", "--numeric"]).output().await;
    listed.is_ok_and(|listed| listed.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volume_of_the_data_is_known_by_the_mounts() {
        let of = |root: &str| {
            format!(
                "1 2 0:3 / / rw - overlay overlay rw\n4 1 8:1 {root} /var/lib/image-factory rw - ext4 /dev/sda rw\n"
            )
        };
        let dir = Path::new("/var/lib/image-factory");
        for (root, named) in [
            ("/var/lib/docker/volumes/image-factory/_data", true),
            (&format!("/docker/volumes/{}/_data", "0f".repeat(32)), false),
            ("/srv/image-factory", true),
        ] {
            assert_eq!(is_volume(dir, &of(root)), named, "{root}");
        }
        assert!(!is_volume(Path::new("/data"), &of("/srv")));
    }

    #[test]
    fn arguments_of_the_operator_take_the_place_of_ours() {
        let args = |chosen: &[&str]| {
            let chosen: Vec<_> = chosen.iter().map(|arg| arg.to_string()).collect();
            dockerd_args(Path::new("/run/docker.sock"), Path::new("/data/engine"), Path::new("/run/e"), &chosen)
                .join(" ")
        };
        assert_eq!(
            args(&["--log-level=info", "--mtu", "1400"]),
            "--host unix:///run/docker.sock --data-root /data/engine --group 8080 --exec-root /run/e --pidfile /run/e.pid \
             --default-address-pool base=198.19.0.0/16,size=24 --log-level=info --mtu 1400"
        );
        assert!(args(&[]).ends_with("--log-level warn --default-address-pool base=198.19.0.0/16,size=24"));
    }

    #[test]
    fn a_second_user_of_the_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(InitError::InUse(_))));
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn a_privileged_container_is_known_by_its_capabilities() {
        assert!(is_privileged("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_privileged("Name:\tx\nCapEff:\t00000000a80425fb\n"));
        assert!(!is_privileged(""));
    }
}
