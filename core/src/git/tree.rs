//! A commit's tree, as `git ls-tree -r -t -l -z` prints it: `MODE TYPE OID SIZE<tab>PATH<nul>`, SIZE padded with spaces
//! and `-` for an entry without a size.

pub(super) mod attributes;
pub(super) mod blobs;
pub(super) mod listing;
pub(super) mod walk;

use std::cmp::Ordering;

use super::Oid;

/// Longest chunk that [`Blob::chunk`](super::Blob::chunk) returns.
pub const CHUNK: usize = 128 << 10;
/// Value of [`Entry::origin`] for entries of `.git`.
pub(super) const GIT_DIR: u32 = u32::MAX;
/// Value of [`Entry::origin`] for a file that came with the job's request.
pub(super) const INLINE: u32 = u32::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    Dir,
    File,
    Exec,
    Symlink,
    /// A submodule that was not fetched; a fetched one is a directory. The entry's `oid` is a commit of another
    /// repository.
    Gitlink,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path, whose parts are joined by `/`. No part is empty, `.` or `..`. The path need not be UTF-8.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    pub oid: Oid,
    /// Bytes of a file, or the length of a symlink's target; 0 for other kinds.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime: i64,
    /// Repository of the entry: 0 is the job's own, greater numbers are its submodules. Entries of `.git`, and a file
    /// that came with the request, are in no repository.
    pub origin: u32,
    /// True if the store of LFS objects has the content, whose SHA-256 is then `oid`: the repository has only a pointer
    /// to it, or another form of it, which a checkout converts.
    pub lfs: bool,
}

impl Entry {
    /// Returns true for an entry of the `.git` that [`Git::git_dir`](super::Git::git_dir) made.
    pub fn is_of_git_dir(&self) -> bool {
        self.origin == GIT_DIR
    }
}

/// Compares paths part by part, in the order of a file transfer (fsutil's): `a/b` comes before `a.b`, unlike in Git's
/// trees and in byte order.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // A path contains no NUL byte.
    let key = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => key(a).cmp(&key(b)),
        None => a.len().cmp(&b.len()),
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TreeError {
    /// The committer made an entry that no checkout may write.
    #[error("the tree has an entry {0:?}, which is no proper path")]
    Unsafe(String),
    /// An object is missing, or the output is not that of Git.
    #[error("the tree cannot be read at {0:?}")]
    Damaged(String),
    /// Other jobs hold the memory that the entries need.
    #[error("its files and folders need more memory than is free (MEMORY_BUDGET)")]
    NoMemory,
    #[error("it has more than {0} files and folders (MAX_FILES): remove some, or let the operator raise it")]
    TooMany(u64),
    #[error("its files have more than {0} bytes together (MAX_TREE_BYTES): remove some, or let the operator raise it")]
    TooLarge(u64),
    #[error("the path {0:?} has more than 4096 bytes: shorten it")]
    LongPath(String),
    #[error("the path {0:?} is more than 256 folders deep: move it up")]
    Deep(String),
    #[error("the target of the link {0:?} has more than 4096 bytes: shorten it")]
    LongTarget(String),
    #[error("the file {0:?} has more than 1 MiB: make it smaller")]
    LargeFile(String),
}

impl TreeError {
    /// Returns true unless the repository is damaged.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Damaged(_))
    }
}

/// Returns what a message shows of a line or a path.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned()
}

/// Sorts entries in [`path_order`], and checks that a checkout could write them.
pub(super) fn checked(mut entries: Vec<Entry>) -> Result<Vec<Entry>, TreeError> {
    entries.shrink_to_fit();
    entries.sort_unstable_by(|a, b| path_order(&a.path, &b.path));
    match entries.first() {
        Some(first) if !is_proper(&first.path) || first.path.contains(&b'/') => {
            return Err(TreeError::Unsafe(shown(&first.path)));
        }
        _ => {}
    }
    for pair in entries.windows(2) {
        let [before, this] = pair else { break };
        // The parent is the entry before, if that is a directory, or one of that entry's own parents.
        let parent_seen = match this.path.iter().rposition(|&b| b == b'/') {
            None => true,
            Some(slash) => match before.path.strip_prefix(&this.path[..slash]) {
                Some([]) => before.kind == EntryKind::Dir,
                Some(rest) => rest[0] == b'/',
                None => false,
            },
        };
        if !is_proper(&this.path) || before.path == this.path || !parent_seen {
            return Err(TreeError::Unsafe(shown(&this.path)));
        }
    }
    Ok(entries)
}

fn is_proper(path: &[u8]) -> bool {
    path.split(|&b| b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

fn entry(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\0")?;
    let tab = line.iter().position(|&b| b == b'\t')?;
    let (head, path) = (std::str::from_utf8(&line[..tab]).ok()?, &line[tab + 1..]);
    let mut words = head.split_ascii_whitespace();
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let (_, oid, size) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let kind = match mode & 0o170000 {
        0o040000 => EntryKind::Dir,
        0o100000 if mode & 0o100 == 0 => EntryKind::File,
        0o100000 => EntryKind::Exec,
        0o120000 => EntryKind::Symlink,
        0o160000 => EntryKind::Gitlink,
        _ => return None,
    };
    let size = match kind {
        EntryKind::Dir | EntryKind::Gitlink => 0,
        _ => size.parse().ok()?,
    };
    Some(Entry { path: path.into(), kind, oid, size, mtime: 0, origin: 0, lfs: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(bytes: &[u8]) -> Result<Vec<Entry>, TreeError> {
        let budget = listing::TreeBudget::new(crate::git::GitBounds::default(), crate::git::MemoryShare::default());
        let mut listing = listing::TreeListing::new(&budget);
        listing.push(bytes)?;
        listing.finish()
    }

    fn listing(lines: &[(&str, &str, &str)]) -> Vec<u8> {
        lines.iter().flat_map(|(mode, size, path)| format!("{mode} x {ID} {size:>7}\t{path}\0").into_bytes()).collect()
    }

    fn files(paths: &[&str]) -> Vec<u8> {
        listing(&paths.iter().map(|p| ("100644", "1", *p)).collect::<Vec<_>>())
    }

    #[test]
    fn kinds_and_sizes_are_read() {
        let entries = parse(&listing(&[
            ("040000", "-", "d"),
            ("100644", "3", "d/f"),
            ("100755", "4", "d/x"),
            ("120000", "5", "link"),
            ("160000", "-", "module"),
        ]))
        .unwrap();
        let read: Vec<_> = entries.iter().map(|e| (&e.path[..], e.kind, e.size)).collect();
        assert_eq!(
            read,
            [
                (&b"d"[..], EntryKind::Dir, 0),
                (b"d/f", EntryKind::File, 3),
                (b"d/x", EntryKind::Exec, 4),
                (b"link", EntryKind::Symlink, 5),
                (b"module", EntryKind::Gitlink, 0)
            ]
        );
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn the_order_is_part_by_part() {
        // Git's own order is a-b, a.c, a/x, a0.
        let entries = parse(&listing(&[
            ("100644", "1", "a-b"),
            ("100644", "1", "a.c"),
            ("040000", "-", "a"),
            ("100644", "1", "a/x"),
            ("100644", "1", "a0"),
        ]))
        .unwrap();
        let paths: Vec<_> = entries.iter().map(|e| std::str::from_utf8(&e.path).unwrap()).collect();
        assert_eq!(paths, ["a", "a/x", "a-b", "a.c", "a0"]);
    }

    #[test]
    fn a_hostile_tree_is_refused() {
        for paths in [
            &["../x"][..],
            &["a", ".."],
            &["."],
            &[""],
            &["/etc/passwd"],
            &["a", "a"],
            &["a", "a/b"], // below a file
            &["a/b"],      // below nothing
            &["a", "b/c"],
        ] {
            assert!(matches!(parse(&files(paths)), Err(TreeError::Unsafe(_))), "{paths:?}");
        }
        let below_a_link = listing(&[("120000", "4", "a"), ("100644", "1", "a/b")]);
        assert!(matches!(parse(&below_a_link), Err(TreeError::Unsafe(_))));
    }

    #[test]
    fn a_missing_object_is_damage() {
        for lines in [("100644", "BAD", "a"), ("100644", "-", "a"), ("020000", "1", "a")] {
            assert!(matches!(parse(&listing(&[lines])), Err(TreeError::Damaged(_))));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_paths_are_survived(paths in prop::collection::vec("[a./]{0,5}", 0..6)) {
            let _ = parse(&files(&paths.iter().map(String::as_str).collect::<Vec<_>>()));
        }

        #[test]
        fn the_order_is_that_of_the_parts(a in "[a./-]{0,8}", b in "[a./-]{0,8}") {
            let parts = a.split('/').cmp(b.split('/'));
            prop_assert_eq!(path_order(a.as_bytes(), b.as_bytes()), parts);
        }
    }
}
