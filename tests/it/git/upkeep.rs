//! Mirrors within a budget, and repacked.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use image_factory::git::Upkeep;

use super::*;
use crate::harness::eventually;

/// Each mirror of this repository takes nearly 1 MiB.
fn filled() -> Local {
    let local = Local::new();
    let mut rng = fastrand::Rng::with_seed(1);
    let content: String = std::iter::repeat_with(|| rng.alphanumeric()).take(1 << 20).collect();
    local.repo.commit("develop", &[("a", "1"), ("large", &content)]);
    local
}

/// The same repository under another name.
async fn mirror(local: &Local, owner: &str, name: &str) -> Mirror {
    let source = RepoSource { repo: RepoName::new(owner, name).unwrap(), ..local.source.clone() };
    local.git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap()
}

fn size(dir: &Path) -> (u64, usize) {
    let mut total = (0, 0);
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (bytes, files) = match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            false => (entry.metadata().unwrap().len(), 1),
        };
        total = (total.0 + bytes, total.1 + files);
    }
    total
}

fn used(path: &Path, hours_ago: u64) {
    let at = SystemTime::now() - Duration::from_secs(3600 * hours_ago);
    fs::File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let local = filled();
    let mut paths = Vec::new();
    for (name, hours_ago) in [("one", 1), ("two", 3), ("three", 2)] {
        let path = mirror(&local, "acme", name).await.path;
        used(&path.join("image-factory-origin"), hours_ago);
        paths.push(path);
    }
    let there = || paths.iter().map(|path| path.exists()).collect::<Vec<_>>();
    let each = size(&paths[0]).0;
    let half = each / 2;
    let mut upkeep = Upkeep::new(&local.git, 3 * each + half);
    upkeep.once().await.unwrap();
    assert_eq!(there(), [true, true, true]);
    Upkeep::new(&local.git, 3 * each - half).once().await.unwrap();
    assert_eq!(there(), [true, false, true]);
    // This use makes "three" the most recently used.
    mirror(&local, "acme", "three").await;
    Upkeep::new(&local.git, 2 * each - half).once().await.unwrap();
    assert_eq!(there(), [false, false, true]);
    // A removed mirror is fetched again.
    let again = mirror(&local, "acme", "two").await;
    let oid = local.git.resolve(&again, &branch("develop"), &CommitSpec::Head, false).await.unwrap();
    let snapshot = local.git.snapshot(&again, &oid, "key", &Secrets::default(), &Log::default()).await.unwrap();
    assert_eq!(contents(&snapshot).await.unwrap().len(), 2);
    drop(snapshot);
    // The new mirror is counted by an `Upkeep` that knew the three former ones.
    upkeep.once().await.unwrap();
    assert_eq!(there(), [false, true, true]);
}

#[tokio::test]
async fn a_mirror_in_use_stays_until_the_build_has_ended() {
    let local = filled();
    let mut upkeep = Upkeep::new(&local.git, 1000);
    let snapshot = local.snapshot().await.unwrap();
    let path = local.dir.path().join("data/mirrors/acme/hello.git");
    upkeep.once().await.unwrap();
    assert!(path.exists());
    let mut blobs = snapshot.blobs().unwrap();
    let entry = snapshot.entry(b"a").unwrap().clone();
    let other = local.fetch("develop", "HEAD", false).await.unwrap();
    drop(snapshot);
    upkeep.once().await.unwrap();
    drop(other);
    upkeep.once().await.unwrap();
    assert_eq!(blobs.read(&entry).await.unwrap(), b"1");
    assert!(path.exists());
    drop(blobs);
    upkeep.once().await.unwrap();
    assert!(!path.exists());
    // The times of the files stay.
    assert_eq!(fs::read_dir(local.dir.path().join("data/filetimes")).unwrap().count(), 1);
    let again = local.snapshot().await.unwrap();
    assert_eq!(again.entries.len(), 2);
}

#[tokio::test]
async fn no_mirror_is_removed_for_one_that_never_fits() {
    let local = filled();
    let small = Local::new();
    small.repo.commit("develop", &[("a", "1")]);
    let source = RepoSource { repo: RepoName::new("acme", "small").unwrap(), ..small.source.clone() };
    let (develop, log) = (branch("develop"), Log::default());
    let small = local.git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap().path;
    let large = mirror(&local, "acme", "large").await;
    let mut upkeep = Upkeep::new(&local.git, size(&large.path).0 / 2);
    upkeep.once().await.unwrap();
    assert!(small.exists() && large.path.exists());
    let path = large.path.clone();
    drop(large);
    upkeep.once().await.unwrap();
    assert!(small.exists() && !path.exists());
}

#[tokio::test]
async fn lfs_files_count_and_go_by_their_age_too() {
    let local = filled();
    let object = |name: &str, hours_ago| {
        let path = local.dir.path().join("data/lfs").join(&name[..2]).join(&name[2..4]).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        used(&path, hours_ago);
        path
    };
    let path = mirror(&local, "acme", "hello").await.path;
    used(&path.join("image-factory-origin"), 2);
    let (old, new) = (object("aabbcc", 3), object("aabbdd", 1));
    let all = size(&path).0 + 2 * MIB;
    Upkeep::new(&local.git, all - 1).once().await.unwrap();
    assert_eq!([&old, &path, &new].map(|path| path.exists()), [false, true, true]);
    Upkeep::new(&local.git, all - MIB - 1).once().await.unwrap();
    assert_eq!([&path, &new].map(|path| path.exists()), [false, true]);
    // A file that was touched since the oldest running job began may belong to that job.
    let job = mirror(&local, "acme", "hello").await;
    let (old, new) = (object("aabbcc", 3), object("aabbdd", 0));
    let mut upkeep = Upkeep::new(&local.git, 0);
    upkeep.once().await.unwrap();
    assert_eq!([&old, &new, &path].map(|path| path.exists()), [false, true, true]);
    drop(job);
    upkeep.once().await.unwrap();
    assert_eq!([&new, &path].map(|path| path.exists()), [false, false]);
}

#[tokio::test]
async fn only_leftovers_of_a_killed_process_are_removed() {
    let local = filled();
    let mirrors = local.dir.path().join("data/mirrors");
    // Names that look like it.
    let mut kept = Vec::new();
    for (owner, name) in [("acme.new", "hello"), ("acme.git", "hello.old"), ("acme", "new")] {
        kept.push(mirror(&local, owner, name).await.path);
    }
    let in_use = mirror(&local, "acme", "used").await;
    let left = ["acme/hello.new", "acme/gone.old", "acme/used.new"].map(|name| mirrors.join(name));
    for path in &left {
        fs::create_dir_all(path.join("objects")).unwrap();
        fs::write(path.join("objects/x"), "x").unwrap();
    }
    let trash = local.dir.path().join("data/trash");
    fs::create_dir_all(trash.join("x/y")).unwrap();
    let mut upkeep = Upkeep::new(&local.git, u64::MAX);
    upkeep.once().await.unwrap();
    // The third folder may belong to a fetch of the mirror that is in use.
    assert_eq!(left.each_ref().map(|path| path.exists()), [false, false, true]);
    drop(in_use);
    upkeep.once().await.unwrap();
    assert!(!left[2].exists() && !trash.exists());
    assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
}

/// A mirror with a pack and 1,200 loose objects.
async fn of_many_files() -> (Local, PathBuf) {
    let local = filled();
    let mut path = PathBuf::new();
    for round in 0..13 {
        let names: Vec<_> = (0..90).map(|i| (format!("f{i}"), format!("{round} {i}"))).collect();
        local.repo.commit("develop", &names.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect::<Vec<_>>());
        path = local.fetch("develop", "HEAD", false).await.unwrap().path;
    }
    (local, path)
}

#[tokio::test]
async fn a_mirror_of_many_files_is_repacked() {
    let (local, path) = of_many_files().await;
    // A signed push may still name a commit that no branch has.
    let lost = local.repo.commit("develop", &[("a", "lost")]);
    local.fetch("develop", "HEAD", false).await.unwrap();
    local.repo.force("develop", &local.repo.git(&["rev-parse", "HEAD~1"]));
    let before = local.snapshot().await.unwrap();
    let expected = contents(&before).await.unwrap();
    drop(before);
    assert!(size(&path).1 > 1000);
    let mut upkeep = Upkeep::new(&local.git, u64::MAX);
    upkeep.once().await.unwrap();
    assert!(size(&path).1 < 30, "{}", size(&path).1);
    assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap(), expected);
    fs::rename(&local.repo.bare, local.dir.path().join("away")).unwrap();
    let oid = local.git.resolve(&mirror_of(&local).await, &branch("develop"), &commit(&lost), true).await.unwrap();
    assert_eq!(oid.to_string(), lost);
    let packs = || fs::read_dir(path.join("objects/pack")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    let done = packs();
    upkeep.once().await.unwrap();
    assert_eq!(packs(), done);
}

/// Without asking its server.
async fn mirror_of(local: &Local) -> Mirror {
    let head = fs::read_to_string(local.dir.path().join("away/refs/heads/develop")).unwrap();
    local.fetch("develop", head.trim(), false).await.unwrap()
}

#[tokio::test]
async fn a_job_does_not_wait_for_a_repack_and_a_kill_loses_nothing() {
    let (mut local, path) = of_many_files().await;
    let expected = contents(&local.snapshot().await.unwrap()).await.unwrap();
    let writes = || {
        fs::read_dir(path.join("objects/pack")).unwrap().any(|e| e.unwrap().file_name().as_encoded_bytes()[0] == b'.')
    };
    let begun = async || {
        eventually(Duration::from_secs(20), "a pack is written", async || {
            let half = path.join("objects/pack");
            let is_half = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"tmp_");
            let half = fs::read_dir(half).unwrap().any(|entry| is_half(&entry.unwrap().file_name()));
            (half || writes()).then_some(())
        })
        .await;
    };
    let job = async {
        begun().await;
        contents(&local.snapshot().await.unwrap()).await.unwrap()
    };
    let mut upkeep = Upkeep::new(&local.git, u64::MAX);
    let (done, read) = tokio::join!(upkeep.once(), job);
    done.unwrap();
    assert_eq!(read, expected);
    tokio::select! {
        done = upkeep.once() => panic!("it was done before it could be killed: {done:?}"),
        () = begun() => {}
    }
    drop(upkeep);
    local.restart();
    assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap(), expected);
    Upkeep::new(&local.git, u64::MAX).once().await.unwrap();
    assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap(), expected);
    assert!(size(&path).1 < 30 && !writes(), "{}", size(&path).1);
}
