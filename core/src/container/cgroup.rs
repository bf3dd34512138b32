use std::path::Path;
use std::{fs, io};

/// Moves the processes of the container's cgroup into a group `init` below it, and gives the groups beside that one every
/// controller: version 2 gives none to a group that has processes itself (Linux's Documentation/admin-guide/cgroup-v2.rst,
/// "No Internal Process Constraint"). Version 1 knows no such rule, and nothing is done there. `root` is the mount of the
/// cgroups.
///
/// # Errors
/// The mount is read-only, or a file of it is not as documented.
pub fn delegate(root: &Path) -> io::Result<()> {
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else { return Ok(()) };
    let init = root.join("init");
    fs::create_dir_all(&init)?;
    for pid in fs::read_to_string(root.join("cgroup.procs"))?.lines() {
        // A process that has just ended cannot be moved, and stands in no one's way.
        let _ = fs::write(init.join("cgroup.procs"), pid);
    }
    let all: Vec<_> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    fs::write(root.join("cgroup.subtree_control"), all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_gives_its_controllers_to_the_groups_below() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        delegate(dir.path()).unwrap();
        assert!(!at("init").exists(), "version 1 is left alone");
        fs::write(at("cgroup.controllers"), "cpu memory\n").unwrap();
        fs::write(at("cgroup.procs"), "1\n").unwrap();
        delegate(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(at("cgroup.subtree_control")).unwrap(), "+cpu +memory");
        assert_eq!(fs::read_to_string(at("init/cgroup.procs")).unwrap(), "1");
    }
}
