use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use image_factory::git::{CHUNK, Entry, EntryKind, path_order};

use super::*;

#[tokio::test]
async fn every_kind_of_entry_is_read() {
    let local = Local::new();
    let repo = &local.repo;
    repo.commit("develop", &[("a/b/c", "deep"), ("a.x", "#!"), ("empty", ""), ("a-b", "\r\n$Id$\r\n")]);
    std::fs::set_permissions(repo.path("a.x"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("../target/ü", repo.path("a/link")).unwrap();
    std::fs::write(repo.path(".").join(OsStr::from_bytes(b"\xff\n\"")), "odd").unwrap();
    std::fs::write(repo.path(".gitattributes"), "* text=auto ident export-ignore\n").unwrap();
    let id = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},module")]);
    std::fs::create_dir(repo.path("module")).unwrap();
    repo.commit("develop", &[]);

    let snapshot = local.snapshot().await.unwrap();
    let read: Vec<_> = snapshot.entries.iter().map(|e| (&e.path[..], e.kind, e.size)).collect();
    let expected: [(&[u8], EntryKind, u64); 10] = [
        (b".gitattributes", EntryKind::File, 32),
        (b"a", EntryKind::Dir, 0),
        (b"a/b", EntryKind::Dir, 0),
        (b"a/b/c", EntryKind::File, 4),
        (b"a/link", EntryKind::Symlink, 12),
        (b"a-b", EntryKind::File, 51),
        (b"a.x", EntryKind::Exec, 2),
        (b"empty", EntryKind::File, 0),
        (b"module", EntryKind::Gitlink, 0),
        (b"\xff\n\"", EntryKind::File, 3),
    ];
    assert_eq!(read, expected);
    assert!(snapshot.entries.is_sorted_by(|a, b| path_order(&a.path, &b.path).is_lt()));
    assert_eq!(snapshot.entry(b"a/b/c").unwrap().size, 4);
    assert!(snapshot.entry(b"a/b/x").is_none());
    assert_eq!(snapshot.entry(b"module").unwrap().oid.to_string(), id);
    let contents = contents(&snapshot).await.unwrap();
    // The contents are those of a checkout: `$Id$` has the blob's id, line ends are Linux's, and no file is left out.
    let id = repo.git(&["rev-parse", "HEAD:a-b"]);
    assert!(contents.contains(&("a-b".into(), format!("\r\n$Id: {id} $\r\n").into())));
    assert!(contents.contains(&("a/link".into(), "../target/ü".into())));
}

#[tokio::test]
async fn large_files_come_in_chunks_and_need_not_be_read_to_the_end() {
    let local = Local::new();
    let large: String =
        (0..3_000_000u32).map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 28) as u8)).collect();
    local.repo.commit("develop", &[("large", &large), ("small", "x")]);
    let snapshot = local.snapshot().await.unwrap();
    let (large_file, small_file) = (snapshot.entry(b"large").unwrap(), snapshot.entry(b"small").unwrap());
    let mut blobs = snapshot.blobs().unwrap();
    for _ in 0..2 {
        let mut blob = blobs.open(large_file).await.unwrap();
        assert_eq!(blob.size(), 3_000_000);
        let first = blob.chunk().await.unwrap().unwrap();
        assert_eq!(first, &large.as_bytes()[..CHUNK]);
        assert_eq!(blobs.read(small_file).await.unwrap(), b"x");
    }
    let mut blob = blobs.open(large_file).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(chunk) = blob.chunk().await.unwrap() {
        sizes.push(chunk.len());
    }
    assert!(sizes[..sizes.len() - 1].iter().all(|&size| size == CHUNK));
    assert_eq!(sizes.iter().sum::<usize>(), 3_000_000);
    assert_eq!(blobs.read(large_file).await.unwrap(), large.as_bytes());
    // The reader fails for an object that is absent or no file, and goes on afterwards.
    let tree = local.repo.git(&["rev-parse", "HEAD^{tree}"]);
    let absent = Entry { oid: "0".repeat(40).parse().unwrap(), ..small_file.clone() };
    assert!(blobs.read(&absent).await.is_err());
    assert_eq!(blobs.read(small_file).await.unwrap(), b"x");
    let _ = tree;
}

#[tokio::test]
async fn a_hostile_tree_is_refused() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let blob = local.repo.git(&["rev-parse", "HEAD:a"]);
    let raw = hex::decode(&blob).unwrap();
    let mut failures = Vec::new();
    for name in ["..", ".", "a/../../x"] {
        let tree = [b"100644 ", name.as_bytes(), b"\0", &raw].concat();
        let file = local.dir.path().join("tree");
        std::fs::write(&file, tree).unwrap();
        let args = ["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()];
        let commit = local.repo.git(&["commit-tree", "-m", "x", &local.repo.git(&args)]);
        local.repo.git(&["push", "-q", "origin", &format!("+{commit}:refs/heads/develop")]);
        let error = local.snapshot().await.unwrap_err();
        failures.push(failure(&error, &[]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r#"
    Request 128 final: commit [commit] cannot be built: the tree has an entry "..", which is no proper path
    Request 128 final: commit [commit] cannot be built: the tree has an entry ".", which is no proper path
    Request 128 final: commit [commit] cannot be built: the tree has an entry "a/../../x", which is no proper path
    "#);
}
