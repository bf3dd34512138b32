use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::folder;
use super::keys::succeed;

/// A disk of the test's own, of so many MiB: ext4 in a file. Needs root. Make it before the daemon that uses it.
pub struct Disk(TempDir);

impl Disk {
    pub fn new(mib: u32) -> Self {
        let dir = folder();
        let image = dir.path().join("image");
        fs::create_dir(dir.path().join("disk")).unwrap();
        fs::File::create(&image).unwrap().set_len(u64::from(mib) << 20).unwrap();
        // No blocks are reserved for root, so that a full disk is full for root too.
        succeed(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image), b"");
        let disk = Self(dir);
        disk.mount(&image);
        disk
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn mount(&self, image: &Path) {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(image).arg(self.path()), b"");
    }

    /// Leaves no byte free, until [`Disk::free`].
    pub fn fill(&self) {
        fs::write(self.filler(), vec![1; 1 << 20]).and_then(|()| self.append()).unwrap_err();
        // Small writes fill the rest that the last large one left free.
        let mut file = fs::File::options().append(true).open(self.filler()).unwrap();
        while std::io::Write::write(&mut file, &[1; 512]).is_ok() {}
    }

    fn append(&self) -> std::io::Result<()> {
        let mut file = fs::File::options().append(true).open(self.filler())?;
        loop {
            std::io::Write::write_all(&mut file, &[1; 64 << 10])?;
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Makes the kernel refuse every write from now on, as after an error of the disk.
    pub fn fail(&self) {
        succeed(Command::new("mount").args(["-o", "remount,abort"]).arg(self.path()), b"");
    }

    /// When nobody uses it: what an operator does about that. On a copy, as a container that was started meanwhile may
    /// still have the old one mounted.
    pub fn repair(&self) {
        succeed(Command::new("umount").arg(self.path()), b"");
        let image = self.0.path().join("repaired");
        fs::copy(self.0.path().join("image"), &image).unwrap();
        // 1: errors were corrected.
        let checked = Command::new("e2fsck").args(["-fy"]).arg(&image).output().unwrap();
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
        self.mount(&image);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that a failed test left may still use it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
