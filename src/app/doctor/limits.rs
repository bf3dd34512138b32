use rustix::process::{Resource, getrlimit};

use super::Finding;

pub const NAME: &str = "limits";

/// Smallest limit that is no finding. A client that follows a log takes two files, a running job about ten.
const FEW_FILES: u64 = 1024;

/// Checks the number of files that a daemon of this user may open.
pub async fn check() -> Vec<Finding> {
    vec![match getrlimit(Resource::Nofile).current {
        Some(files) if files < FEW_FILES => {
            Finding::warn(NAME, format!("{files} open files: `ulimit -n {FEW_FILES}`, or LimitNOFILE= of the service"))
        }
        Some(files) => Finding::ok(NAME, format!("{files} open files")),
        None => Finding::ok(NAME, "any number of open files"),
    }]
}
