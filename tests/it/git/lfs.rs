use std::process::Command;

use image_factory::git::{Blobs, SnapshotOptions};

use super::*;
use crate::harness::{DeployKey, GitHost, KeyType, LfsFault, LfsServer, succeed};

const LOGIN: &str = "Basic bWU6aHVudGVyMjI=";

/// `acme/hello` on a web server that has its LFS objects too; GIT_URL has a password in it.
struct Web {
    repo: Repo,
    server: LfsServer,
    git: Git,
    source: RepoSource,
    dir: tempfile::TempDir,
}

impl Web {
    fn start() -> Self {
        let dir = folder();
        std::fs::create_dir_all(dir.path().join("git/acme")).unwrap();
        let repo = Repo::create(&dir.path().join("git/acme/hello.git"));
        let server = LfsServer::start(Some(LOGIN), &dir.path().join("git"));
        let git = Git::new(config(dir.path(), Path::new("/nonexistent"))).unwrap();
        let url = format!("{}/acme/hello.git", server.url().replace("://", "://me:hunter22@"));
        let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
        repo.commit("develop", &[(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")]);
        Self { repo, server, git, source, dir }
    }

    fn commit(&self, files: &[(&str, &str)]) {
        self.repo.commit("develop", files);
        // Git needs these files to fetch from plain files.
        succeed(Command::new("git").arg("update-server-info").current_dir(&self.repo.bare), b"");
    }

    async fn read(&self) -> Result<(Snapshot, String), GitError> {
        let (develop, log) = (branch("develop"), Log::default());
        let mirror = self.git.clone(&self.source, &develop, &CommitSpec::Head, false, &log).await?;
        let oid = self.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await?;
        self.server.requests();
        let snapshot = self.git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await?;
        Ok((snapshot, log.text()))
    }

    /// The paths that were asked for since the last fetch of the repository.
    fn asked(&self) -> Vec<String> {
        self.server.requests().into_iter().map(|request| request.path).collect()
    }

    fn objects(&self) -> std::path::PathBuf {
        self.dir.path().join("data/lfs")
    }
}

pub async fn text(snapshot: &Snapshot, path: &str) -> Result<String, GitError> {
    let mut blobs: Blobs = snapshot.blobs()?;
    let entry = snapshot.entry(path.as_bytes()).unwrap_or_else(|| panic!("no {path}"));
    let content = blobs.read(entry).await?;
    assert_eq!(content.len() as u64, entry.size);
    Ok(String::from_utf8(content).unwrap())
}

#[tokio::test]
async fn an_lfs_file_is_fetched_from_a_server_with_ssh() {
    let (host, dir) = (GitHost::start().await, folder());
    let key = DeployKey::generate(KeyType::Ed25519, "");
    host.authorize(&[&key]);
    let server = LfsServer::start(Some("RemoteAuth 123"), Path::new("/nonexistent"));
    let (repo, lib) = (host.repo("acme", "hello"), host.repo("acme", "lib"));
    // The script checks its arguments, which proves that the path is right.
    host.lfs_authenticate(&format!(
        "case \"$1 $2\" in *'/git/acme/'*'.git download') ;; *) echo \"no: $*\" >&2; exit 1;; esac\n\
         echo '{{\"href\": \"{}/'$(basename $1)'/info/lfs\", \"header\": {{\"Authorization\": \"RemoteAuth 123\"}}, \"expires_in\": 60}}'",
        server.url()
    ));
    let large = "0123456789abcdef".repeat(200_000);
    for (repo, name, content) in [(&lib, "lib.bin", "of the submodule"), (&repo, "data/large.bin", &large)] {
        repo.track_with_lfs(&server.endpoint("acme", "any"), "*.bin");
        let of_lib = (repo.bare != lib.bare).then(|| lib.git(&["rev-parse", "HEAD"]));
        if let Some(commit) = &of_lib {
            repo.gitlink("lib", commit);
            std::fs::write(repo.path(".gitmodules"), "[submodule \"l\"]\n\tpath = lib\n\turl = ../lib.git\n").unwrap();
        }
        repo.commit("develop", &[(name, content), ("plain.txt", "plain")]);
        assert!(server.has(content.as_bytes()) && repo.git(&["show", &format!("HEAD:{name}")]).starts_with("version"));
    }
    server.requests();
    let git = Git::new(config(dir.path(), &host.known_hosts())).unwrap();
    let url = host.url().replace("{owner}", "acme").replace("{repo}", "hello");
    let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: library_key(&key, "") };
    let (develop, log) = (branch("develop"), Log::default());
    let mirror = git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    let oid = git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
    let snapshot = git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await.unwrap();
    assert_eq!(text(&snapshot, "data/large.bin").await.unwrap(), large);
    assert_eq!(text(&snapshot, "lib/lib.bin").await.unwrap(), "of the submodule");
    assert_eq!(text(&snapshot, "plain.txt").await.unwrap(), "plain");
    insta::assert_snapshot!(masked(&log.text(), &[]), @r"
    Fetching the branches and tags of ssh://[user]@127.0.0.1:[port][folder]/git/acme/hello.git
    Fetching the branches and tags of ssh://[user]@127.0.0.1:[port][folder]/git/acme/lib.git
    Fetching 1 LFS files of ssh://[user]@127.0.0.1:[port][folder]/git/acme/hello.git, 3200000 bytes
    Fetching 1 LFS files of ssh://[user]@127.0.0.1:[port][folder]/git/acme/lib.git, 16 bytes
    ");
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.contains(&"/hello.git/info/lfs/objects/batch".into()) && paths.len() == 4, "{paths:?}");

    host.lfs_authenticate("echo 'no LFS for you' >&2; exit 1");
    repo.commit("develop", &[("data/large.bin", "another")]);
    let mirror = git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    let oid = git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
    let error = git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Request 1 final: 127.0.0.1:[port] gives no access to the LFS files of acme/hello (no LFS for you): does it have LFS, and git-lfs-authenticate?");
    // The first is as it was, and what is still there needs no server.
    assert_eq!(text(&snapshot, "data/large.bin").await.unwrap(), large);
}

#[tokio::test]
async fn only_what_git_lfs_would_replace_is_replaced() {
    let web = Web::start();
    let [first, second, third] = ["first", "second", "third"].map(|content| web.server.put(content.as_bytes()));
    web.commit(&[
        ("a.bin", &first),
        ("d/b.bin", &second),
        ("text.txt", &third),  // no attribute
        ("sub/c.bin", &third), // taken away again
        ("sub/.gitattributes", "*.bin -filter\nby-macro big\n"),
        ("sub/by-macro", &third),
        ("no-pointer.bin", "small"),
        ("large.bin", &format!("{first}{}", "x".repeat(1024))),
        ("same.bin", &first),
    ]);
    // Another committer's macro.
    web.commit(&[
        (".gitattributes", "[attr]big filter=lfs -text\n*.bin filter=lfs\n"),
        (".lfsconfig", "[lfs]\n\turl = https://example.com\n"),
    ]);
    let (snapshot, log) = web.read().await.unwrap();
    for (path, content) in [
        ("a.bin", "first"),
        ("d/b.bin", "second"),
        ("same.bin", "first"),
        ("sub/by-macro", "third"),
        ("text.txt", third.as_str()),
        ("sub/c.bin", third.as_str()),
        ("no-pointer.bin", "small"),
    ] {
        assert_eq!(text(&snapshot, path).await.unwrap(), content, "{path}");
    }
    insta::assert_snapshot!(masked(&log, &[]), @r"
    Fetching the branches and tags of http://127.0.0.1:[port]/acme/hello.git
    Fetching 3 LFS files of http://127.0.0.1:[port]/acme/hello.git, 16 bytes
    ");
    let requests = web.server.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!(requests[0].path, "/acme/hello.git/info/lfs/objects/batch");
    assert_eq!(requests[0].headers["authorization"], LOGIN);
    // The password is the server's own affair: the objects' places got what the batch had given for them.
    assert!(
        requests[1..].iter().all(|r| r.headers["authorization"].to_str().unwrap().starts_with("Object ")),
        "{requests:?}"
    );
    let shown = format!("{log} {snapshot:?}");
    assert!(!shown.contains("hunter22") && !shown.contains("bWU6"), "{shown}");
    // No object is requested twice.
    let (again, log) = web.read().await.unwrap();
    assert_eq!((again.entries == snapshot.entries, web.asked().len(), log.contains("LFS")), (true, 0, false), "{log}");
    // An attribute that comes later changes what a path is, and so its time.
    let before = snapshot.entry(b"text.txt").unwrap().mtime;
    web.commit(&[(".gitattributes", "[attr]big filter=lfs -text\n*.bin filter=lfs\ntext.txt big\n")]);
    let (after, _) = web.read().await.unwrap();
    assert_eq!(text(&after, "text.txt").await.unwrap(), "third");
    assert!(after.entry(b"text.txt").unwrap().mtime > before);
}

/// git-lfs gives them out without a look, too; and line ends are those of a pointer, not of the file behind it.
#[tokio::test]
async fn empty_files_need_no_server_and_no_file_is_converted() {
    let local = Local::new();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{empty}\nsize 0\n");
    let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    local
        .repo
        .commit("develop", &[(".gitattributes", attributes), ("a.bin", &pointer), ("b.bin", ""), ("c", &pointer)]);
    let snapshot = local.snapshot().await.unwrap();
    for path in ["a.bin", "b.bin"] {
        assert_eq!(text(&snapshot, path).await.unwrap(), "", "{path}");
    }
    assert_eq!(text(&snapshot, "c").await.unwrap(), pointer);
    let again = local.snapshot().await.unwrap();
    assert_eq!(again.entries, snapshot.entries);

    let web = Web::start();
    let pointer = web.server.put(b"a\nb\n$Id$");
    web.commit(&[
        ("a.bin", &pointer),
        (".gitattributes", "*.bin filter=lfs eol=crlf ident\n*.txt eol=crlf\n"),
        ("b.txt", "1\n"),
    ]);
    let (snapshot, _) = web.read().await.unwrap();
    assert_eq!(text(&snapshot, "a.bin").await.unwrap(), "a\nb\n$Id$");
    assert_eq!(text(&snapshot, "b.txt").await.unwrap(), "1\r\n");
}

#[tokio::test]
async fn a_missing_lfs_file_is_named_and_its_pointer_is_never_built() {
    let web = Web::start();
    let pointer = web.server.put(b"hello");
    web.commit(&[("a.bin", &pointer)]);
    let oid = &pointer.lines().nth(1).unwrap()["oid sha256:".len()..];
    let host = web.server.url().replace("http://", "");
    let values = [(&*host, "server"), (oid, "oid")];
    let mut failures = Vec::new();
    for fault in [
        LfsFault::Batch(401),
        LfsFault::Batch(403),
        LfsFault::Batch(404),
        LfsFault::Batch(503),
        LfsFault::Batch(429),
        LfsFault::Object(403),
        LfsFault::Object(500),
        LfsFault::Content(b"hallo".into()),
        LfsFault::Content(b"hell".into()),
        LfsFault::Content(b"hello, world".into()),
        LfsFault::Redirect("file:///etc".into()),
        LfsFault::Redirect(web.server.url() + "/x"),
        LfsFault::Href("file:///etc/passwd".into()),
        LfsFault::Href("no url".into()),
        LfsFault::Href("http://127.0.0.1:1/x".into()),
    ] {
        web.server.fault(fault.clone());
        let error = web.read().await.map(|_| ()).expect_err(&format!("{fault:?}"));
        failures.push(failure(&error, &values));
        // No partial object is left.
        let left: Vec<_> = std::fs::read_dir(web.objects()).unwrap().collect();
        assert!(left.is_empty(), "{fault:?}: {left:?}");
    }
    web.server.fault(LfsFault::None);
    web.commit(&[("a.bin", &pointer), ("b.bin", &pointer.replace(oid, &"0".repeat(64)))]);
    let error = web.read().await.unwrap_err();
    failures.push(failure(&error, &values));
    web.commit(&[("b.bin", &pointer.replace("oid", "ext-0-x sha256:00\noid"))]);
    let error = web.read().await.unwrap_err();
    failures.push(failure(&error, &values));
    // A file has no server.
    let mut local = Local::new();
    local.repo.commit("develop", &[(".gitattributes", "*.bin filter=lfs\n"), ("a.bin", &pointer)]);
    let error = local.snapshot().await.unwrap_err();
    failures.push(failure(&error, &values));
    insta::assert_snapshot!("missing_files", failures.join("\n"));
    local.restart();
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_to_another_server() {
    let (web, storage) = (Web::start(), LfsServer::start(None, Path::new("/nonexistent")));
    let pointer = web.server.put(b"hello");
    storage.put(b"hello");
    web.commit(&[("a.bin", &pointer)]);
    web.server.fault(LfsFault::Redirect(storage.url()));
    let (snapshot, _) = web.read().await.unwrap();
    assert_eq!(text(&snapshot, "a.bin").await.unwrap(), "hello");
    let came = storage.requests();
    assert_eq!(came.len(), 1);
    assert!(!came[0].headers.contains_key("authorization"), "{came:?}");
}

#[tokio::test]
async fn objects_are_shared_only_with_those_who_were_given_them() {
    let web = Web::start();
    let pointer = web.server.put(b"hello");
    web.commit(&[("a.bin", &pointer)]);
    web.read().await.unwrap();
    // Another repository, elsewhere, that knows no more than the pointer.
    let other = Web::start();
    other.commit(&[("a.bin", &pointer)]);
    let git = &web.git;
    let (develop, log) = (branch("develop"), Log::default());
    let read = async || {
        let source = RepoSource { repo: RepoName::new("other", "hello").unwrap(), ..other.source.clone() };
        let mirror = git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
        let oid = git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
        other.server.requests();
        git.snapshot(&mirror, &oid, "other", &Secrets::default(), &log).await
    };
    let error = read().await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&pointer.lines().nth(1).unwrap()["oid sha256:".len()..], "oid")]), @"Request 1 final: 127.0.0.1:[port] does not have the LFS object [oid] (a.bin) of other/hello (404: Object does not exist): push it with `git lfs push --all`");
    // A server that says that it has the object, and does not send it, gives no right to it.
    other.server.put(b"hello");
    other.server.fault(LfsFault::Object(403));
    let error = read().await.unwrap_err();
    assert!(error.to_string().contains("does not give out the LFS object"), "{error}");
    other.server.fault(LfsFault::Content(b"hallo".into()));
    assert!(read().await.unwrap_err().to_string().contains("gives another content"));
    other.server.fault(LfsFault::None);
    assert_eq!(text(&read().await.unwrap(), "a.bin").await.unwrap(), "hello");
    assert_eq!(other.asked().len(), 2);
    // It is not fetched again from a server that has sent it.
    assert_eq!(text(&read().await.unwrap(), "a.bin").await.unwrap(), "hello");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_lost_or_damaged_object_is_fetched_again() {
    let web = Web::start();
    let pointer = web.server.put(b"hello");
    let oid = pointer.lines().nth(1).unwrap()["oid sha256:".len()..].to_owned();
    web.commit(&[("a.bin", &pointer)]);
    let (snapshot, _) = web.read().await.unwrap();
    let object = web.objects().join(&oid[..2]).join(&oid[2..4]).join(&oid);
    std::fs::write(&object, "hallo").unwrap();
    let error = text(&snapshot, "a.bin").await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&oid, "oid")]), @"Host 128 transient: the stored file [oid] is damaged (its content is another one): try again, it is then made anew");
    for damage in [None, Some(""), Some("hell")] {
        match damage {
            Some(content) => std::fs::write(&object, content).unwrap(),
            None => drop(std::fs::remove_file(&object)),
        }
        let (snapshot, _) = web.read().await.unwrap();
        assert_eq!(text(&snapshot, "a.bin").await.unwrap(), "hello");
    }
    // All of the store may go.
    std::fs::remove_dir_all(web.objects()).unwrap();
    std::fs::create_dir(web.objects()).unwrap();
    let (snapshot, _) = web.read().await.unwrap();
    assert_eq!(text(&snapshot, "a.bin").await.unwrap(), "hello");
}

/// Git would compare the content with the pointer where git-lfs is not installed.
#[tokio::test]
async fn git_finds_an_lfs_file_unchanged() {
    let web = Web::start();
    let pointer = web.server.put(b"large");
    web.commit(&[("a.bin", &pointer), ("text", "1")]);
    let (develop, log) = (branch("develop"), Log::default());
    let mirror = web.git.clone(&web.source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    let oid = web.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
    let git_dir = web.git.git_dir(&mirror, &oid, &log).await.unwrap();
    let secrets = Secrets::default();
    let snapshot =
        web.git.snapshot_with(&mirror, &oid, "key", SnapshotOptions::of(&git_dir), &secrets, &log).await.unwrap();
    assert_eq!(text(&snapshot, "a.bin").await.unwrap(), "large");
    let dir = gitdir::written(&snapshot).await;
    assert_eq!(gitdir::says(dir.path(), &["status", "--porcelain"]), "");
    let described = gitdir::says(dir.path(), &["describe", "--always", "--dirty"]);
    assert!(oid.to_string().starts_with(&described), "{described}");
    assert!(!std::fs::read_to_string(dir.path().join(".git/config")).unwrap().contains("hunter22"));
}
