//! Contents are those of a checkout on Linux: line ends, `$Id$` and encodings, compared with what Git checks out.

use fastrand::Rng;
use image_factory::git::EntryKind;

use super::archive::checkout;
use super::*;
use crate::harness::{Tree, import};

/// A commit on develop with these files, whose bytes Git leaves as they are.
fn put(local: &Local, files: &[(&str, &[u8])]) -> String {
    let mut stream = b"commit refs/heads/develop\ncommitter T <t@t> 1500000000 +0000\ndata 1\nx\n".to_vec();
    // On the same branch it goes on by itself.
    if !local.heads().is_empty() {
        stream.extend(b"from refs/heads/develop^0\n");
    }
    stream.extend(b"deleteall\n");
    for (path, content) in files {
        stream.extend(format!("M 100644 inline {path}\ndata {}\n", content.len()).bytes());
        stream.extend([content, &b"\n"[..]].concat());
    }
    import(&local.repo.bare, &stream);
    local.heads()
}

impl Local {
    fn heads(&self) -> String {
        let mut git = std::process::Command::new("git");
        git.current_dir(&self.repo.bare).args(["for-each-ref", "--format=%(objectname)"]);
        String::from_utf8(harness::succeed(&mut git, b"").stdout).unwrap().trim().to_owned()
    }

    async fn logged(&self) -> Result<(Snapshot, String), GitError> {
        let log = Log::default();
        let mirror = self.fetch("develop", "HEAD", false).await?;
        let oid = self.git.resolve(&mirror, &branch("develop"), &CommitSpec::Head, false).await?;
        let snapshot = self.git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await?;
        Ok((snapshot, log.text()))
    }
}

async fn tree(snapshot: &Snapshot) -> Tree {
    let (mut blobs, mut tree) = (snapshot.blobs().unwrap(), Tree::new());
    for entry in &snapshot.entries {
        let value = match entry.kind {
            EntryKind::Dir | EntryKind::Gitlink => ("dir", false, vec![]),
            EntryKind::File | EntryKind::Exec => {
                ("file", entry.kind == EntryKind::Exec, blobs.read(entry).await.unwrap())
            }
            EntryKind::Symlink => ("link", false, blobs.read(entry).await.unwrap()),
        };
        assert!(entry.kind == EntryKind::Dir || value.2.len() as u64 == entry.size, "{entry:?}");
        tree.insert(entry.path.clone(), value);
    }
    tree
}

/// Compares the snapshot of a commit with its checkout.
async fn is_checked_out(local: &Local, commit: &str, what: &str) -> Snapshot {
    let (snapshot, _) = local.logged().await.unwrap();
    let (ours, dir) = (tree(&snapshot).await, folder());
    let gits = checkout(&local.repo.bare, dir.path(), commit);
    let differs = |path: &&Vec<u8>| ours.get(*path) != gits.get(*path);
    let show = |tree: &Tree, path: &Vec<u8>| tree.get(path).map(|value| value.2.escape_ascii().to_string());
    let paths: Vec<_> = ours.keys().chain(gits.keys()).filter(differs).collect();
    let shown: Vec<_> = paths.iter().map(|path| (path.escape_ascii(), show(&ours, path), show(&gits, path))).collect();
    assert!(shown.is_empty(), "{what}: {shown:#?}");
    snapshot
}

const FORMS: [(&str, &[u8]); 20] = [
    ("empty", b""),
    ("lf", b"a\nb\n"),
    ("crlf", b"a\r\nb\r\n"),
    ("mixed", b"a\nb\r\nc\n"),
    ("lone_cr", b"a\rb\nc\r"),
    ("no_end", b"a\nb"),
    ("nul", b"a\0b\nc\n"),
    ("unprintable", b"\x01\x02\x03\n"),
    ("eof", b"a\n\x1a"),
    ("bom", b"\xef\xbb\xbfa\n"),
    ("latin1", b"caf\xe9\n"),
    ("utf8", "caf\u{e9} \u{1f980}\n".as_bytes()),
    ("bytes16", b"\xff\xfea\0\n\0"),
    ("id", b"x $Id$ y\n$Id$"),
    ("id_old", b"$Id: 0123 $\n$Id: foo,v 1.2 2003/04/05 $\n$Id:$ $Id: $"),
    ("id_odd", b"$$Id$ $Id $id$ $ID$ $Id: open\n$ $Idx$ $Id"),
    ("id_crlf", b"$Id$\r\n$Id: \r\n$"),
    ("dir/link_like", b"../lf"),
    ("dir/id", b"$Id: \xff $"),
    ("dir/Id_many", b"$Id$$Id$$Id: a $Id$"),
];

#[tokio::test]
async fn contents_are_those_of_a_checkout() {
    let local = Local::new();
    for attributes in [
        "",
        "* text=auto\n",
        "* text=auto eol=crlf\n",
        "* eol=crlf\n",
        "* text eol=crlf\n",
        "* -text eol=crlf\n",
        "* crlf=input\n",
        "* crlf=auto eol=crlf\nlf -crlf\n",
        "* eol=lf\n* text=auto\n",
        "* ident\n",
        "* ident text=auto eol=crlf\n",
        "* ident eol=crlf\nid* -ident\ndir/** !eol\n",
        "[attr]windows text eol=crlf\n* windows\nmixed -windows\nlone_cr !windows\n",
        "* working-tree-encoding=UTF-16\n",
        "* text=auto eol=crlf working-tree-encoding=UTF-16LE-BOM\n",
        "* working-tree-encoding=UTF-16BE ident\n",
        "* working-tree-encoding=ISO-8859-1\n",
        "* working-tree-encoding=utf-8 eol=crlf\n",
        "* working-tree-encoding=no-such-encoding eol=crlf\n",
        "* working-tree-encoding= eol=crlf\n",
        "* filter=unknown eol=crlf\n",
        "* export-ignore export-subst ident\n",
    ] {
        let mut files = FORMS.to_vec();
        files.push((".gitattributes", attributes.as_bytes()));
        let commit = put(&local, &files);
        is_checked_out(&local, &commit, attributes).await;
        // Known by now.
        is_checked_out(&local, &commit, attributes).await;
    }
}

#[tokio::test]
async fn random_contents_are_those_of_a_checkout() {
    let local = Local::new();
    let words: [&[u8]; 16] = [
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"$Id$",
        b"$Id: a $",
        b"$Id: a b $",
        b"$",
        b"$Id",
        b":",
        b" ",
        b"word",
        b"\xff",
        b"\0",
        "\u{e9}".as_bytes(),
        b"$Id:",
    ];
    let attributes = "0/* text=auto eol=crlf\n1/* eol=crlf\n2/* ident\n3/* ident eol=crlf\n4/* ident text=auto eol=crlf\n\
        5/* working-tree-encoding=UTF-16 eol=crlf\n";
    let mut rng = Rng::with_seed(9);
    let mut files = vec![(".gitattributes".to_owned(), attributes.as_bytes().to_vec())];
    for at in 0..1200 {
        let content: Vec<_> = (0..rng.usize(..12)).map(|_| words[rng.usize(..words.len())]).collect();
        files.push((format!("{}/{at}", at % 7), content.concat()));
    }
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let commit = put(&local, &files);
    is_checked_out(&local, &commit, "random").await;
}

/// Git's memory is bounded: what it would hold in memory is judged first.
#[tokio::test]
async fn large_files_are_converted_too() {
    let local = Local::new();
    let (line, size) = (b"0123456789abcde\n", 17 << 20);
    let text = line.repeat(size / line.len());
    let mixed = [&text[..], b"\r\n"].concat();
    let binary = [&text[..], b"\0"].concat();
    let files = [(".gitattributes", &b"* text=auto eol=crlf ident\n"[..]), ("t", &text), ("m", &mixed), ("b", &binary)];
    let commit = put(&local, &files);
    let snapshot = is_checked_out(&local, &commit, "large").await;
    assert_eq!(snapshot.entry(b"t").unwrap().size as usize, size + size / line.len());
}

#[tokio::test]
async fn a_file_that_a_conversion_changes_gets_another_time() {
    for pure in [false, true] {
        let local = Local::with(|config| config.pure_history_times = pure);
        let files: [(&str, &[u8]); 3] = [("a", b"1\n"), ("crlf", b"1\r\n"), ("other", b"1\n")];
        put(&local, &files);
        let (before, log) = local.logged().await.unwrap();
        assert!(!log.contains("Converting"), "{log}");
        let time = |snapshot: &Snapshot, path: &str| snapshot.entry(path.as_bytes()).unwrap().mtime;
        put(&local, &[&files[..], &[(".gitattributes", b"a eol=crlf\ncrlf eol=crlf\n")]].concat());
        let (after, log) = local.logged().await.unwrap();
        insta::allow_duplicates! {
            insta::assert_snapshot!(masked(&log, &[]), @"Converting 2 files as a checkout does (eol, ident, working-tree-encoding)");
        }
        assert_ne!(time(&after, "a"), time(&before, "a"));
        // Their bytes are the same.
        assert_eq!(time(&after, "crlf"), time(&before, "crlf"));
        assert_eq!(time(&after, "other"), time(&before, "other"));
        // Another attribute with the same effect is no change, and what was converted is not converted again.
        put(&local, &[&files[..], &[(".gitattributes", b"a eol=crlf\ncrlf eol=crlf\n#\n")]].concat());
        let (again, log) = local.logged().await.unwrap();
        assert_eq!(time(&again, "a"), time(&after, "a"));
        assert!(!log.contains("Converting"), "{log}");
    }
}

#[tokio::test]
async fn a_converted_file_that_is_lost_is_made_again() {
    let mut local = Local::new();
    let commit = put(&local, &[(".gitattributes", b"a eol=crlf\n"), ("a", b"1\n")]);
    let snapshot = is_checked_out(&local, &commit, "first").await;
    let objects = local.dir.path().join("data/lfs");
    let oid = snapshot.entry(b"a").unwrap().oid.to_string();
    let file = objects.join(&oid[..2]).join(&oid[2..4]).join(&oid);
    std::fs::write(&file, "1\r1").unwrap();
    let error = snapshot.blobs().unwrap().read(snapshot.entry(b"a").unwrap()).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&oid, "oid")]), @"Host 128 transient: the stored file [oid] is damaged (its content is another one): try again, it is then made anew");
    is_checked_out(&local, &commit, "after damage").await;
    // No other file is left there.
    assert_eq!(std::fs::read_dir(&objects).unwrap().count(), 1);
    local.restart();
    let after = is_checked_out(&local, &commit, "after a restart").await;
    assert_eq!(after.entries, snapshot.entries);
}

#[tokio::test]
async fn a_file_that_cannot_be_encoded_is_named() {
    let local = Local::new();
    let attributes: &[u8] = b"* working-tree-encoding=UTF-16\n.gitattributes !working-tree-encoding\n";
    let commit = put(&local, &[(".gitattributes", attributes), ("d/bad", b"\xff\n"), ("good", b"a\n")]);
    is_checked_out(&local, &commit, "bad").await;
    for _ in 0..2 {
        let (_, log) = local.logged().await.unwrap();
        let told: Vec<_> = log.lines().filter(|line| line.contains("stays as it is")).collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(told.join("\n"), @"d/bad stays as it is in the repository: Git cannot encode it as its attribute working-tree-encoding says, and a checkout leaves it so");
        }
    }
    put(&local, &[(".gitattributes", b"a working-tree-encoding\n"), ("a", b"1\n")]);
    let error = local.logged().await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Request 128 final: a has the attribute working-tree-encoding without an encoding, at which a checkout by Git fails: name one in .gitattributes (working-tree-encoding=UTF-16), or take the attribute away (!working-tree-encoding)");
}

/// Filters are programs that a repository names and only a user's configuration defines.
#[tokio::test]
async fn symlinks_and_filters_are_left_alone() {
    let local = Local::new();
    let repo = &local.repo;
    std::os::unix::fs::symlink("a\nb", repo.path("link")).unwrap();
    repo.commit("develop", &[(".gitattributes", "* eol=crlf ident filter=evil\n"), ("a", "$Id$\n")]);
    let mirror = local.fetch("develop", "HEAD", false).await.unwrap();
    drop(mirror);
    let config = local.dir.path().join("data/mirrors/acme/hello.git/config");
    let ran = local.dir.path().join("ran");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}[filter \"evil\"]\n\tsmudge = touch {}\n", ran.display())).unwrap();
    let (snapshot, _) = local.logged().await.unwrap();
    let contents = contents(&snapshot).await.unwrap();
    assert!(contents.contains(&("link".into(), b"a\nb".into())), "{contents:?}");
    let id = snapshot.entry(b"a").unwrap().size;
    assert_eq!((id, ran.exists()), (b"$Id:  $\r\n".len() as u64 + 40, false));
}

/// A tree can name an object as what it is not; that is the commit's fault, and no reason to fetch again.
#[tokio::test]
async fn an_object_of_another_type_is_no_damage() {
    let local = Local::new();
    put(&local, &[("d/f", b"x"), (".gitattributes", b"* eol=crlf\n")]);
    let git = |dir: &Path, args: &[&str], input: &[u8]| {
        let mut git = std::process::Command::new("git");
        git.current_dir(dir).args(args);
        for name in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{name}_NAME"), "T").env(format!("GIT_{name}_EMAIL"), "t@t");
        }
        String::from_utf8(harness::succeed(&mut git, input).stdout).unwrap().trim().to_owned()
    };
    let bare = &local.repo.bare;
    let [tree, attributes] =
        ["d", ".gitattributes"].map(|path| git(bare, &["rev-parse", &format!("develop:{path}")], b""));
    let raw = |dir: &Path, entries: &[(&str, &str)]| {
        let entry = |(name, id): &(&str, &str)| [name.as_bytes(), b"\0", &hex::decode(id).unwrap()].concat();
        let tree = entries.iter().flat_map(entry).collect::<Vec<_>>();
        let tree = git(dir, &["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &tree);
        git(dir, &["commit-tree", &tree, "-m", "x"], b"")
    };
    let read = async || {
        let (snapshot, _) = local.logged().await?;
        contents(&snapshot).await
    };
    for entries in [
        &[("100644 file", &*tree)][..],
        &[("100644 .gitattributes", &*tree)],
        &[("100644 .gitattributes", &*attributes), ("100644 file", &*tree)],
    ] {
        git(bare, &["update-ref", "refs/heads/develop", &raw(bare, entries)], b"");
        let error = read().await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[(&tree, "tree")]), @"Request 128 final: a tree of acme/hello names the object [tree] as a file, and it is a tree: make the commit anew with Git's own commands");
        }
    }
    // Git itself does not send such a folder, other servers may.
    let mirror = local.fetch("develop", "HEAD", false).await.unwrap();
    let commit = raw(&local.dir.path().join("data/mirrors/acme/hello.git"), &[("40000 dir", &attributes)]);
    let snapshot =
        local.git.snapshot(&mirror, &commit.parse().unwrap(), "key", &Secrets::default(), &Log::default()).await;
    insta::assert_snapshot!(failure(&snapshot.unwrap_err(), &[(&attributes, "attributes")]), @"Request 128 final: a tree of acme/hello names the object [attributes] as a folder, and it is no folder: make the commit anew with Git's own commands");
    put(&local, &[("f", b"fine")]);
    assert_eq!(read().await.unwrap(), [("f".to_owned(), b"fine".to_vec())]);
}
