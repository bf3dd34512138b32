//! The room that a disk has, and the room that it must have.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::model::Percent;

/// The free part of a disk, as far as this user may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Free bytes.
    pub free: u64,
    /// Free share of the bytes.
    pub percent: u64,
    /// Free share of the inodes. `None` where the file system makes inodes as it needs them.
    pub inodes_percent: Option<u64>,
}

/// Measures the disk that `path` is on.
///
/// # Errors
/// The path does not exist.
pub fn measure(path: &Path) -> io::Result<Disk> {
    let disk = statvfs(path)?;
    let percent = |free: u64, total: u64| (u128::from(free) * 100).checked_div(u128::from(total)).map(|p| p as u64);
    Ok(Disk {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        percent: percent(disk.f_bavail, disk.f_blocks).unwrap_or(0),
        inodes_percent: percent(disk.f_favail, disk.f_files),
    })
}

/// Measures the disks of these folders, and returns the one that is short of `floor`, or else the one with the least free
/// bytes.
///
/// # Errors
/// A folder does not exist; the error has its path.
pub fn measure_fullest<'a>(
    folders: &'a [PathBuf],
    floor: &Floor,
) -> Result<Option<(&'a Path, Disk)>, (&'a Path, io::Error)> {
    let measured = folders.iter().map(|folder| match measure(folder) {
        Ok(disk) => Ok((folder.as_path(), disk)),
        Err(error) => Err((folder.as_path(), error)),
    });
    let disks = measured.collect::<Result<Vec<_>, _>>()?;
    Ok(disks.into_iter().min_by_key(|(_, disk)| (floor.holds(disk), disk.free)))
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} %)", ByteSize(self.free), self.percent)?;
        if let Some(inodes) = self.inodes_percent {
            write!(f, " and {inodes} % of the inodes")?;
        }
        f.write_str(" free")
    }
}

/// The room that must be free before a job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// DISK_FLOOR, bytes.
    pub bytes: u64,
    /// INODE_FLOOR
    pub inodes: Percent,
}

impl Floor {
    /// Returns whether the disk has this room.
    pub fn holds(&self, disk: &Disk) -> bool {
        disk.free >= self.bytes && disk.inodes_percent.is_none_or(|percent| percent >= self.inodes.get().into())
    }

    /// Returns a floor with a quarter more bytes, because whoever makes room makes some for the next job as well.
    pub fn with_margin(&self) -> Self {
        Self { bytes: self.bytes.saturating_add(self.bytes / 4), ..*self }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DISK_FLOOR={} and INODE_FLOOR={}", ByteSize(self.bytes), self.inodes)
    }
}

/// A number of bytes that is written for people.
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.0 as f64 / f64::from(1 << 30);
        match self.0 >> 30 {
            0 => write!(f, "{} MiB", self.0 >> 20),
            1..1024 => write!(f, "{gib:.1} GiB"),
            _ => write!(f, "{:.1} TiB", gib / 1024.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_room_is_shown_and_compared_with_the_floor() {
        let disk = |free, percent, inodes_percent| Disk { free, percent, inodes_percent };
        assert_eq!(disk(3 << 29, 50, Some(7)).to_string(), "1.5 GiB (50 %) and 7 % of the inodes free");
        assert_eq!(ByteSize(999 << 40).to_string(), "999.0 TiB");
        assert_eq!(disk(600 << 20, 50, None).to_string(), "600 MiB (50 %) free");
        let floor = Floor { bytes: 2 << 30, inodes: Percent::new(5).unwrap() };
        for (disk, holds) in [
            (disk(2 << 30, 0, Some(5)), true),
            (disk(2 << 30, 0, None), true),
            (disk((2 << 30) - 1, 99, None), false),
            (disk(9 << 30, 99, Some(4)), false),
        ] {
            assert_eq!(floor.holds(&disk), holds, "{disk}");
        }
        assert!(!floor.with_margin().holds(&disk(2 << 30, 0, None)));
        assert!(measure(Path::new("/nowhere")).is_err());
    }
}
