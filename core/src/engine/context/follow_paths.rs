//! Resolves follow-paths like `github.com/tonistiigi/fsutil`: the paths that `COPY` names, and the targets of the
//! symlinks on the way to them.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::git::{Entry, EntryKind, Oid, path_order};

use super::pattern::{BadPattern, Pattern, clean};

/// The targets of a tree's symlinks, by the id of their blob.
pub(in crate::engine) type SymlinkTargets = HashMap<Oid, Vec<u8>>;

/// Number of symlinks that one path may lead through, as in Linux's own resolution of paths.
const MAX_LINKS: usize = 40;
/// Number of paths that are followed for one build, because wildcards through links can double the paths at every step.
const MAX_PATHS: usize = 10_000;

/// Returns the include patterns for `paths`, or `None` if one of them leads to the whole tree.
pub(in crate::engine) fn follow(
    entries: &[Entry],
    links: &SymlinkTargets,
    paths: &[Vec<u8>],
) -> Result<Option<Vec<Vec<u8>>>, BadPattern> {
    let mut resolver = LinkResolver { entries, links, seen: HashSet::new(), found: BTreeSet::new() };
    for path in paths {
        resolver.add(path.clone(), MAX_LINKS)?;
    }
    Ok(without_nested(resolver.found))
}

/// Removes the paths that are below the path before them, like fsutil. Returns `None` if the paths are the whole tree.
pub(super) fn without_nested(paths: impl IntoIterator<Item = Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        if path == b"." {
            return None;
        }
        if !kept.last().is_some_and(|last| is_below(&path, last)) {
            kept.push(path);
        }
    }
    Some(kept)
}

/// Returns true if `path` is in the directory `dir`.
pub(super) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path[dir.len()] == b'/' && path.starts_with(dir)
}

struct LinkResolver<'a> {
    entries: &'a [Entry],
    links: &'a SymlinkTargets,
    seen: HashSet<Vec<u8>>,
    found: BTreeSet<Vec<u8>>,
}

impl LinkResolver<'_> {
    fn add(&mut self, path: Vec<u8>, links_left: usize) -> Result<(), BadPattern> {
        if self.seen.len() == MAX_PATHS || !self.seen.insert(path.clone()) {
            return Ok(());
        }
        let mut current = b".".to_vec();
        let mut parts = path.split(|&b| b == b'/');
        while let Some(part) = parts.next() {
            current = join(&current, part);
            let targets = self.targets(&current)?;
            if targets.is_empty() {
                continue;
            }
            self.found.insert(current);
            let rest = parts.collect::<Vec<_>>().join(&b'/');
            for target in targets {
                if links_left > 0 {
                    self.add(join(&target, &rest), links_left - 1)?;
                }
            }
            return Ok(());
        }
        self.found.insert(current);
        Ok(())
    }

    /// Returns the targets of the symlinks that `path` names. The last part of the path may have wildcards.
    fn targets(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, BadPattern> {
        let (dir, base) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let named: Vec<&Entry> = if has_wildcards(base) {
            let pattern = Pattern::of_name(base)?;
            let mut named = Vec::new();
            for entry in children(self.entries, dir) {
                if entry.kind == EntryKind::Symlink && pattern.matches_name(name(&entry.path))? {
                    named.push(entry);
                }
            }
            named
        } else {
            find(self.entries, path).map(|i| &self.entries[i]).into_iter().collect()
        };
        let target = |entry: &&Entry| {
            let target = self.links.get(&entry.oid).filter(|_| entry.kind == EntryKind::Symlink)?;
            Some(match target.starts_with(b"/") {
                true => clean(target),
                false => clean(&[b"/", dir, b"/", target.as_slice()].concat()),
            })
        };
        Ok(named.iter().filter_map(target).collect())
    }
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

fn join(dir: &[u8], rest: &[u8]) -> Vec<u8> {
    clean(&[dir, b"/", rest].concat())
}

fn has_wildcards(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Returns the index of `path` in entries that are in fsutil's order.
fn find(entries: &[Entry], path: &[u8]) -> Option<usize> {
    entries.binary_search_by(|entry| path_order(&entry.path, path)).ok()
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/')
}

fn children<'a>(entries: &'a [Entry], dir: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
    let (start, depth) = match dir {
        b"" => (Some(0), 0),
        dir => (find(entries, dir).map(|at| at + 1), parts(dir).count()),
    };
    let below = start.map_or(&[][..], |start| &entries[start..]);
    below
        .iter()
        .take_while(move |entry| dir.is_empty() || is_below(&entry.path, dir))
        .filter(move |entry| parts(&entry.path).count() == depth + 1)
}
