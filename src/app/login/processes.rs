use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, Signal, kill_process};

/// Largest number of rounds in which processes are killed, because one may fork while it is looked for.
const ROUNDS: usize = 20;

/// A process and the time of its start, which together are never another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessKey {
    pid: i32,
    start: u64,
}

impl ProcessKey {
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start)
    }
}

/// The part of /proc/PID/stat that matters, of a process that is no zombie (proc_pid_stat(5)).
struct ProcessStat {
    parent: i32,
    start: u64,
}

fn stat(pid: i32) -> Option<ProcessStat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have anything in it. The state is the field after it, and the third of all.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let is_zombie = matches!(*fields.first()?, "Z" | "X");
    let stat = ProcessStat { parent: fields.get(1)?.parse().ok()?, start: fields.get(19)?.parse().ok()? };
    (!is_zombie).then_some(stat)
}

/// Returns the process that the sshd `listener` has for the connection to which a process belongs.
pub fn connection_of(mut pid: i32, listener: i32) -> Option<ProcessKey> {
    loop {
        let ProcessStat { parent, start } = stat(pid)?;
        match parent {
            _ if parent == listener => return Some(ProcessKey { pid, start }),
            ..=1 => return None,
            _ => pid = parent,
        }
    }
}

/// Kills the processes of the user and the connections of the sshd `listener`, but those that belong to the connections
/// `kept`. A process that left its session dies, too, because nothing says whose it was.
pub fn kill_others(uid: u32, listener: Option<i32>, kept: &[ProcessKey]) {
    for _ in 0..ROUNDS {
        let Ok(entries) = fs::read_dir("/proc") else { return };
        let mut others = Vec::new();
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let connection = listener.and_then(|listener| connection_of(pid, listener));
            let is_users = || entry.metadata().is_ok_and(|file| file.uid() == uid) && stat(pid).is_some();
            match connection {
                Some(connection) if kept.contains(&connection) => {}
                None if !is_users() => {}
                _ => others.extend(Pid::from_raw(pid)),
            }
        }
        if others.is_empty() {
            return;
        }
        for pid in others {
            // The process may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
