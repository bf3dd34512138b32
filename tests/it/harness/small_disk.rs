use std::path::{Path, PathBuf};
use std::process::Command;

use super::keys::succeed;

/// A folder on a file system of its own, which is soon full; needs root.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the folder if it is not there.
    pub fn mount(at: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at), b"");
        Self(at.into())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
