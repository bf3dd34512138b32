//! Processes that are left behind: daemons that left their session, whose parent has become the launcher.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process, wait};

/// Time for descendants to end by SIGTERM before they are killed.
const GRACE: Duration = Duration::from_secs(1);

/// Ends every descendant: first by SIGTERM, then by SIGKILL.
pub fn end_all() {
    let begun = Instant::now();
    let mut asked = Vec::new();
    loop {
        while let Ok(Some(_)) = wait(rustix::process::WaitOptions::NOHANG) {}
        let left = children(getpid());
        if left.is_empty() {
            return;
        }
        let is_late = begun.elapsed() > GRACE;
        for pid in left {
            // A killed process's children come to the launcher, and so to the next round.
            if is_late {
                let _ = kill_process(pid, Signal::KILL);
            } else if !asked.contains(&pid) {
                let _ = kill_process(pid, Signal::TERM);
                asked.push(pid);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the children of a process, by the fourth field of /proc/PID/stat (proc(5)).
pub fn children(of: Pid) -> Vec<Pid> {
    let of = of.as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        // The name stands in parentheses and may hold anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        parent.is_some_and(|parent| parent == of.to_string())
    };
    numbers.filter(is_child).filter_map(Pid::from_raw).collect()
}
