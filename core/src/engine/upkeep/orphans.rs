//! Kills steps that outlived their engine. When an engine is killed, BuildKit's steps go on, because they are children
//! of no process that dies with it. They hold processor and memory until they end by themselves, and the next engine
//! does not know them (seen with 20.10 and 26.1). They can be killed only by root on the engine's machine; elsewhere
//! they have to be waited for.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::net::UnixStream;

use crate::engine::api::connect::Host;
use crate::engine::api::engine::Engine;

impl Engine {
    /// Kills the processes of such steps and returns their number.
    pub(super) async fn kill_orphans(&self) -> usize {
        let Host::Unix(socket) = &self.host else { return 0 };
        let Ok(machine) = self.machine().await else { return 0 };
        let Ok(stream) = UnixStream::connect(socket).await else { return 0 };
        // The listening process is not the engine if a proxy stands before it or if systemd made the socket.
        let Some(engine) = stream.peer_cred().ok().and_then(|peer| peer.pid()) else { return 0 };
        tokio::task::spawn_blocking(move || kill_steps_before(engine, &machine.data_root)).await.unwrap_or(0)
    }
}

/// Kills the steps of this folder that are older than the engine, which therefore belonged to an earlier one.
fn kill_steps_before(engine: i32, folder: &Path) -> usize {
    let is_engine = fs::read_to_string(format!("/proc/{engine}/comm")).is_ok_and(|name| name.trim() == "dockerd");
    let Some(engine_start) = start_time(engine).filter(|_| is_engine) else { return 0 };
    let steps = steps(&folder.join("buildkit/executor"));
    let is_orphan = |pid: i32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let is_step = cgroups.split(['/', '\n', '-', '.', ':']).any(|part| steps.contains(part));
        is_step && start_time(pid).is_some_and(|at| at < engine_start)
    };
    let mut killed = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(raw) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(pid) = Pid::from_raw(raw).filter(|_| !steps.is_empty() && is_orphan(raw)) else { continue };
        // The process is checked again with its handle open, because another one may have got its id in between.
        if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && is_orphan(raw)
            && rustix::process::pidfd_send_signal(handle, Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}

/// Lists the ids of running steps. BuildKit has a folder for each of them, with the step's file system in it, and names
/// the step's cgroup after the folder.
fn steps(executor: &Path) -> HashSet<String> {
    let folders = fs::read_dir(executor).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_step = |path: &PathBuf| path.join("rootfs").is_dir();
    folders.filter(is_step).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

/// Returns the start of a process in clock ticks since the machine's boot. It is the 22nd field of proc(5)'s `stat`,
/// whose second field may contain spaces and parentheses.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_read() {
        let own = start_time(std::process::id() as i32).unwrap();
        assert!(own > 0 && start_time(1).unwrap() < own);
        assert_eq!(start_time(-1), None);
    }
}
