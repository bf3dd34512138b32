//! Entries for the targets in `fuzz/`: what reads what a repository has.

pub use super::tarball::fuzzing::tarball;
use super::tree::listing::{TreeBudget, TreeListing};
use super::{GitBounds, MemoryShare, lfs, submodules};

/// Takes the output of `git ls-tree`, whose paths a committer chooses.
pub fn tree_listing(text: &[u8]) {
    let budget = TreeBudget::new(GitBounds::default(), MemoryShare::default());
    let mut listing = TreeListing::new(&budget);
    if text.chunks(7).all(|piece| listing.push(piece).is_ok())
        && let Ok(entries) = listing.finish()
    {
        assert!(entries.iter().all(|entry| !entry.path.split(|&b| b == b'/').any(|part| part == b"..")));
    }
}

/// Takes the output of `git config --list -z` for a `.gitmodules`.
pub fn gitmodules(listing: &[u8]) {
    submodules::fuzz(listing);
}

pub fn lfs_pointer(content: &[u8]) {
    let _ = lfs::parse_pointer(content);
}
