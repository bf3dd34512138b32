//! The engine gets what Git would check out of a commit: random trees are compared with `git archive` and a real
//! checkout. `SEED=7 cargo nextest run archive` runs the seventh alone.

use std::collections::BTreeMap;
use std::process::Command;

use image_factory::git::EntryKind;

use super::*;
use crate::harness::{RandomTree, Tree, archive, import, read_tree, succeed};

const TREES: u64 = 50;
/// The number of commits of each tree. The first is the tree itself.
const COMMITS: usize = 3;

/// A copy of the tree as the engine keeps one from build to build: it takes anew what has another kind, size or time.
#[derive(Default)]
struct Receiver(BTreeMap<Vec<u8>, (EntryKind, u64, i64, Vec<u8>)>);

impl Receiver {
    async fn sync(&mut self, snapshot: &Snapshot) {
        let (mut blobs, mut kept) = (snapshot.blobs().unwrap(), BTreeMap::new());
        for entry in &snapshot.entries {
            let content = match self.0.remove(&entry.path) {
                Some((kind, size, mtime, old)) if (kind, size, mtime) == (entry.kind, entry.size, entry.mtime) => old,
                _ if entry.kind == EntryKind::Dir => vec![],
                _ => blobs.read(entry).await.unwrap(),
            };
            kept.insert(entry.path.clone(), (entry.kind, entry.size, entry.mtime, content));
        }
        self.0 = kept;
    }

    fn tree(&self) -> Tree {
        let value = |(kind, _, _, content): &(EntryKind, u64, i64, Vec<u8>)| match kind {
            EntryKind::Dir | EntryKind::Gitlink => ("dir", false, vec![]),
            EntryKind::File => ("file", false, content.clone()),
            EntryKind::Exec => ("file", true, content.clone()),
            EntryKind::Symlink => ("link", false, content.clone()),
        };
        self.0.iter().map(|(path, entry)| (path.clone(), value(entry))).collect()
    }
}

/// Returns the work tree after `git checkout -f`.
pub(super) fn checkout(repo: &Path, dir: &Path, commit: &str) -> Tree {
    let work = dir.join("work");
    std::fs::create_dir_all(&work).unwrap();
    let mut git = Command::new("git");
    git.current_dir(repo).args(["--git-dir=.", "-c", "core.bare=false", "-c", "core.autocrlf=false"]);
    git.arg("--work-tree").arg(&work).env("GIT_INDEX_FILE", dir.join("index"));
    succeed(git.args(["read-tree", "--reset", "-u", commit]), b"");
    read_tree(&work)
}

/// Each tree is a branch, with its commits in order.
async fn each_commit(mut check: impl AsyncFnMut(&Local, u64, usize, &str, Tree)) {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..TREES).collect(),
    };
    let local = Local::new();
    let (mut stream, mut trees) = (Vec::new(), Vec::new());
    for seed in &seeds {
        let mut tree = RandomTree::new(*seed);
        for step in 0..COMMITS {
            // On the same branch it goes on by itself.
            stream.extend(tree.commit(&format!("tree{seed}"), ""));
            trees.push((*seed, step, tree.tree()));
            tree.change();
        }
    }
    import(&local.repo.bare, &stream);
    let names = trees.iter().map(|(seed, step, _)| format!("tree{seed}~{}", COMMITS - 1 - step));
    let mut git = Command::new("git");
    let ids = succeed(git.current_dir(&local.repo.bare).arg("rev-parse").args(names), b"").stdout;
    for ((seed, step, tree), id) in trees.into_iter().zip(String::from_utf8(ids).unwrap().lines()) {
        check(&local, seed, step, id, tree).await;
    }
}

fn same(seed: u64, step: usize, what: &str, left: &Tree, right: &Tree) {
    let differs = |path: &&Vec<u8>| left.get(*path) != right.get(*path);
    let paths: Vec<_> = left.keys().chain(right.keys()).filter(differs).map(|p| String::from_utf8_lossy(p)).collect();
    assert!(paths.is_empty(), "SEED={seed}, commit {step}, {what}: {paths:?}");
}

#[tokio::test]
async fn a_context_is_what_git_archive_gives() {
    let (mut receiver, mut mirror) = (Receiver::default(), None);
    each_commit(async |local, seed, step, id, tree| {
        if mirror.is_none() {
            mirror = Some(local.fetch(&format!("tree{seed}"), "HEAD", false).await.unwrap());
        }
        if step == 0 {
            receiver = Receiver::default();
        }
        let (mirror, commit, key) = (mirror.as_ref().unwrap(), id.parse().unwrap(), seed.to_string());
        let snapshot = local.git.snapshot(mirror, &commit, &key, &Secrets::default(), &Log::default()).await;
        receiver.sync(&snapshot.unwrap()).await;
        same(seed, step, "as it was made", &receiver.tree(), &tree);
        same(seed, step, "git archive", &receiver.tree(), &archive(&local.repo.bare, id));
    })
    .await;
}

#[tokio::test]
async fn a_context_is_what_git_checks_out() {
    let mut dir = folder();
    each_commit(async |local, seed, step, id, tree| {
        if step == 0 {
            dir = folder();
        }
        same(seed, step, "checkout", &tree, &checkout(&local.repo.bare, dir.path(), id));
    })
    .await;
}
