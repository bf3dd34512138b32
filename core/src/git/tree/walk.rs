//! The file that a path means. A path of a tree is walked as the kernel walks one (path_resolution(7)), with the tree
//! as the only file system.

use std::fmt;

use super::{Entry, EntryKind, path_order};

/// Number of links that Linux follows in one path.
const MAX_LINKS: usize = 40;

/// The end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathEnd {
    File {
        /// Position among the entries.
        at: usize,
        /// Paths of the links that lead to the file.
        links: Vec<Vec<u8>>,
    },
    Nothing,
    /// A link that leads to no file of the tree.
    BrokenLink(BrokenLink),
    Folder,
    Submodule,
}

/// A link that leads to no file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLink {
    pub link: Vec<u8>,
    pub target: Vec<u8>,
    pub why: &'static str,
}

impl fmt::Display for BrokenLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [link, target] =
            [&self.link, &self.target].map(|path| String::from_utf8_lossy(path).escape_debug().to_string());
        write!(f, "the link {link} → {target} {}", self.why)
    }
}

/// A walk along a path. It stops at each link until the caller gives it the link's target, because targets are read
/// elsewhere.
#[derive(Debug)]
pub(crate) struct PathWalk {
    /// Parts of the present folder's path.
    here: Vec<Vec<u8>>,
    /// Parts of the path that are left, the first one last.
    rest: Vec<Vec<u8>>,
    links: Vec<Vec<u8>>,
    /// Path and target of the last link.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
pub(crate) enum WalkStep {
    /// The entry at this position is a link: [`PathWalk::follow`] takes its target.
    Link(usize),
    End(PathEnd),
}

impl PathWalk {
    pub fn new(path: &[u8]) -> Self {
        Self { here: vec![], rest: parts(path), links: vec![], last: None }
    }

    /// Walks to the next link, or to the end.
    pub fn step(&mut self, entries: &[Entry]) -> WalkStep {
        let mut end = PathEnd::Folder;
        while let Some(part) = self.rest.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => match self.here.pop() {
                    Some(_) => {
                        end = PathEnd::Folder;
                        continue;
                    }
                    None => return self.nothing("leaves the repository"),
                },
                _ => self.here.push(part),
            }
            let path = self.place();
            let Ok(at) = entries.binary_search_by(|entry| path_order(&entry.path, &path)) else {
                return self.nothing("leads to nothing");
            };
            match entries[at].kind {
                EntryKind::Dir => end = if is_submodule(entries, at) { PathEnd::Submodule } else { PathEnd::Folder },
                EntryKind::Symlink => return WalkStep::Link(at),
                EntryKind::File | EntryKind::Exec if self.rest.is_empty() => {
                    return WalkStep::End(PathEnd::File { at, links: std::mem::take(&mut self.links) });
                }
                // A submodule that was not fetched is an empty folder.
                EntryKind::Gitlink if self.rest.is_empty() => return WalkStep::End(PathEnd::Submodule),
                EntryKind::File | EntryKind::Exec | EntryKind::Gitlink => return self.nothing("leads to nothing"),
            }
        }
        WalkStep::End(end)
    }

    /// Returns the present path, without links.
    pub fn place(&self) -> Vec<u8> {
        self.here.join(&b'/')
    }

    /// Follows the present link. Returns the end if the link leads nowhere.
    pub fn follow(&mut self, target: &[u8]) -> Option<PathEnd> {
        let path = self.place();
        self.last = Some((path.clone(), target.into()));
        if target.starts_with(b"/") {
            return Some(self.lost("is absolute, and so leaves the repository"));
        }
        if self.links.len() == MAX_LINKS {
            return Some(self.lost("leads in a circle"));
        }
        self.links.push(path);
        self.here.pop();
        self.rest.extend(parts(target));
        None
    }

    fn nothing(&self, why: &'static str) -> WalkStep {
        WalkStep::End(self.lost(why))
    }

    fn lost(&self, why: &'static str) -> PathEnd {
        match self.last.clone() {
            Some((link, target)) => PathEnd::BrokenLink(BrokenLink { link, target, why }),
            None => PathEnd::Nothing,
        }
    }
}

/// Returns true for a submodule's folder, which is recognised by its files: they belong to another repository.
fn is_submodule(entries: &[Entry], at: usize) -> bool {
    let dir = &entries[at];
    let inside =
        entries.get(at + 1).filter(|next| next.path.strip_prefix(&dir.path[..]).is_some_and(|rest| rest[0] == b'/'));
    inside.is_some_and(|next| next.origin != dir.origin)
}

/// Splits a path into its parts, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|&b| b == b'/').map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::git::Oid;

    /// The links of a test tree. In its list a path that ends with `/` is a folder, and one with `→` in it a link.
    type TestLinks = Vec<(Vec<u8>, Vec<u8>)>;

    fn tree(paths: &[&str]) -> (Vec<Entry>, TestLinks) {
        let oid = Oid::from_hex(&[b'1'; 40]).unwrap();
        let mut links = Vec::new();
        let entry = |path: &&str| {
            let (path, kind) = match (path.split_once('→'), path.strip_suffix('/')) {
                (Some((link, target)), _) => {
                    links.push((link.into(), target.into()));
                    (link, EntryKind::Symlink)
                }
                (None, Some(dir)) => (dir, EntryKind::Dir),
                (None, None) if path.ends_with('@') => (path.trim_end_matches('@'), EntryKind::Gitlink),
                (None, None) => (*path, EntryKind::File),
            };
            Entry { path: path.into(), kind, oid, size: 0, mtime: 0, origin: 0, lfs: false }
        };
        let mut entries: Vec<_> = paths.iter().map(entry).collect();
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        (entries, links)
    }

    fn walk<'a>(entries: &[Entry], path: &str, target: impl Fn(usize) -> &'a Vec<u8>) -> PathEnd {
        let mut walk = PathWalk::new(path.as_bytes());
        loop {
            match walk.step(entries) {
                WalkStep::End(found) => return found,
                WalkStep::Link(at) => {
                    if let Some(found) = walk.follow(target(at)) {
                        return found;
                    }
                }
            }
        }
    }

    fn found(paths: &[&str], path: &str) -> String {
        let (entries, links) = tree(paths);
        let target = |at: usize| &links.iter().find(|(link, _)| *link == entries[at].path).unwrap().1;
        match walk(&entries, path, target) {
            PathEnd::File { at, .. } => String::from_utf8(entries[at].path.clone()).unwrap(),
            PathEnd::BrokenLink(lost) => lost.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_path_leads_through_links() {
        let tree = [
            "d/",
            "d/f",
            "d/up→../top",
            "top",
            "link→d/f",
            "chain→link",
            "dir→d",
            "deep/",
            "deep/er/",
            "deep/er/l→../../d",
            "abs→/top",
            "out→../top",
            "out2→d/../../x",
            "gone→none",
            "a→b",
            "b→a",
            "self→self",
            "sub@",
            "insub→sub/x",
            "slash→top/",
            "dots→./d/.//f",
            "todir→d/.",
            "here→.",
        ];
        for (path, expected) in [
            ("top", "top"),
            ("d/f", "d/f"),
            ("link", "d/f"),
            ("chain", "d/f"),
            ("dir/f", "d/f"),
            ("dir/up", "top"),
            ("deep/er/l/up", "top"),
            ("here/here/dots", "d/f"),
            ("d", "Folder"),
            ("dir", "Folder"),
            ("todir", "Folder"),
            ("here", "Folder"),
            ("sub", "Submodule"),
            ("none", "Nothing"),
            ("sub/x", "Nothing"),
            ("top/x", "Nothing"),
            ("abs", "the link abs → /top is absolute, and so leaves the repository"),
            ("out", "the link out → ../top leaves the repository"),
            ("out2", "the link out2 → d/../../x leaves the repository"),
            ("gone", "the link gone → none leads to nothing"),
            ("insub", "the link insub → sub/x leads to nothing"),
            ("slash", "the link slash → top/ leads to nothing"),
            ("a", "the link a → b leads in a circle"),
            ("self", "the link self → self leads in a circle"),
        ] {
            assert_eq!(found(&tree, path), expected, "{path}");
        }
    }

    #[test]
    fn a_submodule_that_is_there_is_known_by_its_files() {
        let (mut entries, _) = tree(&["s/", "s/f", "d/", "d/f"]);
        entries.iter_mut().filter(|entry| entry.path == b"s/f").for_each(|entry| entry.origin = 1);
        let found = |path| walk(&entries, path, |_| unreachable!());
        assert_eq!((found("s"), found("d")), (PathEnd::Submodule, PathEnd::Folder));
        assert!(matches!(found("s/f"), PathEnd::File { .. }));
    }

    proptest! {
        #[test]
        fn a_walk_ends(paths in prop::collection::vec("[ab]→[ab./]{1,6}", 0..4), path in "[ab./]{0,6}") {
            let mut paths: Vec<_> = paths.iter().map(String::as_str).collect();
            paths.sort_by_key(|path| path.as_bytes()[0]);
            paths.dedup_by_key(|path| path.as_bytes()[0]);
            found(&paths, &path);
        }
    }
}
