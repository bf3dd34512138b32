//! Folders for servers' data, and the end of those that a killed run left.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Engine;
use super::claim::claim;

const PREFIX: &str = "iftest-";
const NOTES: &str = "left";

/// A folder of this process. Its path is short, because a unix socket's has at most 107 bytes. The first one of a
/// process sweeps: it removes the folders of processes that have ended without removing them.
pub fn folder() -> TempDir {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(sweep);
    loop {
        let name = format!("{PREFIX}{}", (0..8).map(|_| fastrand::alphanumeric()).collect::<String>());
        // The claim comes before the folder, so that no sweep finds the folder unclaimed.
        if claim(&name) {
            return tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in("/tmp").unwrap();
        }
    }
}

/// Removes the folders that no process has, and what their notes name.
pub fn sweep() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && claim(name));
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&path);
            remove_noted(&path);
            // Another user's folder stays.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// An engine's thing that a sweep removes if the folder's process ends without doing so.
#[derive(Debug, Clone, Copy)]
pub enum Left<'a> {
    /// Images, by a filter of `docker image ls`.
    Images(&'a str),
    /// A container, by its name.
    Container(&'a str),
}

/// Notes in a folder what its process makes on an engine that others use, too.
pub fn note(folder: &Path, engine: &Engine, left: Left) {
    let mut file = fs::File::options().create(true).append(true).open(folder.join(NOTES)).unwrap();
    let (kind, what) = match left {
        Left::Images(filter) => ("images", filter),
        Left::Container(name) => ("container", name),
    };
    writeln!(file, "{}\t{kind}\t{what}", engine.host).unwrap();
}

fn remove_noted(folder: &Path) {
    for line in fs::read_to_string(folder.join(NOTES)).unwrap_or_default().lines() {
        let mut fields = line.split('\t');
        if let (Some(host), Some(kind), Some(what)) = (fields.next(), fields.next(), fields.next()) {
            let engine = Engine { host: host.into() };
            // An engine of the process's own is gone, too.
            match kind {
                _ if !engine.answers() => {}
                "images" => engine.remove_images(what),
                _ => engine.remove_container(what),
            }
        }
    }
}

/// Ends every process that uses this folder and unmounts what is mounted below it, so that it can be removed.
pub fn clear(folder: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    // A process that a killed one was about to start, and one that does not die at once, are met by another round.
    while kill_users(folder) && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mount).starts_with(folder) {
            let _ = Command::new("umount").args(["-l", mount]).output();
        }
    }
}

/// Returns true if there were any.
fn kill_users(folder: &Path) -> bool {
    let mut found = false;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(pid) = pid.filter(|pid| pid.as_raw_nonzero().get() as u32 != std::process::id()) else { continue };
        if uses(&process.path(), folder) {
            found = true;
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    found
}

/// Returns true if a process names the folder in its command line, works in it, or has its root directory on a file
/// system from there, as a build's step or a container has.
fn uses(process: &Path, folder: &Path) -> bool {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
    let is_root = |line: &&str| line.split(' ').nth(4) == Some("/");
    String::from_utf8_lossy(&line).contains(name)
        || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        || mounts.lines().find(is_root).is_some_and(|line| line.contains(name))
}
