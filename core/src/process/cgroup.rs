//! A control group for Git and what it starts, so that all of these processes have a bound together (cgroups(7)). It is
//! made where version 2 delegates its own group to the daemon, as `Delegate=` of systemd does. Elsewhere each process has
//! its own limits and nothing else.
//!
//! The kernel lets no group have both processes and bounded groups below it, so the daemon moves into a group of its own
//! beside Git's.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Name of the daemon's group, and of that of the programs.
const OWN: &str = "daemon";
const PROGRAMS: &str = "git";

/// Bounds of all programs of a group together.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Bytes of memory, the cache of files that is written included (memory.max).
    pub memory: u64,
    /// Number of processes and threads (pids.max).
    pub processes: u32,
}

/// A group in which programs are started.
#[derive(Debug)]
pub struct ProgramGroup {
    /// The group's `cgroup.procs`, into which a process writes 0 to join.
    procs: File,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum NoGroup {
    #[error("the machine has control groups of version 1")]
    Version1,
    #[error("the control group is not delegated to the daemon with memory and pids (Delegate= of the service)")]
    NotDelegated,
    #[error("the control group {path} cannot be changed: {source}")]
    Failed { path: String, source: io::Error },
}

impl ProgramGroup {
    /// Makes the group below that of this process, which moves into one of its own. The group stays as long as the process.
    ///
    /// # Errors
    /// There is no delegated group of version 2. The process is then where it was.
    pub fn make(limits: GroupLimits) -> Result<&'static Self, NoGroup> {
        let found = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path = found.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(NoGroup::Version1)?;
        let root = Path::new("/sys/fs/cgroup");
        if !root.join("cgroup.controllers").exists() {
            return Err(NoGroup::Version1);
        }
        // A restart that keeps the process, such as that of a container, finds it where the former one moved it.
        let path = Path::new(path);
        let path = if path.ends_with(OWN) { path.parent().unwrap_or(path) } else { path };
        let own = root.join(path);
        // Root may change every group, but a group of the machine's own is not its to divide.
        let user = rustix::process::geteuid();
        let is_ours = fs::metadata(&own).is_ok_and(|group| group.uid() == user.as_raw());
        if !is_ours || user.is_root() && !path.as_os_str().is_empty() {
            return Err(NoGroup::NotDelegated);
        }
        let group = Self::below(&own, std::process::id(), limits)?;
        Ok(Box::leak(Box::new(group)))
    }

    fn below(own: &Path, process: u32, limits: GroupLimits) -> Result<Self, NoGroup> {
        let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| controllers.split_ascii_whitespace().any(|found| found == name);
        if !has("memory") || !has("pids") {
            return Err(NoGroup::NotDelegated);
        }
        let programs = own.join(PROGRAMS);
        let make = |group: &Path| match fs::create_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(NoGroup::NotDelegated),
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Err(NoGroup::NotDelegated),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(group, error)),
            _ => Ok(()),
        };
        let write = |file: &Path, text: String| fs::write(file, text).map_err(|error| failed(file, error));
        make(&own.join(OWN))?;
        make(&programs)?;
        write(&own.join(OWN).join("cgroup.procs"), process.to_string())?;
        let made = write(&own.join("cgroup.subtree_control"), "+memory +pids".into())
            .and_then(|()| write(&programs.join("memory.max"), limits.memory.to_string()))
            .and_then(|()| write(&programs.join("pids.max"), limits.processes.to_string()));
        // Without it the group would fill the machine's swap before it ends. A kernel that does not count swap has no such
        // file.
        let _ = fs::write(programs.join("memory.swap.max"), "0");
        let procs = programs.join("cgroup.procs");
        let opened =
            made.and_then(|()| File::options().write(true).open(&procs).map_err(|error| failed(&procs, error)));
        match opened {
            Ok(procs) => Ok(Self { procs }),
            Err(error) => {
                // Other processes are in the daemon's group, so it goes back to them.
                let _ = fs::write(own.join("cgroup.procs"), process.to_string());
                let _ = [OWN, PROGRAMS].map(|name| fs::remove_dir(own.join(name)));
                Err(error)
            }
        }
    }

    /// Moves the calling process into the group. It only makes a system call.
    pub(super) fn join(&self) -> io::Result<()> {
        Ok(rustix::io::write(&self.procs, b"0").map(drop)?)
    }
}

fn failed(path: &Path, source: io::Error) -> NoGroup {
    NoGroup::Failed { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GroupLimits = GroupLimits { memory: 4096, processes: 7 };

    /// Makes a folder that looks like a group with these controllers.
    fn group(controllers: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
        dir
    }

    #[test]
    fn a_group_gets_its_limits_before_it_is_used() {
        let dir = group("cpu memory pids\n");
        // The kernel makes this file with the folder.
        fs::create_dir(dir.path().join(PROGRAMS)).unwrap();
        fs::write(dir.path().join(PROGRAMS).join("cgroup.procs"), "").unwrap();
        let made = ProgramGroup::below(dir.path(), 42, LIMITS).unwrap();
        made.join().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("daemon/cgroup.procs"), "42");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        assert_eq!((read("git/memory.max"), read("git/pids.max")), ("4096".into(), "7".into()));
        assert_eq!(read("git/memory.swap.max"), "0");
        assert_eq!(read("git/cgroup.procs"), "0");
    }

    #[test]
    fn what_is_not_delegated_is_left_alone() {
        for controllers in ["", "cpu io", "memory"] {
            let dir = group(controllers);
            assert!(matches!(ProgramGroup::below(dir.path(), 42, LIMITS), Err(NoGroup::NotDelegated)));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // A process that could not be given its place goes back.
        let dir = group("memory pids");
        fs::create_dir(dir.path().join("cgroup.subtree_control")).unwrap();
        let refused = ProgramGroup::below(dir.path(), 42, LIMITS).unwrap_err().to_string();
        assert!(refused.contains("cgroup.subtree_control cannot be changed"), "{refused}");
        assert_eq!(fs::read_to_string(dir.path().join("cgroup.procs")).unwrap(), "42");
    }

    /// Says why it tests nothing on a machine that delegates no group, such as one with version 1.
    #[tokio::test]
    async fn programs_are_in_the_group_and_end_at_its_limit() {
        use std::os::unix::process::ExitStatusExt;
        let group = match ProgramGroup::make(GroupLimits { memory: 64 << 20, processes: 100 }) {
            Ok(group) => group,
            Err(why) => return eprintln!("SKIPPED: {why}"),
        };
        let limits = super::super::ProcessLimits {
            memory: 1 << 30,
            cpu_time: std::time::Duration::from_secs(60),
            group: Some(group),
        };
        let printed = super::super::Program::new("cat").arg("/proc/self/cgroup").limits(limits).output().await.unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        assert!(printed.trim().ends_with(&format!("/{PROGRAMS}")), "{printed}");
        assert!(fs::read_to_string("/proc/self/cgroup").unwrap().trim().ends_with(&format!("/{OWN}")));
        // This tail keeps all that it reads, which is less than the limit of its own.
        let keeps = super::super::Program::new("tail").args(["-c", "500000000", "/dev/zero"]).limits(limits);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), keeps.output()).await.unwrap().unwrap();
        assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
    }
}
