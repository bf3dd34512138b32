//! The finding on a disk's room: a helper of the checks, not a check.

use std::path::Path;

use super::Finding;
use crate::disk::{self, Disk, Floor};

/// Room below which a disk is scarce: the mirrors and logs of some builds.
const SCARCE_BYTES: u64 = 5 << 30;
const SCARCE_PERCENT: u64 = 5;

/// Compares the disk of `dir` with the floor. `what` begins the message, such as `/data can be written,`; `advice` is what
/// to do when there is little room.
pub fn judge(check: &'static str, what: &str, dir: &Path, floor: &Floor, advice: &str) -> Finding {
    match disk::measure(dir) {
        Err(error) => Finding::warn(check, format!("{what} its disk cannot be asked: {error}")),
        Ok(disk) if !floor.holds(&disk) => {
            Finding::bad(check, format!("{what} {disk}: jobs wait below {floor}; {advice}"))
        }
        Ok(disk) if is_scarce(&disk) => Finding::warn(check, format!("{what} {disk}: {advice}")),
        Ok(disk) => Finding::ok(check, format!("{what} {disk}")),
    }
}

fn is_scarce(disk: &Disk) -> bool {
    disk.free < SCARCE_BYTES
        || disk.percent < SCARCE_PERCENT
        || disk.inodes_percent.is_some_and(|percent| percent < SCARCE_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::FindingStatus;
    use crate::model::Percent;

    #[test]
    fn little_room_is_told() {
        let disk = |free, percent, inodes_percent| Disk { free, percent, inodes_percent };
        for scarce in [disk(4 << 30, 50, None), disk(40 << 30, 4, None), disk(40 << 30, 40, Some(4))] {
            assert!(is_scarce(&scarce), "{scarce}");
        }
        assert!(!is_scarce(&disk(5 << 30, 5, Some(5))));
        let floor = Floor { bytes: u64::MAX, inodes: Percent::new(0).unwrap() };
        let found = judge("data", "/ has", Path::new("/"), &floor, "make room");
        assert_eq!(found.status, FindingStatus::Bad);
        assert!(found.message.contains("jobs wait below DISK_FLOOR=") && found.message.ends_with("; make room"));
    }
}
