//! How much room a disk has, and of what kind it is.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::fs::{statfs, statvfs};

/// Some builds' worth of mirrors and logs.
const SCARCE_BYTES: u64 = 5 << 30;
const SCARCE_PERCENT: u64 = 5;

/// What is free for us, in bytes and of the inodes.
pub struct Disk {
    free: u64,
    /// Of the bytes.
    percent: u64,
    /// None where the file system makes inodes as it needs them.
    inodes_percent: Option<u64>,
}

pub fn look(path: &Path) -> io::Result<Disk> {
    let disk = statvfs(path)?;
    let percent = |free: u64, total: u64| (u128::from(free) * 100).checked_div(u128::from(total)).map(|p| p as u64);
    Ok(Disk {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        percent: percent(disk.f_bavail, disk.f_blocks).unwrap_or(0),
        inodes_percent: percent(disk.f_favail, disk.f_files),
    })
}

impl Disk {
    pub fn is_scarce(&self) -> bool {
        self.free < SCARCE_BYTES
            || self.percent < SCARCE_PERCENT
            || self.inodes_percent.is_some_and(|p| p < SCARCE_PERCENT)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.free as f64 / f64::from(1 << 30);
        write!(f, "{gib:.1} GiB ({} %)", self.percent)?;
        if let Some(inodes) = self.inodes_percent {
            write!(f, " and {inodes} % of the inodes")?;
        }
        f.write_str(" free")
    }
}

/// What a file system is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Disk,
    Memory(&'static str),
    Network(&'static str),
    Container,
}

/// What cannot be asked counts as a disk.
pub fn medium(path: &Path) -> Medium {
    // The numbers are of linux/magic.h.
    match statfs(path).map(|fs| fs.f_type as u32) {
        Ok(0x0102_1994) => Medium::Memory("tmpfs"),
        Ok(0x8584_58F6) => Medium::Memory("ramfs"),
        Ok(0x6969) => Medium::Network("nfs"),
        Ok(0x517B | 0xFF53_4D42 | 0xFE53_4D42) => Medium::Network("smb"),
        Ok(0x0102_1997) => Medium::Network("9p"),
        Ok(0x00C3_6400) => Medium::Network("ceph"),
        Ok(0x794C_7630) => Medium::Container,
        _ => Medium::Disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_said_and_judged() {
        let disk = |free, percent, inodes_percent| Disk { free, percent, inodes_percent };
        assert_eq!(disk(3 << 29, 50, Some(7)).to_string(), "1.5 GiB (50 %) and 7 % of the inodes free");
        assert_eq!(disk(6 << 30, 50, None).to_string(), "6.0 GiB (50 %) free");
        for scarce in [disk(4 << 30, 50, None), disk(40 << 30, 4, None), disk(40 << 30, 40, Some(4))] {
            assert!(scarce.is_scarce(), "{scarce}");
        }
        assert!(!disk(5 << 30, 5, Some(5)).is_scarce());
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        assert_eq!(medium(Path::new("/dev/shm")), Medium::Memory("tmpfs"));
        assert_eq!(medium(Path::new("/proc")), Medium::Disk);
        assert!(look(Path::new("/nowhere")).is_err());
    }
}
