//! Bounds of what one repository may cost. Over a bound its job ends as the repository's own failure.

use std::time::Duration;

use crate::process::{ProcessLimits, ProgramGroup};

/// Bounds that the operator sets.
#[derive(Debug, Clone, Copy)]
pub struct GitBounds {
    /// MAX_FILES: number of files and folders of a commit, with those of its submodules.
    pub files: u64,
    /// MAX_TREE_BYTES: bytes of all files and paths of a commit, with those of its submodules, before LFS files are
    /// fetched.
    pub bytes: u64,
    /// MAX_REFS: number of branches and tags of a repository.
    pub refs: u64,
    /// GIT_MEMORY: bytes of the data of one process of Git.
    pub memory: u64,
    /// GIT_CPU_TIME: time of the processors for one process of Git.
    pub cpu_time: Duration,
    /// Control group of all processes of Git, if there is one.
    pub group: Option<&'static ProgramGroup>,
    /// Free bytes of the disk below which a fetch ends: half of DISK_FLOOR.
    pub disk_reserve: u64,
}

/// Number of folders that may be in one another.
pub(super) const DEPTH: usize = 256;
/// Longest path, and longest target of a link, in bytes. Linux has no longer ones (PATH_MAX).
pub(super) const PATH: usize = 4096;
/// Largest `.gitattributes` and `.gitmodules`, in bytes. Nobody writes a larger one by hand.
pub(super) const GIT_FILE: u64 = 1 << 20;

impl GitBounds {
    pub(super) fn process(&self) -> ProcessLimits {
        ProcessLimits { memory: self.memory, cpu_time: self.cpu_time, group: self.group }
    }
}

impl Default for GitBounds {
    /// Returns the defaults of the settings.
    fn default() -> Self {
        Self {
            files: 1_000_000,
            bytes: 20 << 30,
            refs: 200_000,
            memory: 2 << 30,
            cpu_time: Duration::from_secs(3600),
            group: None,
            disk_reserve: 1 << 30,
        }
    }
}
