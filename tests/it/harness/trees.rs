//! Trees made at random from a seed, and what is in a folder.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;

use super::folder;
use super::keys::succeed;

/// The entries by path: the kind, whether it is executable, and the content or target.
pub type Tree = BTreeMap<Vec<u8>, (&'static str, bool, Vec<u8>)>;

/// Everything below a folder.
pub fn read_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let meta = fs::symlink_metadata(&path).unwrap();
            let value = if meta.is_dir() {
                dirs.push(path);
                ("dir", false, vec![])
            } else if meta.is_symlink() {
                ("link", false, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                ("file", meta.permissions().mode() & 0o111 != 0, fs::read(&path).unwrap())
            };
            tree.insert(name, value);
        }
    }
    tree
}

/// Unpacks a tar stream into a folder.
pub fn unpack(tar: impl Into<Stdio>, dir: &Path) {
    assert!(Command::new("tar").args(["-x", "-C"]).arg(dir).stdin(tar).status().unwrap().success());
}

/// Returns the tree that `git archive` makes of a commit.
pub fn archive(repo: &Path, commit: &str) -> Tree {
    let dir = folder();
    let mut archive = Command::new("git");
    let mut archive = archive.current_dir(repo).args(["archive", commit]).stdout(Stdio::piped()).spawn().unwrap();
    unpack(archive.stdout.take().unwrap(), dir.path());
    assert!(archive.wait().unwrap().success());
    read_tree(dir.path())
}

/// Runs `git fast-import` in a repository.
pub fn import(repo: &Path, stream: &[u8]) {
    let mut git = Command::new("git");
    git.current_dir(repo).args(["-c", "core.compression=0", "-c", "core.fsync=none", "fast-import", "--quiet"]);
    succeed(&mut git, stream);
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    File(Vec<u8>),
    Exec(Vec<u8>),
    /// A symlink with this target.
    Link(Vec<u8>),
}

/// A tree that changes from commit to commit: what is added, edited, renamed, removed, and turned from one kind into
/// another comes from the seed alone.
pub struct RandomTree {
    rng: Rng,
    nodes: BTreeMap<Vec<u8>, Node>,
    any_names: bool,
}

/// Where byte order and the order of a file transfer differ, where a tool might take a name for something else, and
/// what is no UTF-8.
const NAMES: [&[u8]; 26] = [
    b"a",
    b"b",
    b"a.b",
    b"a-b",
    b"a0",
    b"A",
    b"README",
    b"readme",
    b"src",
    b"main.rs",
    b"a b",
    b" ",
    b"\n",
    b"\"quoted\"",
    b"back\\slash",
    b"-rf",
    b"*[x]?",
    b"...",
    b".hidden",
    b"#x",
    b"!x",
    b"%20",
    "\u{fc}\u{263a}".as_bytes(),
    b"\xff\xfe",
    b"\x01\x7f",
    b"long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long",
];
const TARGETS: [&[u8]; 7] = [b"a", b"nowhere/at all", b"../../outside", b"/etc/passwd", b".", b"\xff", b"a/../a/b"];

impl RandomTree {
    pub fn new(seed: u64) -> Self {
        Self::with_names(seed, true)
    }

    /// Makes a tree whose names are in UTF-8 unless they may be any.
    pub fn with_names(seed: u64, any_names: bool) -> Self {
        let mut tree = Self { rng: Rng::with_seed(seed), nodes: BTreeMap::new(), any_names };
        for _ in 0..tree.rng.usize(1..40) {
            let (path, node) = (tree.new_path(), tree.new_node());
            tree.put(path, node);
        }
        tree
    }

    /// Some changes, of all kinds.
    pub fn change(&mut self) {
        for _ in 0..self.rng.usize(1..8) {
            let Some((path, node)) = self.any() else {
                let (path, node) = (self.new_path(), self.new_node());
                self.put(path, node);
                continue;
            };
            match self.rng.u8(0..11) {
                0 | 1 => {
                    let (path, node) = (self.new_path(), self.new_node());
                    self.put(path, node);
                }
                2 | 3 => {
                    let node = self.another_of_its_size(&node);
                    self.put(path, node);
                }
                4 => {
                    let node = self.new_node();
                    self.put(path, node);
                }
                5 => {
                    let other = match node {
                        Node::File(content) => Node::Exec(content),
                        Node::Exec(content) | Node::Link(content) => Node::File(content),
                    };
                    self.put(path, other);
                }
                6 => {
                    self.nodes.remove(&path);
                    let path = self.new_path();
                    self.put(path, node);
                }
                7 => {
                    // A folder replaces a file.
                    let below = [&path, &b"/"[..], self.name()].concat();
                    self.put(below, node);
                }
                8 => {
                    // A file or link replaces a folder.
                    let top = path.split(|&b| b == b'/').next().unwrap().to_vec();
                    self.put(top, node);
                }
                9 => self.put(path, Node::File(vec![])),
                _ => drop(self.nodes.remove(&path)),
            }
        }
    }

    /// Returns the whole tree, with its folders.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        for (path, node) in &self.nodes {
            for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
                tree.insert(path[..at].into(), ("dir", false, vec![]));
            }
            let value = match node {
                Node::File(content) => ("file", false, content.clone()),
                Node::Exec(content) => ("file", true, content.clone()),
                Node::Link(target) => ("link", false, target.clone()),
            };
            tree.insert(path.clone(), value);
        }
        tree
    }

    /// Puts a file there that the changes leave alone only by chance.
    pub fn write(&mut self, path: &str, content: &str) {
        self.put(path.into(), Node::File(content.into()));
    }

    /// The commit of it on a branch, for [`import`]; `from` is empty, or its line `from …`.
    pub fn commit(&self, branch: &str, from: &str) -> Vec<u8> {
        let head = format!("commit refs/heads/{branch}\ncommitter T <t@t> 1500000000 +0000\ndata 1\nx\n");
        let mut commit = [head.as_bytes(), from.as_bytes(), b"deleteall\n"].concat();
        for (path, node) in &self.nodes {
            let (mode, content) = match node {
                Node::File(content) => ("100644", content),
                Node::Exec(content) => ("100755", content),
                Node::Link(target) => ("120000", target),
            };
            commit.extend(format!("M {mode} inline {}\ndata {}\n", quoted(path), content.len()).bytes());
            commit.extend(content);
            commit.push(b'\n');
        }
        commit
    }

    /// Removes what conflicts with the new node: a file in place of its folder, and everything below its path.
    fn put(&mut self, path: Vec<u8>, node: Node) {
        let slashes: Vec<_> = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
        slashes.into_iter().for_each(|at| drop(self.nodes.remove(&path[..at])));
        let below = [&path, &b"/"[..]].concat();
        self.nodes.retain(|path, _| !path.starts_with(&below));
        self.nodes.insert(path, node);
    }

    fn any(&mut self) -> Option<(Vec<u8>, Node)> {
        let at = self.rng.usize(..self.nodes.len().max(1));
        self.nodes.iter().nth(at).map(|(path, node)| (path.clone(), node.clone()))
    }

    fn name(&mut self) -> &'static [u8] {
        self.choose(&NAMES)
    }

    fn choose(&mut self, from: &[&'static [u8]]) -> &'static [u8] {
        loop {
            let chosen = from[self.rng.usize(..from.len())];
            if self.any_names || std::str::from_utf8(chosen).is_ok() {
                return chosen;
            }
        }
    }

    fn new_path(&mut self) -> Vec<u8> {
        let depth = if self.rng.u8(..20) == 0 { 30 } else { self.rng.usize(1..5) };
        let parts: Vec<_> = (0..depth).map(|_| self.name()).collect();
        parts.join(&b'/')
    }

    fn new_node(&mut self) -> Node {
        match self.rng.u8(..10) {
            0 | 1 => Node::Link(self.choose(&TARGETS).into()),
            2 => Node::File(vec![]),
            3 | 4 => Node::Exec(self.content()),
            _ => Node::File(self.content()),
        }
    }

    fn content(&mut self) -> Vec<u8> {
        let limit = if self.rng.u8(..20) == 0 { 300_000 } else { 60 };
        let mut content = vec![0; self.rng.usize(1..limit)];
        self.rng.fill(&mut content);
        content
    }

    fn another_of_its_size(&mut self, node: &Node) -> Node {
        match node {
            Node::Link(_) => Node::Link(self.choose(&TARGETS).into()),
            Node::File(content) => Node::File(self.other(content)),
            Node::Exec(content) => Node::Exec(self.other(content)),
        }
    }

    fn other(&mut self, content: &[u8]) -> Vec<u8> {
        let mut content = content.to_vec();
        if !content.is_empty() {
            let at = self.rng.usize(..content.len());
            content[at] ^= self.rng.u8(1..);
        }
        content
    }
}

/// Quotes a path for fast-import.
fn quoted(path: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for byte in path {
        let _ = write!(quoted, "\\{byte:03o}");
    }
    quoted + "\""
}
