//! Kinds of file systems: a helper of the checks, not a check.

use std::path::Path;

use rustix::fs::statfs;

/// The medium of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    Disk,
    Memory(&'static str),
    Network(&'static str),
    Container,
}

/// Returns the medium of the file system that has `path`. An unknown one counts as a disk.
pub fn medium(path: &Path) -> Medium {
    // The numbers are those of linux/magic.h.
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
    fn memory_is_told_from_a_disk() {
        assert_eq!(medium(Path::new("/dev/shm")), Medium::Memory("tmpfs"));
        assert_eq!(medium(Path::new("/proc")), Medium::Disk);
    }
}
