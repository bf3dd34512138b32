use rustix::process::{Resource, getrlimit};

use super::Finding;

pub const NAME: &str = "limits";

/// Smallest limit that is no finding. Each connection takes a file, a running job about ten.
const FEW_FILES: u64 = 2048;

/// Checks the number of files that a daemon of this user may open. The daemon raises its own limit as far as it may.
pub async fn check() -> Vec<Finding> {
    vec![match getrlimit(Resource::Nofile).maximum {
        Some(files) if files < FEW_FILES => {
            Finding::warn(NAME, format!("{files} open files: `ulimit -Hn {FEW_FILES}`, or LimitNOFILE= of the service"))
        }
        Some(files) => Finding::ok(NAME, format!("{files} open files")),
        None => Finding::ok(NAME, "any number of open files"),
    }]
}
