//! Reads a tree while Git lists it, and stops at the first bound that it breaks. A commit of a few hundred bytes can have
//! any number of files, because one folder may stand in many places.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{TreeError, entry, shown};
use crate::git::bounds::{DEPTH, GIT_FILE, GitBounds, PATH};
use crate::git::{Entry, EntryKind, MemoryShare};

/// Longest line besides its path: mode, type, id and size.
const HEAD: usize = 200;

/// Bytes of memory that an entry takes besides its path. A million entries with paths of 37 bytes took 145 MB.
const ENTRY: u64 = 104;
/// Copies of an entry until the file times are set, because a table of times and its file take room beside the entries.
const COPIES: u64 = 3;
/// Copies of an entry from then on. A build of a folder has two.
const KEPT: u64 = 2;

/// Bytes of memory that the patterns of `.dockerignore` take for each byte of the file.
const PATTERNS: u64 = 32;

/// The entries and bytes that the listings of one commit have had so far, its submodules included.
#[derive(Debug)]
pub(in crate::git) struct TreeBudget {
    bounds: GitBounds,
    files: AtomicU64,
    bytes: AtomicU64,
    memory: MemoryShare,
}

impl TreeBudget {
    pub fn new(bounds: GitBounds, memory: MemoryShare) -> Self {
        Self { bounds, files: AtomicU64::new(0), bytes: AtomicU64::new(0), memory }
    }

    /// Returns the share in which the entries have their memory.
    pub fn memory(&self) -> MemoryShare {
        self.memory.clone()
    }

    /// Returns true if there is memory for an entry.
    fn has_room(&self, entry: &Entry) -> bool {
        self.memory.grow(memory_of_copies(entry, COPIES))
    }

    /// Takes one entry's share.
    fn charge(&self, bytes: u64) -> Result<(), TreeError> {
        let GitBounds { files: most, bytes: largest, .. } = self.bounds;
        if self.files.fetch_add(1, Relaxed) >= most {
            return Err(TreeError::TooMany(most));
        }
        match self.bytes.fetch_add(bytes, Relaxed).checked_add(bytes).is_none_or(|sum| sum > largest) {
            true => Err(TreeError::TooLarge(largest)),
            false => Ok(()),
        }
    }
}

/// Returns the memory, in bytes, that is counted for the entries of a snapshot.
pub(in crate::git) fn memory_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| memory_of_copies(entry, KEPT)).sum()
}

fn memory_of_copies(entry: &Entry, copies: u64) -> u64 {
    let own = copies * (ENTRY + entry.path.len() as u64);
    match entry.path.ends_with(b".dockerignore") {
        true => own + PATTERNS * entry.size.min(GIT_FILE),
        false => own,
    }
}

/// A listing that is being read.
pub(in crate::git) struct TreeListing<'a> {
    budget: &'a TreeBudget,
    entries: Vec<Entry>,
    /// Beginning of a line.
    rest: Vec<u8>,
}

impl<'a> TreeListing<'a> {
    pub fn new(budget: &'a TreeBudget) -> Self {
        Self { budget, entries: Vec::new(), rest: Vec::new() }
    }

    /// Takes the next bytes that Git has printed.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        // A tree that is refused needs no memory, however little of it is free.
        self.take(bytes).inspect_err(|_| self.budget.memory.restart())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        for piece in bytes.split_inclusive(|&byte| byte == 0) {
            self.rest.extend_from_slice(piece);
            if self.rest.len() > HEAD + PATH {
                return Err(TreeError::LongPath(shown(&self.rest)));
            }
            if piece.ends_with(b"\0") {
                let entry = entry(&self.rest).ok_or_else(|| TreeError::Damaged(shown(&self.rest)))?;
                self.rest.clear();
                within_bounds(&entry)?;
                self.budget.charge(entry.size.saturating_add(entry.path.len() as u64))?;
                if self.budget.has_room(&entry) {
                    self.entries.push(entry);
                } else {
                    // The rest is only counted, so that the job knows how much it waits for.
                    self.entries = Vec::new();
                }
            }
        }
        Ok(())
    }

    /// Returns the entries in the order of the listing, with `mtime` 0. [`checked`](super::checked) comes next.
    pub fn listed(self) -> Result<Vec<Entry>, TreeError> {
        if self.budget.memory.shortage().is_some() {
            return Err(TreeError::NoMemory);
        }
        match self.rest.is_empty() {
            true => Ok(self.entries),
            false => Err(TreeError::Damaged(shown(&self.rest))),
        }
    }

    /// Returns the checked entries.
    #[cfg(any(test, fuzzing))]
    pub fn finish(self) -> Result<Vec<Entry>, TreeError> {
        super::checked(self.listed()?)
    }
}

fn within_bounds(entry: &Entry) -> Result<(), TreeError> {
    let path = || shown(&entry.path);
    if entry.path.len() > PATH {
        return Err(TreeError::LongPath(path()));
    }
    if entry.path.iter().filter(|&&byte| byte == b'/').count() > DEPTH {
        return Err(TreeError::Deep(path()));
    }
    let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    match entry.kind {
        EntryKind::Symlink if entry.size > PATH as u64 => Err(TreeError::LongTarget(path())),
        EntryKind::File | EntryKind::Exec
            if entry.size > GIT_FILE && (name == b".gitattributes" || entry.path == b".gitmodules") =>
        {
            Err(TreeError::LargeFile(path()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(bounds: GitBounds, lines: &[(&str, u64, String)], piece: usize) -> Result<usize, TreeError> {
        let budget = TreeBudget::new(bounds, MemoryShare::default());
        let mut listing = TreeListing::new(&budget);
        let text: Vec<u8> = lines
            .iter()
            .flat_map(|(mode, size, path)| format!("{mode} blob {ID} {size:>7}\t{path}\0").into_bytes())
            .collect();
        text.chunks(piece).try_for_each(|piece| listing.push(piece))?;
        listing.finish().map(|entries| entries.len())
    }

    #[test]
    fn each_bound_admits_what_is_at_it() {
        let bounds = GitBounds { files: 3, bytes: 100, ..GitBounds::default() };
        let wide = GitBounds { bytes: 100 << 20, ..GitBounds::default() };
        let files = |count: usize| (0..count).map(|n| ("100644", 1, n.to_string())).collect::<Vec<_>>();
        let one = |mode, size, path: &str| vec![(mode, size, path.to_owned())];
        for piece in [1, 7, 10_000] {
            assert_eq!(read(bounds, &files(3), piece), Ok(3));
            assert_eq!(read(bounds, &files(4), piece), Err(TreeError::TooMany(3)));
            // The path counts, too.
            assert_eq!(read(bounds, &one("100644", 99, "a"), piece), Ok(1));
            assert_eq!(read(bounds, &one("100644", 100, "a"), piece), Err(TreeError::TooLarge(100)));
            assert_eq!(read(bounds, &one("100644", u64::MAX, "a"), piece), Err(TreeError::TooLarge(100)));
            assert_eq!(read(wide, &one("120000", 4096, "l"), piece), Ok(1));
            assert_eq!(read(wide, &one("120000", 4097, "l"), piece), Err(TreeError::LongTarget("l".into())));
            for name in [".gitmodules", ".gitattributes"] {
                assert_eq!(read(wide, &one("100644", 1 << 20, name), piece), Ok(1));
                let large = read(wide, &one("100644", (1 << 20) + 1, name), piece);
                assert_eq!(large, Err(TreeError::LargeFile(name.into())));
            }
            assert_eq!(read(wide, &one("100644", 1, &"n".repeat(4096)), piece), Ok(1));
            assert!(matches!(read(wide, &one("100644", 1, &"n".repeat(4097)), piece), Err(TreeError::LongPath(_))));
            let deep = |depth: usize| {
                let path = |depth| vec!["d"; depth].join("/");
                (1..=depth).map(|n| ("040000", 0, path(n))).chain([("100644", 1, path(depth + 1))]).collect::<Vec<_>>()
            };
            assert!(matches!(read(wide, &deep(257), piece), Err(TreeError::Deep(_))));
        }
        // Nothing waits for the end of a path without one.
        let budget = TreeBudget::new(wide, MemoryShare::default());
        assert!(TreeListing::new(&budget).push(&[b'x'; 5000]).is_err());
    }

    /// The listings of a commit and of its submodules have one budget.
    #[test]
    fn listings_share_their_budget() {
        let budget = TreeBudget::new(GitBounds { files: 1, ..GitBounds::default() }, MemoryShare::default());
        let line = format!("100644 blob {ID} 1\ta\0");
        assert_eq!(TreeListing::new(&budget).push(line.as_bytes()), Ok(()));
        assert_eq!(TreeListing::new(&budget).push(line.as_bytes()), Err(TreeError::TooMany(1)));
    }

    /// A listing that finds no more memory still counts, and gives up none of its bounds.
    #[test]
    fn a_listing_without_memory_says_how_much_it_needs() {
        let lines = |count| (0..count).map(|n| format!("100644 blob {ID} 1\t{n:06}\0")).collect::<String>();
        let of_one = COPIES * (ENTRY + 6);
        let memory = crate::git::MemoryBudget::new(100 * of_one, 1);
        let read = |share: &MemoryShare, count| {
            let budget = TreeBudget::new(GitBounds { files: 1000, ..GitBounds::default() }, share.clone());
            let mut listing = TreeListing::new(&budget);
            listing.push(lines(count).as_bytes())?;
            listing.finish().map(|entries| entries.len())
        };
        let other = memory.share();
        assert_eq!((read(&other, 60), other.shortage()), (Ok(60), None));
        let share = memory.share();
        assert_eq!((read(&share, 300), share.shortage()), (Err(TreeError::NoMemory), Some(300 * of_one)));
        drop(share);
        let share = memory.share();
        assert_eq!((read(&share, 1001), share.shortage()), (Err(TreeError::TooMany(1000)), None));
    }
}
