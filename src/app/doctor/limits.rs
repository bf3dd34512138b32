use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Finding;

pub const NAME: &str = "limits";

/// Smallest limit that is no finding. Each connection takes a file, a running job about ten.
const FEW_FILES: u64 = 2048;

/// Checks the number of files that a daemon of this user may open. The daemon raises its own limit as far as it may.
pub async fn check() -> Vec<Finding> {
    let files = match getrlimit(Resource::Nofile).maximum {
        Some(files) if files < FEW_FILES => {
            Finding::warn(NAME, format!("{files} open files: `ulimit -Hn {FEW_FILES}`, or LimitNOFILE= of the service"))
        }
        Some(files) => Finding::ok(NAME, format!("{files} open files")),
        None => Finding::ok(NAME, "any number of open files"),
    };
    vec![files, Finding::ok(NAME, of_git())]
}

/// Says which limits the processes of Git can have here. The service's own group is not this program's, so only the daemon
/// knows whether it has one.
fn of_git() -> &'static str {
    match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        true => "control groups of version 2: the processes of Git share a limit, if the service has Delegate=",
        false => "no control groups of version 2: each process of Git has its own limits (GIT_MEMORY, GIT_CPU_TIME)",
    }
}
