//! Objects of a type that is not the wanted one. Whoever pushes chooses them, so they are told, and nothing is fetched anew.

use std::os::unix::fs::MetadataExt;

use image_factory::git::SnapshotOptions;

use super::*;

impl Local {
    /// The mirror's folder, which another one replaces when all is fetched anew.
    fn inode(&self) -> u64 {
        std::fs::metadata(self.dir.path().join("data/mirrors/acme/hello.git")).unwrap().ino()
    }

    /// Pushes an object under a name; its id.
    fn point(&self, name: &str, object: &str) -> String {
        let id = self.repo.git(&["rev-parse", object]);
        self.repo.git(&["push", "-q", "--force", "origin", &format!("{id}:{name}")]);
        id
    }

    /// Makes an object of any content, as Git would not.
    fn craft(&self, kind: &str, content: impl AsRef<[u8]>) -> String {
        let file = self.dir.path().join("crafted");
        std::fs::write(&file, content).unwrap();
        self.repo.git(&["hash-object", "-w", "-t", kind, "--literally", file.to_str().unwrap()])
    }
}

#[tokio::test]
async fn a_tag_of_a_tree_or_a_file_is_named_without_another_fetch() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.commit("develop", "HEAD", false).await.unwrap();
    let inode = local.inode();
    local.repo.git(&["tag", "-a", "-m", "x", "of-tree", "HEAD^{tree}"]);
    let mut failures = Vec::new();
    for (name, object) in [("tree", "HEAD^{tree}"), ("file", "HEAD:a"), ("annotated", "refs/tags/of-tree")] {
        let id = local.point(&format!("refs/tags/{name}"), object);
        for (on, wanted, is_granted) in
            [(name, "HEAD", false), ("develop", &*id, false), ("develop", &id, true), ("develop", &id, true)]
        {
            let error = local.commit(on, wanted, is_granted).await.unwrap_err();
            failures.push(failure(&error, &[(&id, name)]));
        }
    }
    insta::assert_snapshot!("other_objects", failures.join("\n"));
    // They are in the way of nobody.
    assert_eq!(local.commit("develop", &first, false).await.unwrap().to_string(), first);
    assert_eq!(local.inode(), inode, "it was fetched anew");
}

#[tokio::test]
async fn a_tag_of_a_tag_is_peeled() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.tag("v1");
    local.repo.git(&["tag", "-a", "-m", "x", "v2", "refs/tags/v1"]);
    let nested = local.point("refs/tags/v2", "refs/tags/v2");
    local.repo.commit("develop", &[("a", "2")]);
    for (on, wanted) in [("v2", "HEAD"), ("develop", &*nested), ("v2", &nested)] {
        assert_eq!(local.commit(on, wanted, false).await.unwrap().to_string(), first, "{on} {wanted}");
    }
}

/// Each of these is accepted by a server of Git's own.
#[tokio::test]
async fn a_crafted_commit_is_built_or_refused_and_fetched_once() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    local.snapshot().await.unwrap();
    let inode = local.inode();
    let tree = local.repo.git(&["rev-parse", "HEAD^{tree}"]);
    for (name, times) in [
        ("no-committer", "author a <a@a> 1 +0000\n"),
        ("no-date", "author a <a@a>\ncommitter a <a@a>\n"),
        ("late", "author a <a@a> 1 +0000\ncommitter a <a@a> 99999999999999999999999 +0000\n"),
    ] {
        let id = local.craft("commit", format!("tree {tree}\n{times}\nx\n"));
        local.point(&format!("refs/heads/{name}"), &id);
        let snapshot = local.snapshot_of(name, name).await.unwrap();
        assert_eq!(contents(&snapshot).await.unwrap(), [("a".to_owned(), b"1".to_vec())], "{name}");
        snapshot.commit_time().await.unwrap();
    }
    assert_eq!(local.inode(), inode, "it was fetched anew");
}

/// A server that checks nothing, or was damaged: what it has is what the mirror has.
#[tokio::test]
async fn a_flawed_repository_is_fetched_anew_only_once() {
    let mut local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    local.snapshot().await.unwrap();
    let (inode, file) = (local.inode(), local.repo.git(&["rev-parse", "HEAD:a"]));
    // A commit whose tree is a file. No server of Git's takes it, so it is put there by hand.
    let commit = format!("tree {file}\nauthor a <a@a> 1 +0000\ncommitter a <a@a> 1 +0000\n\nx\n");
    let content = local.dir.path().join("flawed");
    std::fs::write(&content, commit).unwrap();
    let on_server = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        let output = harness::succeed(git.current_dir(&local.repo.bare).args(args), b"").stdout;
        String::from_utf8(output).unwrap().trim().to_owned()
    };
    let id = on_server(&["hash-object", "-w", "-t", "commit", "--literally", content.to_str().unwrap()]);
    std::fs::write(local.repo.bare.join("refs/heads/flawed"), format!("{id}\n")).unwrap();
    // Git's own words differ between its versions, and with which of its two processes writes first.
    let words = [
        ("protocol error: bad pack header", "Git's words"),
        ("git upload-pack: aborting due to possible repository corruption on the remote side.", "Git's words"),
    ];
    let mut failures = Vec::new();
    for _ in 0..3 {
        failures.push(failure(&local.snapshot_of("flawed", "flawed").await.unwrap_err(), &words));
    }
    insta::assert_snapshot!(failures.join("\n"), @r"
    Request 128 final: acme/hello cannot be fetched from file://[folder]/hello.git: [Git's words]
    Request 128 final: acme/hello cannot be read ([Git's words]), nor after all of it was fetched anew: run `git fsck` on its Git server
    Request 128 final: acme/hello cannot be read ([Git's words]), nor after all of it was fetched anew: run `git fsck` on its Git server
    ");
    assert_eq!(local.inode(), inode, "what was there is gone");
    std::fs::remove_file(local.repo.bare.join("refs/heads/flawed")).unwrap();
    local.snapshot().await.unwrap();
    local.restart();
    local.snapshot().await.unwrap();
}

#[tokio::test]
async fn a_submodule_at_a_file_or_a_tree_is_named() {
    let local = Local::new();
    let library = Repo::create(&local.dir.path().join("library.git"));
    library.commit("develop", &[("l", "1")]);
    local.repo.commit("develop", &[(".gitmodules", "[submodule \"l\"]\npath = l\nurl = ../library.git\n")]);
    let mut failures = Vec::new();
    for (object, kind) in [("HEAD^{tree}", "tree"), ("HEAD:l", "blob")] {
        let id = library.git(&["rev-parse", object]);
        local.repo.gitlink("l", &id);
        local.repo.commit("develop", &[("a", kind)]);
        let error = local.snapshot().await.unwrap_err();
        failures.push(failure(&error, &[(&id, kind)]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r#"
    Request 128 final: submodule "l" at l: [tree] is no commit of file://[folder]/library.git but a tree: record a commit of it in the superproject
    Request 128 final: submodule "l" at l: [blob] is no commit of file://[folder]/library.git but a blob: record a commit of it in the superproject
    "#);
}

/// Git's own `.git` is made of what a pusher chose: what cannot be in it is told, and nothing is fetched for it.
#[tokio::test]
async fn a_commit_that_git_would_not_check_out_has_no_git_dir() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    let file = hex::decode(local.repo.git(&["rev-parse", "HEAD:a"])).unwrap();
    let tree = local.craft("tree", [&b"100644 .GIT\0"[..], &file].concat());
    let named = local.repo.git(&["commit-tree", "-m", "x", "-p", &first, &tree]);
    let headers =
        format!("tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\nnote {}\n", "x".repeat(1 << 20));
    let long = local.craft("commit", format!("{headers}\nx\n"));
    let mut failures = Vec::new();
    for (name, commit) in [("named", &named), ("long", &long)] {
        local.point(&format!("refs/heads/{name}"), commit);
        let mirror = local.fetch(name, "HEAD", false).await.unwrap();
        let inode = local.inode();
        let (log, secrets) = (Log::default(), Secrets::default());
        let oid: Oid = commit.parse().unwrap();
        let made = async {
            let git_dir = local.git.git_dir(&mirror, &oid, &log).await?;
            local.git.snapshot_with(&mirror, &oid, "acme/hello", SnapshotOptions::of(&git_dir), &secrets, &log).await
        };
        let error = made.await.unwrap_err();
        failures.push(failure(&error, &[(commit, name)]));
        assert_eq!(local.inode(), inode, "{name}");
    }
    insta::assert_snapshot!(failures.join("\n"), @r"
    Request 128 final: Git refuses a name in the commit (invalid path '.GIT'): rename it, or build without .git
    Request 128 final: commit [long] has more than 1 MiB of headers: build it without .git
    ");
}

/// A branch may be called like an id of the other kind of repository.
#[tokio::test]
async fn an_id_of_the_other_length_is_no_name() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let name = "ab".repeat(32);
    local.point(&format!("refs/heads/{name}"), "HEAD");
    let mut failures = Vec::new();
    for is_granted in [false, true] {
        let error = local.commit("develop", &name, is_granted).await.unwrap_err();
        failures.push(failure(&error, &[(&name, "name")]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r"
    Request 128 final: acme/hello has no commit [name] on a branch or tag: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)
    Request 128 final: acme/hello has no commit [name] on a branch or tag, and its server gives out none of this id: push it, or ask for another one
    ");
}
