use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most open files that are of use: those of all connections, and many times what the rest needs. Programs that are
/// started inherit the limit, and some of them try each possible file when they start.
const ENOUGH: u64 = 65_536;

/// Raises the limit of this process's open files as far as it may and as is of use. Returns the limit.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if current.is_some_and(|current| current < wanted) {
        // A service that may not raise its limits keeps what it was given.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
