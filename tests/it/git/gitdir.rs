//! `.git` for a build: what Git says in it, and that its bytes come from the commit and the tags below it alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use image_factory::git::{EntryKind, GitDir, SnapshotOptions};

use crate::harness::{Tree, read_tree};

use super::*;

impl Local {
    /// The tip of a branch, with its `.git`.
    async fn kept(&self, on: &str) -> Result<(Arc<GitDir>, Snapshot), GitError> {
        let log = Log::default();
        let mirror = self.fetch(on, "HEAD", false).await?;
        let oid = self.git.resolve(&mirror, &branch(on), &CommitSpec::Head, false).await?;
        let git_dir = self.git.git_dir(&mirror, &oid, &log).await?;
        let secrets = Secrets::default();
        let snapshot =
            self.git.snapshot_with(&mirror, &oid, "key", SnapshotOptions::of(&git_dir), &secrets, &log).await?;
        Ok((git_dir, snapshot))
    }

    /// A new daemon on an empty data folder.
    fn elsewhere(&self, dir: &Path) -> Self {
        let repo = Repo::create(&dir.join("none.git"));
        let git = Git::new(config(dir, Path::new("/nonexistent"))).unwrap();
        Self { dir: folder(), git, source: self.source.clone(), repo }
    }
}

/// The snapshot in a folder, as a build step finds it.
pub(super) async fn written(snapshot: &Snapshot) -> tempfile::TempDir {
    let dir = folder();
    let mut blobs = snapshot.blobs().unwrap();
    for entry in &snapshot.entries {
        let path = dir.path().join(std::str::from_utf8(&entry.path).unwrap());
        match entry.kind {
            EntryKind::Dir | EntryKind::Gitlink => std::fs::create_dir(path).unwrap(),
            EntryKind::Symlink => {
                let target = String::from_utf8(blobs.read(entry).await.unwrap()).unwrap();
                std::os::unix::fs::symlink(target, path).unwrap();
            }
            kind => {
                let content = blobs.read(entry).await.unwrap();
                assert_eq!(content.len() as u64, entry.size);
                std::fs::write(&path, content).unwrap();
                let mode = if kind == EntryKind::Exec { 0o755 } else { 0o644 };
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
    dir
}

#[allow(clippy::disallowed_methods, reason = "tests run programs")]
fn output(program: &str, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.output().unwrap()
}

/// The output of Git in a folder, trimmed.
pub(super) fn says(dir: &Path, args: &[&str]) -> String {
    let out = output("git", dir, args);
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// All of `.git`.
async fn bytes(snapshot: &Snapshot) -> Tree {
    read_tree(&written(snapshot).await.path().join(".git"))
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

fn merge(repo: &Repo, branch: &str) -> String {
    repo.git(&["merge", "-q", "--no-ff", "-m", "A merge", branch]);
    repo.commit("develop", &[])
}

#[tokio::test]
async fn git_answers_as_in_a_clone() {
    let local = Local::new();
    let repo = &local.repo;
    repo.commit("develop", &[("a", "1"), ("run", "#!/bin/sh\n"), ("deep/er/file", "x"), ("empty", "")]);
    std::fs::set_permissions(repo.path("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("deep/er", repo.path("link")).unwrap();
    repo.commit("develop", &[]);
    repo.tag("v1.0");
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "-a", "-m", "of a tag", "nested", "v1.0"]);
    repo.git(&["tag", "tree", "HEAD^{tree}"]);
    for n in 0..3 {
        repo.commit("develop", &[("a", &n.to_string())]);
    }
    let tip = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["checkout", "-q", "-b", "other"]);
    repo.commit("other", &[("b", "1")]);
    repo.git(&["tag", "-a", "-m", "not below", "v2.0"]);
    repo.git(&["push", "-q", "--tags", "origin"]);

    let (made, snapshot) = local.kept("develop").await.unwrap();
    assert_eq!((made.commits, made.tags), (5, 3));
    assert!(snapshot.has_git_dir());
    let dir = written(&snapshot).await;
    let git = |args: &[&str]| says(dir.path(), args);
    assert_eq!(git(&["rev-parse", "HEAD"]), tip);
    assert_eq!(git(&["status", "--porcelain"]), "");
    let short = &tip[..7];
    let described = repo.git(&["describe", "--tags", &tip]);
    assert!(described.ends_with(&format!("-3-g{short}")), "{described}");
    assert_eq!(git(&["describe", "--tags", "--always", "--dirty"]), described);
    assert_eq!(git(&["log", "--format=%s"]).lines().count(), 5);
    assert_eq!(lines(&git(&["tag"])), BTreeSet::from(["light", "nested", "v1.0"]));
    assert_eq!(git(&["for-each-ref", "--format=%(contents:subject)", "refs/tags/nested"]), "of a tag");
    assert_eq!(git(&["for-each-ref", "refs/heads", "refs/remotes"]), "");
    assert_eq!(git(&["remote"]), "");
    assert_eq!(git(&["fsck", "--strict"]), "");
    std::fs::write(dir.path().join("a"), "changed").unwrap();
    assert_eq!(git(&["describe", "--tags", "--dirty"]), format!("{described}-dirty"));
    // The folder has no hook and no address of the origin.
    let there: Vec<_> = snapshot.entries.iter().map(|e| String::from_utf8_lossy(&e.path).into_owned()).collect();
    let there: Vec<_> = there.iter().filter(|path| path.starts_with(".git/") && !path.contains("/pack-")).collect();
    let expected =
        ["HEAD", "config", "index", "objects", "objects/pack", "packed-refs", "refs", "refs/heads", "refs/tags"];
    assert_eq!(there, expected.map(|name| format!(".git/{name}")).iter().collect::<Vec<_>>());
    assert!(!std::fs::read_to_string(dir.path().join(".git/config")).unwrap().contains("file://"));
}

/// The commits and their end are those of `git clone --depth 50`, also where branches were merged.
#[tokio::test]
async fn it_is_as_deep_as_the_clone_of_the_original() {
    let local = Local::new();
    let repo = &local.repo;
    for n in 0..30 {
        repo.commit("develop", &[("a", &n.to_string())]);
    }
    repo.tag("too-old");
    repo.git(&["checkout", "-q", "-b", "side", "HEAD~10"]);
    for n in 0..45 {
        repo.commit("side", &[("b", &n.to_string())]);
    }
    repo.git(&["checkout", "-q", "develop"]);
    merge(repo, "side");
    for n in 0..20 {
        repo.commit("develop", &[("a", &format!("more {n}"))]);
    }
    let (made, snapshot) = local.kept("develop").await.unwrap();
    let (dir, clone) = (written(&snapshot).await, folder());
    let url = format!("file://{}", repo.bare.display());
    says(clone.path(), &["clone", "-q", "--depth", "50", "--branch", "develop", &url, "."]);
    let both = |args: &[&str]| (says(dir.path(), args), says(clone.path(), args));
    let (ours, theirs) = both(&["rev-list", "HEAD"]);
    assert_eq!(lines(&ours), lines(&theirs));
    assert_eq!(made.commits, lines(&ours).len());
    let shallow = |dir: &Path| std::fs::read_to_string(dir.join(".git/shallow")).unwrap();
    assert_eq!(lines(&shallow(dir.path())), lines(&shallow(clone.path())));
    assert_eq!(says(dir.path(), &["status", "--porcelain"]), "");
    assert_eq!(says(dir.path(), &["rev-parse", "--is-shallow-repository"]), "true");
    let (ours, theirs) = both(&["rev-list", "--objects", "HEAD"]);
    assert_eq!(lines(&ours), lines(&theirs));
    says(dir.path(), &["fsck"]);
}

#[tokio::test]
async fn its_bytes_are_those_of_the_commit_and_its_tags() {
    let local = Local::new();
    let repo = &local.repo;
    for n in 0..60 {
        let (large, name) = (format!("line {n}\n").repeat(400), format!("f{}", n % 7));
        repo.commit("develop", &[(&name, &large), ("a/b", &n.to_string())]);
    }
    repo.tag("v1");
    repo.commit("develop", &[("last", "x")]);
    let first = bytes(&local.kept("develop").await.unwrap().1).await;
    assert!(first.contains_key(&b"shallow"[..]) && first.contains_key(&b"packed-refs"[..]));
    // The same job again, whose engine is then asked for nothing.
    let (times, again) = (local.kept("develop").await.unwrap().1, local.kept("develop").await.unwrap().1);
    assert_eq!(times.entries, again.entries);

    // Other branches and tags, many small fetches, other packs of the same objects.
    repo.git(&["checkout", "-q", "-b", "other", "HEAD~5"]);
    for n in 0..5 {
        repo.commit("other", &[("f1", &format!("line {n}\n").repeat(500))]);
        local.fetch("other", "HEAD", false).await.unwrap();
    }
    repo.tag("v9");
    repo.git(&["push", "-q", "origin", "HEAD~7:refs/heads/old"]);
    let mirror = local.fetch("other", "HEAD", false).await.unwrap();
    assert!(bytes(&local.kept("develop").await.unwrap().1).await == first, "after fetches");
    for args in [
        &["repack", "-adfq", "--window=50", "--depth=50"][..],
        &["-c", "pack.compression=0", "-c", "core.compression=0", "repack", "-adFq"],
        &["gc", "-q", "--prune=now"],
        &["commit-graph", "write", "--reachable"],
        &["repack", "-adq", "--write-bitmap-index"],
        &["multi-pack-index", "write"],
    ] {
        says(&mirror.path, args);
        assert!(bytes(&local.kept("develop").await.unwrap().1).await == first, "after git {args:?}");
    }
    // Loose objects, by an older Git.
    let old =
        if output("/usr/bin/git", &mirror.path, &["--version"]).status.success() { "/usr/bin/git" } else { "git" };
    let packs = folder();
    for pack in std::fs::read_dir(mirror.path.join("objects/pack")).unwrap() {
        let pack: PathBuf = pack.unwrap().path();
        std::fs::copy(&pack, packs.path().join(pack.file_name().unwrap())).unwrap();
        std::fs::remove_file(pack).unwrap();
    }
    for pack in std::fs::read_dir(&packs).unwrap().map(|pack| pack.unwrap().path()) {
        if pack.extension().is_some_and(|name| name == "pack") {
            let script = "\"$0\" unpack-objects -q < \"$1\"";
            let out = output("sh", &mirror.path, &["-c", script, old, pack.to_str().unwrap()]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    }
    assert!(bytes(&local.kept("develop").await.unwrap().1).await == first, "of loose objects");
    // Another mirror.
    let dir = folder();
    assert!(bytes(&local.elsewhere(dir.path()).kept("develop").await.unwrap().1).await == first, "of another mirror");

    // A tag below changes it, and with it the times of what has changed; the rest keeps its own.
    repo.git(&["tag", "-a", "-m", "late", "v0", "develop~3"]);
    repo.git(&["push", "-q", "--tags", "origin"]);
    local.fetch("other", "HEAD", false).await.unwrap();
    let (_, tagged) = local.kept("develop").await.unwrap();
    assert!(bytes(&tagged).await != first);
    let time = |snapshot: &Snapshot, path: &str| snapshot.entry(path.as_bytes()).unwrap().mtime;
    for (path, is_same) in [(".git/HEAD", true), (".git/index", true), (".git/packed-refs", false), ("last", true)] {
        assert_eq!(time(&tagged, path) == time(&again, path), is_same, "{path}");
    }
    assert!(time(&tagged, ".git/packed-refs") > time(&again, ".git/packed-refs"));
}

/// A job with `.git`, one without and one with it again: nothing of it looks older than what was built in between.
#[tokio::test]
async fn its_times_begin_with_the_commit_and_grow() {
    let local = Local::new();
    let repo = &local.repo;
    let sha = repo.commit("develop", &[("a", "1")]);
    let seconds: i64 = repo.git(&["log", "-1", "--format=%ct", &sha]).parse().unwrap();
    let time = |snapshot: &Snapshot| snapshot.entry(b".git/HEAD").unwrap().mtime;
    let first = time(&local.kept("develop").await.unwrap().1);
    // A table begins in the past, so that all that comes later is newer.
    assert!((seconds - 1..=seconds).contains(&(first / 1_000_000_000)), "{first} of {seconds}");
    repo.commit("develop", &[("a", "2")]);
    let (_, second) = local.kept("develop").await.unwrap();
    assert!(time(&second) > first);
    assert!(second.entry(b".git/config").unwrap().mtime < time(&second));
    local.snapshot().await.unwrap();
    assert!(time(&local.kept("develop").await.unwrap().1) > time(&second));
}

#[tokio::test]
async fn the_git_dir_is_removed_with_its_last_user() {
    let mut local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let run = local.dir.path().join("run");
    let left = || std::fs::read_dir(&run).unwrap().count();
    let (made, snapshot) = local.kept("develop").await.unwrap();
    assert_eq!(left(), 1);
    drop(made);
    let blobs = snapshot.blobs().unwrap();
    drop(snapshot);
    assert_eq!(left(), 1);
    drop(blobs);
    assert_eq!(left(), 0);
    // After a kill.
    std::mem::forget(local.kept("develop").await.unwrap());
    assert_eq!(left(), 1);
    local.restart();
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn submodules_are_clean_and_an_own_entry_is_refused() {
    let local = Local::new();
    let repo = &local.repo;
    let sha = repo.commit("develop", &[("a", "1")]);
    repo.gitlink("module", &sha);
    repo.commit("develop", &[]);
    let (_, snapshot) = local.kept("develop").await.unwrap();
    assert_eq!(says(written(&snapshot).await.path(), &["status", "--porcelain"]), "");

    let script = "tree=$(printf '100644 blob %s\t.git\n' \"$0\" | git mktree) && \
        git update-ref refs/heads/hostile $(git -c user.name=t -c user.email=t@localhost commit-tree -m hostile $tree)";
    let blob = repo.git(&["rev-parse", "HEAD:a"]);
    let out = output("sh", &repo.bare, &["-c", script, &blob]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let error = local.kept("hostile").await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Request 128 final: the commit has an entry .git, which Git itself refuses: remove it, or build without .git");
}

#[tokio::test]
async fn a_repository_of_sha256() {
    let local = Local::new();
    let work = folder();
    let bare = &local.repo.bare;
    std::fs::remove_dir_all(bare).unwrap();
    says(work.path(), &["init", "-q", "--bare", "--object-format=sha256", bare.to_str().unwrap()]);
    says(work.path(), &["init", "-q", "--object-format=sha256", "-b", "develop"]);
    std::fs::write(work.path().join("a"), "1").unwrap();
    says(work.path(), &["add", "a"]);
    let name = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    for n in 0..52 {
        says(work.path(), &[&name[..], &["commit", "-q", "--allow-empty", "-m", &n.to_string()]].concat());
    }
    says(work.path(), &[&name[..], &["tag", "-a", "-m", "v1", "v1", "HEAD~1"]].concat());
    says(work.path(), &["push", "-q", "--tags", bare.to_str().unwrap(), "develop"]);
    let (made, snapshot) = local.kept("develop").await.unwrap();
    assert_eq!((made.commits, made.tags), (50, 1));
    let dir = written(&snapshot).await;
    assert_eq!(says(dir.path(), &["status", "--porcelain"]), "");
    assert!(says(dir.path(), &["describe"]).starts_with("v1-1-g"));
    assert_eq!(says(dir.path(), &["rev-parse", "HEAD"]).len(), 64);
}
