use std::os::unix::fs::symlink;

use image_factory::git::{Entry, EntryKind};
use image_factory::secrets::{self, Place, SecretsConfig};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::harness::{DeployKey, GitHost, KeyType, LfsServer, succeed};

fn gitmodules(sections: &[(&str, &str, &str)]) -> String {
    let section =
        |(name, path, url): &(&str, &str, &str)| format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n");
    sections.iter().map(section).collect()
}

/// The commit with these submodules; `.gitmodules` is written as it is given.
fn commit_with(repo: &Repo, gitlinks: &[(&str, &str)], gitmodules: &str) -> String {
    gitlinks.iter().for_each(|(path, commit)| repo.gitlink(path, commit));
    repo.commit("develop", &[(".gitmodules", gitmodules)])
}

async fn read(local: &Local) -> Result<(Snapshot, String), GitError> {
    let log = Log::default();
    let mirror = local.fetch("develop", "HEAD", false).await?;
    let oid = local.git.resolve(&mirror, &branch("develop"), &CommitSpec::Head, false).await?;
    let snapshot = local.git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await?;
    Ok((snapshot, log.text()))
}

fn kinds(snapshot: &Snapshot) -> Vec<(String, EntryKind)> {
    let shown = |e: &Entry| (String::from_utf8_lossy(&e.path).into_owned(), e.kind);
    snapshot.entries.iter().map(shown).collect()
}

/// Returns the contents of these paths.
async fn texts(snapshot: &Snapshot, paths: &[&str]) -> Vec<String> {
    let contents = contents(snapshot).await.unwrap();
    let find = |path: &&str| {
        let found = contents.iter().find(|(p, _)| p == path).unwrap_or_else(|| panic!("no {path}"));
        String::from_utf8_lossy(&found.1).into_owned()
    };
    paths.iter().map(find).collect()
}

#[tokio::test]
async fn submodules_are_in_their_places() {
    let local = Local::new();
    let (lib, base) =
        (Repo::create(&local.dir.path().join("lib.git")), Repo::create(&local.dir.path().join("base.git")));
    let base_commit = base.commit("main", &[("base.txt", "base\n"), ("x/y", "1")]);
    symlink("../base.txt", base.path("x/link")).unwrap();
    base.commit("main", &[]);
    lib.gitlink("deep/base", &base.git(&["rev-parse", "HEAD"]));
    // The submodules of a submodule are relative to it.
    let lib_commit =
        lib.commit("main", &[("lib.c", "lib\n"), (".gitmodules", &gitmodules(&[("b", "deep/base", "../base.git")]))]);
    // A commit that no branch has.
    base.force("main", &base_commit);
    let repo = &local.repo;
    repo.commit("develop", &[("a", "1"), ("libs/z", "2"), ("libs.txt", "3")]);
    let sections = gitmodules(&[
        ("the lib", "libs/lib", "../lib.git"),
        ("none", "off", "../base.git"),
        ("gone", "gone", "../no.git"),
    ]);
    let sections = format!("{sections}[submodule \"none\"]\n\tupdate = none\n\tbranch = x\n\tactive = false\n");
    commit_with(repo, &[("libs/lib", &lib_commit), ("off", &base_commit), ("unnamed", &base_commit)], &sections);

    let (snapshot, log) = read(&local).await.unwrap();
    let expected = [
        (".gitmodules", EntryKind::File),
        ("a", EntryKind::File),
        ("libs", EntryKind::Dir),
        ("libs/lib", EntryKind::Dir),
        ("libs/lib/.gitmodules", EntryKind::File),
        ("libs/lib/deep", EntryKind::Dir),
        ("libs/lib/deep/base", EntryKind::Dir),
        ("libs/lib/deep/base/base.txt", EntryKind::File),
        ("libs/lib/deep/base/x", EntryKind::Dir),
        ("libs/lib/deep/base/x/link", EntryKind::Symlink),
        ("libs/lib/deep/base/x/y", EntryKind::File),
        ("libs/lib/lib.c", EntryKind::File),
        ("libs/z", EntryKind::File),
        ("libs.txt", EntryKind::File),
        ("off", EntryKind::Gitlink),
        ("unnamed", EntryKind::Gitlink),
    ];
    assert_eq!(kinds(&snapshot), expected.map(|(path, kind)| (path.to_owned(), kind)));
    let read_of =
        texts(&snapshot, &["a", "libs/lib/lib.c", "libs/lib/deep/base/base.txt", "libs/lib/deep/base/x/link"]);
    assert_eq!(read_of.await, ["1", "lib\n", "base\n", "../base.txt"]);
    assert_eq!(log.matches("Fetching the branches and tags of file://").count(), 2, "{log}");
    for told in [
        "The submodule at off has `update = none`: it stays empty",
        "The submodule at unnamed is not in .gitmodules: it stays empty",
    ] {
        assert!(log.lines().any(|line| line == told), "{log}");
    }
    // They have all that is needed now, also when the other side is gone.
    std::fs::rename(&lib.bare, local.dir.path().join("away")).unwrap();
    let (again, log) = read(&local).await.unwrap();
    assert_eq!(again.entries, snapshot.entries);
    assert!(!log.contains("Fetching"), "{log}");
}

#[tokio::test]
async fn a_changed_file_of_a_submodule_is_newer() {
    let local = Local::new();
    let lib = Repo::create(&local.dir.path().join("lib.git"));
    let first = lib.commit("main", &[("kept", "1"), ("changed", "1")]);
    let sections = gitmodules(&[("lib", "lib", "../lib.git")]);
    commit_with(&local.repo, &[("lib", &first)], &sections);
    let time = |snapshot: &Snapshot, path: &str| snapshot.entry(path.as_bytes()).unwrap().mtime;
    let (before, _) = read(&local).await.unwrap();
    // The files are as old as the commit that set the gitlink.
    let committed: i64 = local.repo.git(&["log", "-1", "--format=%ct", "--", "lib"]).parse().unwrap();
    for path in ["lib", "lib/kept", "lib/changed"] {
        // A file that is first seen in the second of its commit gets the second before.
        assert!((committed - 1..=committed).contains(&(time(&before, path) / 1_000_000_000)), "{path}");
    }
    let second = lib.commit("main", &[("changed", "2")]);
    commit_with(&local.repo, &[("lib", &second)], &sections);
    let (after, _) = read(&local).await.unwrap();
    assert_eq!(time(&after, "lib/kept"), time(&before, "lib/kept"));
    for path in ["lib", "lib/changed"] {
        assert!(time(&after, path) > before.entries.iter().map(|entry| entry.mtime).max().unwrap(), "{path}");
    }
    // Back again is a change, too.
    commit_with(&local.repo, &[("lib", &first)], &sections);
    let (back, _) = read(&local).await.unwrap();
    assert!(time(&back, "lib/changed") > time(&after, "lib/changed"));
    assert_eq!(texts(&back, &["lib/changed"]).await, ["1"]);
}

#[tokio::test]
async fn hostile_submodules_are_refused_by_name() {
    let no = "0123456789012345678901234567890123456789";
    let one = |path: &str, url: &str| gitmodules(&[("evil", path, url)]);
    let named = |name: &str| gitmodules(&[(name, "m", "../lib.git")]);
    let cases = [
        one("../m", "../lib.git"),
        one("a/../../m", "../lib.git"),
        one("/etc", "../lib.git"),
        one(".git/hooks", "../lib.git"),
        one("a/.GIT", "../lib.git"),
        one("-x", "../lib.git"),
        one("link/m", "../lib.git"),
        named("../../evil"),
        named("-evil"),
        named("/evil"),
        one("m", "ext::sh -c id"),
        one("m", "--upload-pack=id"),
        one("m", "file:///etc"),
        one("m", "../../../../../../../../etc"),
        one("m", "../../other/lib.git"),
        one("m", "https://me:hunter22@example.com/a/b"),
        one("m", "https:///a/b"),
        one("m", "https://example.com/a%0ab"),
        one("m", "https://169.254.169.254/latest"),
        one("m", "https://localhost/a/b"),
        one("m", "git@example.com:a/b.git"),
        one("m", "../nothing.git"),
        format!("{}\tupdate = !id\n", one("m", "../lib.git")),
        "[submodule \"evil\"]\n\tpath = m\n".into(),
        "[submodule \"evil\n".into(),
        format!("{}\tupdate = often\n", one("m", "../lib.git")),
        format!("{}\tupdate\n", one("m", "../lib.git")),
        one("m", "../lib.git"),
    ];
    let mut failures = Vec::new();
    let local = Local::new();
    Repo::create(&local.dir.path().join("lib.git")).commit("main", &[("a", "1")]);
    local.repo.commit("develop", &[("a", "1")]);
    symlink("/etc", local.repo.path("link")).unwrap();
    for sections in cases {
        commit_with(&local.repo, &[("m", no)], &sections);
        let error = read(&local).await.map(|_| ()).expect_err(&sections);
        assert!(!error.message.contains("hunter22"), "{error:?}");
        // The name service may give either address of this machine.
        let said = failure(&error, &[(no, "no commit"), ("::1", "this machine"), ("127.0.0.1", "this machine")]);
        failures.push(format!("{sections}    {said}"));
    }
    insta::assert_snapshot!("hostile", failures.join("\n"));
    // A harmless section that names no entry of the tree is ignored.
    commit_with(
        &local.repo,
        &[("m", no)],
        &gitmodules(&[("old", "a", "ext::x"), ("m", "m", "../lib.git")])
            .replace("[submodule \"m\"]", "[submodule \"m\"]\n\tupdate = none"),
    );
    read(&local).await.unwrap();
}

/// A file in a work tree is read by Git otherwise than a blob: so our reading is compared with Git's own.
#[tokio::test]
async fn gitmodules_is_read_as_git_reads_a_file() {
    let local = Local::new();
    let (one, two) = (Repo::create(&local.dir.path().join("one.git")), Repo::create(&local.dir.path().join("two.git")));
    let commit = one.commit("main", &[("f", "1")]);
    two.git(&["pull", "-q", one.bare.to_str().unwrap(), "main"]);
    two.commit("main", &[]);
    let (a, b) = (gitmodules(&[("a", "m", "../one.git")]), gitmodules(&[("b", "m", "../two.git")]));
    for (sections, url) in [
        ([a.as_bytes()].concat(), "one"),
        ([b"\xef\xbb\xbf", a.as_bytes()].concat(), "one"),
        ([b"# caf\xe9 \xff\n; \xff\n", a.as_bytes()].concat(), "one"),
        (a.replace('\n', "\r\n").into(), "one"),
        ([a.as_bytes(), b.as_bytes()].concat(), "two"),
        ([b.as_bytes(), a.as_bytes()].concat(), "one"),
        (format!("{a}# \n[submodule \"a\"]\n\turl = ../two.git\n").into(), "two"),
        (format!("[include]\n\tpath = /dev/zero\n{a}").into(), "one"),
        ("[SubModule \"a\"]\n\tPath=m ; x\n\tURL = \"../two\\\n.git\" # y\n".into(), "two"),
    ] {
        local.repo.gitlink("m", &commit);
        std::fs::write(local.repo.path(".gitmodules"), &sections).unwrap();
        local.repo.commit("develop", &[]);
        let clone = folder();
        let mut git = std::process::Command::new("git");
        git.args(["-c", "protocol.file.allow=always", "clone", "-q", "--recurse-submodules"]);
        harness::succeed(git.arg(&local.repo.bare).arg(clone.path().join("c")), b"");
        let mut git = std::process::Command::new("git");
        git.current_dir(clone.path().join("c/m")).args(["config", "remote.origin.url"]);
        let gits = String::from_utf8(harness::succeed(&mut git, b"").stdout).unwrap();
        let shown = sections.escape_ascii();
        assert!(gits.trim().ends_with(&format!("/{url}.git")), "{shown}: {gits}");
        // Without its mirror the submodule is fetched, and its URL is in the log.
        std::fs::remove_dir_all(local.dir.path().join("data/mirrors/@submodules")).unwrap_or_default();
        let (snapshot, log) = read(&local).await.unwrap();
        assert!(log.contains(&format!("/{url}.git\n")) && snapshot.entry(b"m/f").is_some(), "{shown}: {log}");
    }
}

#[tokio::test]
async fn gitmodules_may_be_a_link_in_the_repository() {
    let local = Local::new();
    let commit = Repo::create(&local.dir.path().join("lib.git")).commit("main", &[("f", "1")]);
    let sections = gitmodules(&[("lib", "m", "../lib.git")]);
    let put = |entries: &[(&str, &str, &str)]| {
        let mut stream =
            b"commit refs/heads/develop\ncommitter T <t@t> 1500000000 +0000\ndata 1\nx\ndeleteall\n".to_vec();
        stream.extend(format!("M 160000 {commit} m\n").bytes());
        for (mode, path, content) in entries {
            match *mode {
                "160000" => stream.extend(format!("M {mode} {content} {path}\n").bytes()),
                _ => stream.extend(format!("M {mode} inline {path}\ndata {}\n{content}\n", content.len()).bytes()),
            }
        }
        let mut git = std::process::Command::new("git");
        git.current_dir(&local.repo.bare).args(["fast-import", "--quiet", "--force"]);
        succeed(&mut git, &stream);
    };
    put(&[("120000", ".gitmodules", "d/modules"), ("120000", "d/modules", "../real"), ("100644", "real", &sections)]);
    let (snapshot, _) = read(&local).await.unwrap();
    assert!(snapshot.entry(b"m/f").is_some());
    let mut failures = Vec::new();
    for entry in [
        ("120000", ".gitmodules", "/etc/passwd"),
        ("120000", ".gitmodules", "../x"),
        ("120000", ".gitmodules", "none"),
        ("100644", ".gitmodules/x", "y"),
        ("160000", ".gitmodules", &*commit),
    ] {
        put(&[entry]);
        failures.push(failure(&read(&local).await.unwrap_err(), &[]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r"
    Request 128 final: .gitmodules cannot be read: the link .gitmodules → /etc/passwd is absolute, and so leaves the repository; make it a file
    Request 128 final: .gitmodules cannot be read: the link .gitmodules → ../x leaves the repository; make it a file
    Request 128 final: .gitmodules cannot be read: the link .gitmodules → none leads to nothing; make it a file
    Request 128 final: .gitmodules is a folder: make it a file
    Request 128 final: .gitmodules is a submodule: make it a file
    ");
}

#[tokio::test]
async fn a_gitlink_cannot_share_its_place() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let raw = |id: String| hex::decode(id).unwrap();
    let (blob, tree) =
        (raw(local.repo.git(&["rev-parse", "HEAD:a"])), raw(local.repo.git(&["rev-parse", "HEAD^{tree}"])));
    let mut failures = Vec::new();
    for (entries, path) in [
        (vec![(&b"100644 m\0"[..], &blob), (b"160000 m\0", &tree)], "m"),
        (vec![(b"160000 m\0", &tree), (b"40000 m\0", &tree)], "m"),
        (vec![(b"120000 m\0", &blob), (b"160000 m/x\0", &tree)], "m/x"),
        (vec![(b"160000 ..\0", &tree)], ".."),
    ] {
        let bytes: Vec<u8> = entries.into_iter().flat_map(|(head, id)| [head, id].concat()).collect();
        let file = local.dir.path().join("tree");
        std::fs::write(&file, bytes).unwrap();
        let args = ["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()];
        let commit = local.repo.git(&["commit-tree", "-m", "x", &local.repo.git(&args)]);
        local.repo.git(&["push", "-q", "origin", &format!("+{commit}:refs/heads/develop")]);
        let error = read(&local).await.map(|_| ()).expect_err(path);
        failures.push(failure(&error, &[]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r#"
    Request 128 final: commit [commit] cannot be built: the tree has an entry "m", which is no proper path
    Request 128 final: commit [commit] cannot be built: the tree has an entry "m", which is no proper path
    Request 128 final: commit [commit] cannot be built: the tree has an entry "m/x", which is no proper path
    Request 128 final: commit [commit] cannot be built: the tree has an entry "..", which is no proper path
    "#);
}

#[tokio::test]
async fn a_chain_without_end_is_cut_off() {
    let local = Local::new();
    // Each of its commits has the one before as a submodule.
    let sections = gitmodules(&[("again", "again", "../hello.git")]);
    let mut last = local.repo.commit("develop", &[("a", "1")]);
    for _ in 0..8 {
        last = commit_with(&local.repo, &[("again", &last)], &sections);
    }
    let (snapshot, _) = read(&local).await.unwrap();
    assert!(snapshot.entry(&b"again/".repeat(8).into_iter().chain(*b"a").collect::<Vec<_>>()).is_some());
    commit_with(&local.repo, &[("again", &last)], &sections);
    let error = read(&local).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Request 128 final: submodule "again" at again/again/again/again/again/again/again/again/again: the submodules are more than 8 deep in one another, or more than 200 in all: are they in a circle?"#);
}

#[tokio::test]
async fn a_damaged_submodule_is_fetched_anew() {
    let local = Local::new();
    let lib = Repo::create(&local.dir.path().join("lib.git"));
    let commit = lib.commit("main", &[("x", "1")]);
    commit_with(&local.repo, &[("lib", &commit)], &gitmodules(&[("lib", "lib", "../lib.git")]));
    read(&local).await.unwrap();
    let mirrors = local.dir.path().join("data/mirrors/@submodules");
    let mirror = std::fs::read_dir(&mirrors).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_dir_all(mirror.join("objects/pack")).unwrap();
    let (snapshot, _) = read(&local).await.unwrap();
    std::fs::remove_dir_all(mirror.join("objects")).unwrap();
    let error = contents(&snapshot).await.unwrap_err();
    // The reader of the objects says that one is missing, or has ended already.
    let flaw = regex::Regex::new("[(]object .*[)]: ").unwrap();
    let error = failure(&error, &[]);
    insta::assert_snapshot!(flaw.replace(&error, "([flaw]): "), @"Host 128 transient: the mirror of [folder]/lib is damaged ([flaw]): try again, it is then fetched anew");
    let (snapshot, _) = read(&local).await.unwrap();
    assert_eq!(texts(&snapshot, &["lib/x"]).await, ["1"]);
}

/// Superprojects at an sshd, and their owners' keys.
struct Keys {
    host: GitHost,
    git: Git,
    secrets: Arc<Secrets>,
    dir: tempfile::TempDir,
}

impl Keys {
    /// Keys by their place below `github-keys`.
    async fn start(keys: &[(&str, &DeployKey)]) -> Self {
        let (host, dir) = (GitHost::start().await, folder());
        for (place, key) in keys {
            let path = dir.path().join("secrets/image-factory/github-keys").join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &key.private).unwrap();
        }
        let config = SecretsConfig {
            place: Place::Folder(dir.path().join("secrets")),
            passphrase: None,
            authorized_keys_file: None,
            repo_case: image_factory::model::RepoCase::default(),
        };
        let mut receiver = secrets::start(config, CancellationToken::new());
        let secrets = receiver.wait_for(|secrets| secrets.loaded).await.unwrap().clone();
        let git = Git::new(super::config(dir.path(), &host.known_hosts())).unwrap();
        Self { host, git, secrets, dir }
    }

    fn url(&self, repo: &str) -> String {
        let (owner, name) = repo.split_once('/').unwrap();
        self.host.url().replace("{owner}", owner).replace("{repo}", name)
    }

    async fn read(&self, repo: &str) -> Result<Snapshot, GitError> {
        let name = RepoName::parse(repo).unwrap();
        let source = RepoSource { url: self.url(repo), key: self.secrets.deploy_key(&name).unwrap(), repo: name };
        let (develop, log) = (branch("develop"), Log::default());
        let mirror = self.git.clone(&source, &develop, &CommitSpec::Head, false, &log).await?;
        let oid = self.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await?;
        self.git.snapshot(&mirror, &oid, repo, &self.secrets, &log).await
    }

    fn uses(&self, key: &DeployKey) -> usize {
        let file = self.dir.path().join("public");
        std::fs::write(&file, &key.public).unwrap();
        let listed = succeed(std::process::Command::new("ssh-keygen").arg("-lf").arg(file), b"").stdout;
        let fingerprint = String::from_utf8(listed).unwrap().split(' ').nth(1).unwrap().to_owned();
        self.host
            .output()
            .lines()
            .filter(|line| line.contains("Accepted publickey") && line.contains(&fingerprint))
            .count()
    }
}

#[tokio::test]
async fn a_submodule_is_fetched_with_its_own_key_or_its_superprojects() {
    let [hello, lib, other] = [(); 3].map(|()| DeployKey::generate(KeyType::Ed25519, ""));
    let keys = Keys::start(&[("acme/hello", &hello), ("acme/lib", &lib), ("other/@owner", &other)]).await;
    keys.host.authorize(&[&hello, &lib, &other]);
    let repos = ["acme/hello", "acme/lib", "other/lib"].map(|repo| {
        let (owner, name) = repo.split_once('/').unwrap();
        keys.host.repo(owner, name)
    });
    let own = repos[1].commit("main", &[("x", "acme's")]);
    let foreign = repos[2].commit("main", &[("x", "other's")]);
    let sections = gitmodules(&[("own", "own", "../lib.git"), ("foreign", "foreign", &keys.url("other/lib"))]);
    commit_with(&repos[0], &[("own", &own), ("foreign", &foreign)], &sections);
    let snapshot = keys.read("acme/hello").await.unwrap();
    assert_eq!(texts(&snapshot, &["own/x", "foreign/x"]).await, ["acme's", "other's"]);
    // Each key has one connection, and no push uses the key of another owner.
    assert_eq!([&hello, &lib, &other].map(|key| keys.uses(key)), [1, 1, 0]);
}

#[tokio::test]
async fn a_submodule_whose_key_cannot_be_used_gets_no_other_one() {
    let hello = DeployKey::generate(KeyType::Ed25519, "");
    let broken = DeployKey { private: "broken".into(), ..hello.clone() };
    let keys = Keys::start(&[("acme/hello", &hello), ("acme/lib", &broken)]).await;
    keys.host.authorize(&[&hello]);
    let repos = ["hello", "lib"].map(|name| keys.host.repo("acme", name));
    let commit = repos[1].commit("main", &[("x", "1")]);
    commit_with(&repos[0], &[("m", &commit)], &gitmodules(&[("m", "m", "../lib.git")]));
    let error = keys.read("acme/hello").await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Config 128 final: submodule "m" at m: its URL needs a key: the deploy key image-factory/github-keys/acme/lib of acme/lib is stored and cannot be used: this is not a private key: it must begin with `-----BEGIN OPENSSH PRIVATE KEY-----` or the like"#);
}

#[tokio::test]
async fn a_commit_that_one_key_fetched_is_not_available_to_another() {
    let [ours, theirs] = [(); 2].map(|()| DeployKey::generate(KeyType::Ed25519, ""));
    let keys = Keys::start(&[("acme/@owner", &ours), ("evil/@owner", &theirs)]).await;
    keys.host.authorize(&[&ours, &theirs]);
    let private = keys.host.repo("acme", "private").commit("main", &[("secret", "1")]);
    for owner in ["acme", "evil"] {
        let repo = keys.host.repo(owner, "hello");
        commit_with(&repo, &[("m", &private)], &gitmodules(&[("m", "m", &keys.url("acme/private"))]));
    }
    keys.read("acme/hello").await.unwrap();
    // The repository itself is in the mirror already.
    let name = RepoName::parse("evil/hello").unwrap();
    let source = RepoSource { url: keys.url("evil/hello"), key: keys.secrets.deploy_key(&name).unwrap(), repo: name };
    let (develop, log) = (branch("develop"), Log::default());
    let mirror = keys.git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    let oid = keys.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
    keys.host.authorize(&[&ours]);
    // A new Git has no connection that the host has let in.
    let git = Git::new(super::config(keys.dir.path(), &keys.host.known_hosts())).unwrap();
    let error = git.snapshot(&mirror, &oid, "key", &keys.secrets, &log).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Key 128 final: submodule "m" at m: 127.0.0.1:[port] refuses the deploy key SHA256:[fingerprint] for acme/private: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo private FILE` (a submodule of another owner is fetched with its superproject's deploy key)"#);
}

#[tokio::test]
async fn ssh_urls_are_fetched_by_http_where_there_is_no_key() {
    let dir = folder();
    let server = LfsServer::start(None, &dir.path().join("git"));
    let repos = ["hello", "lib"].map(|name| {
        std::fs::create_dir_all(dir.path().join("git/acme")).unwrap();
        Repo::create(&dir.path().join(format!("git/acme/{name}.git")))
    });
    let commit = repos[1].commit("main", &[("x", "1")]);
    commit_with(&repos[0], &[("m", &commit)], &gitmodules(&[("m", "m", "git@127.0.0.1:acme/lib.git")]));
    for repo in &repos {
        // Git needs these files to fetch from plain files.
        succeed(std::process::Command::new("git").arg("update-server-info").current_dir(&repo.bare), b"");
    }
    let git = Git::new(config(dir.path(), Path::new("/nonexistent"))).unwrap();
    let url = format!("{}/acme/hello.git", server.url());
    let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
    let (develop, log) = (branch("develop"), Log::default());
    let mirror = git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    let oid = git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap();
    let snapshot = git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await.unwrap();
    assert_eq!(texts(&snapshot, &["m/x"]).await, ["1"]);
}
