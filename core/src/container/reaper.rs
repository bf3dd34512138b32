//! Reaps orphans, which the kernel gives to process 1.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::Signal;

/// Time for which a zombie may be one of ours that is just being waited for.
const GRACE: Duration = Duration::from_secs(1);

/// Reaps orphans for ever. A zombie that is still there after [`GRACE`] is an orphan, because the children that this process
/// started are waited for all the time.
pub async fn run(mut child_ended: Signal) {
    let mut before = HashSet::new();
    loop {
        if before.is_empty() && child_ended.recv().await.is_none() {
            return;
        }
        tokio::time::sleep(GRACE).await;
        let now = zombies();
        for pid in now.intersection(&before).filter_map(|&pid| Pid::from_raw(pid)) {
            // The call fails only if the zombie is gone.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        before = now.difference(&before).copied().collect();
    }
}

/// Returns the ids of the zombies that are children of this process.
fn zombies() -> HashSet<i32> {
    let own = std::process::id().to_string();
    let is_zombie = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state and the parent follow the program's name, which may have any sign in it.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(own.as_str())
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_zombie).collect()
}
