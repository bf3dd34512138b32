//! Steps that outlived their engine. BuildKit's steps run below no process that a killed engine takes along, they hold
//! processor and memory until they end by themselves, and no later engine knows them (seen with 20.10 and 26.1). Where
//! the engine is on this machine and we are root, they are ended; else they can only be waited for.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::net::UnixStream;

use crate::engine::{Engine, Host};

impl Engine {
    /// Ends them; how many processes that were.
    pub(super) async fn end_orphans(&self) -> usize {
        let Host::Unix(socket) = &self.host else { return 0 };
        let Ok(Some(folder)) = self.folder().await else { return 0 };
        let Ok(stream) = UnixStream::connect(socket).await else { return 0 };
        // Whoever listens: not the engine if something stands before it, or if systemd made the socket.
        let Some(engine) = stream.peer_cred().ok().and_then(|peer| peer.pid()) else { return 0 };
        tokio::task::spawn_blocking(move || end(engine, &folder)).await.unwrap_or(0)
    }
}

/// A step of this engine's folder is an orphan if it is older than the engine.
fn end(engine: i32, folder: &Path) -> usize {
    let is_engine = fs::read_to_string(format!("/proc/{engine}/comm")).is_ok_and(|name| name.trim() == "dockerd");
    let Some(begun) = start(engine).filter(|_| is_engine) else { return 0 };
    let steps = steps(&folder.join("buildkit/executor"));
    let is_orphan = |pid: i32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let is_step = cgroups.split(['/', '\n', '-', '.', ':']).any(|part| steps.contains(part));
        is_step && start(pid).is_some_and(|at| at < begun)
    };
    let mut ended = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(raw) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(pid) = Pid::from_raw(raw).filter(|_| !steps.is_empty() && is_orphan(raw)) else { continue };
        // Looked at again with its handle open: the id may have become another's in between.
        if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && is_orphan(raw)
            && rustix::process::pidfd_send_signal(handle, Signal::KILL).is_ok()
        {
            ended += 1;
        }
    }
    ended
}

/// BuildKit has a folder for each step that runs, with the step's own file system in it, and names the step's cgroup
/// after it.
fn steps(executor: &Path) -> HashSet<String> {
    let folders = fs::read_dir(executor).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_step = |path: &PathBuf| path.join("rootfs").is_dir();
    folders.filter(is_step).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

/// When the process began, in ticks since the machine did: the 22nd field of proc(5)'s `stat`, whose second one may
/// have spaces and parentheses in it.
fn start(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read() {
        let own = start(std::process::id() as i32).unwrap();
        assert!(own > 0 && start(1).unwrap() < own);
        assert_eq!(start(-1), None);
    }
}
