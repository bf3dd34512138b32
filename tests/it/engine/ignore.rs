//! `.dockerignore` against Docker's own client, on trees and patterns made at random.
//!
//! Without BuildKit the client applies the patterns itself and sends a tar, here to a server that keeps it. What it
//! sends must be what we send. One thing is known to differ: where a directory is excluded, the client looks into it
//! only if an exception's text begins with its path, so that `!**/*.md` brings nothing back, while BuildKit looks
//! wherever an exception can match. We do as BuildKit does for both builders; so the client gets, for each directory, an
//! exception more that matches nothing and lets it look.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use bytes::Bytes;
use image_factory::model::Builder;

use super::*;
use crate::harness::{Served, folder};

/// A failure names its seed; it is replayed, and other cases tried, by DOCKERIGNORE_SEED. Usually from where most
/// faults were found.
fn first_seed() -> u64 {
    std::env::var("DOCKERIGNORE_SEED").map_or(5001, |seed| seed.parse().unwrap())
}

type Contexts = Arc<Mutex<HashMap<String, Bytes>>>;

const IMAGE_ID: &str = "sha256:012345";

/// Serves the part of an old engine's API that a classic build needs, and keeps the tars by the image's name.
fn keeper(contexts: Contexts) -> Served {
    let ping = || async { ([("Api-Version", "1.41"), ("OSType", "linux")], "OK") };
    let build = |State(contexts): State<Contexts>, Query(query): Query<Vec<(String, String)>>, tar: Bytes| async move {
        let name = query.into_iter().find(|(key, _)| key == "t").unwrap().1;
        contexts.lock().unwrap().insert(name.trim_end_matches(":latest").into(), tar);
        "{\"stream\":\"Successfully built 0123\\n\"}\r\n"
    };
    let router = axum::Router::new().route("/_ping", get(ping)).route("/build", post(build));
    let version = async || r#"{"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}"#;
    let router = router.route("/version", get(version));
    let router = router.route("/v1.41/images/0123/json", get(async || format!("{{\"Id\": \"{IMAGE_ID}\"}}")));
    let router = router.route("/v1.41/build", post(build)).layer(axum::extract::DefaultBodyLimit::disable());
    Served::start(router.with_state(contexts))
}

/// The tree of a tar; the text of the ignore file itself differs between the two.
fn tree_of(tar: &[u8]) -> Tree {
    let dir = folder();
    let path = dir.path().join("tar");
    fs::write(&path, tar).unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    unpack(fs::File::open(path).unwrap(), &dir.path().join("tree"));
    let mut tree = read_tree(&dir.path().join("tree"));
    tree.entry(b".dockerignore".to_vec()).and_modify(|entry| entry.2.clear());
    tree
}

/// One tree and one ignore file.
struct Case {
    seed: u64,
    /// The files, all in directories of `dirs`. Some are symlinks.
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
    ignore: String,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random(fastrand::Rng::with_seed(seed));
        let (mut files, mut dirs) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..random.0.usize(8..24) {
            let mut path = String::new();
            for _ in 0..random.0.usize(0..4) {
                // The path is in an existing directory, or in a new one.
                let known: Vec<&String> = dirs.iter().filter(|dir: &&String| dir.starts_with(&path)).collect();
                match random.0.choice(known) {
                    Some(dir) if random.0.u8(..3) > 0 => path = format!("{dir}/"),
                    _ => path = format!("{path}{}/", random.name(true)),
                }
            }
            let file = format!("{path}{}", random.name(false));
            let parents: Vec<String> = file.match_indices('/').map(|(at, _)| file[..at].to_owned()).collect();
            if parents.len() > 4 || dirs.contains(&file) || parents.iter().any(|parent| files.contains(parent)) {
                continue;
            }
            files.insert(file);
            dirs.extend(parents);
        }
        let paths: Vec<&String> = files.iter().chain(&dirs).collect();
        let end = random.one(&["\n", "\n", "\n", "\r\n"]);
        let mut ignore = String::from(random.one(&["", "", "", "", "\u{feff}"]));
        for _ in 0..random.0.usize(1..7) {
            let pattern = random.pattern(&paths);
            // BuildKit's own fault, which we have too: it takes both wildcards off to see where to look.
            if !(pattern.contains('!') && pattern.contains("/*/**")) {
                ignore.push_str(&pattern);
                ignore.push_str(end);
            }
        }
        if random.0.u8(..4) == 0 {
            ignore.truncate(ignore.trim_end_matches(['\r', '\n']).len());
        }
        Self { seed, files, dirs, ignore }
    }

    /// Path, whether it is a symlink, content or target.
    fn entries(&self) -> impl Iterator<Item = (&str, bool, &str)> {
        let files = self.files.iter().map(|file| (file.as_str(), file.len() % 7 == 0, file.as_str()));
        files.chain([("Dockerfile", false, ALL), (".dockerignore", false, &self.ignore)])
    }

    fn write(&self, dir: &Path) {
        for (path, link, content) in self.entries() {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if link { symlink(content, path).unwrap() } else { fs::write(path, content).unwrap() }
        }
    }

    /// Returns the file with the exceptions that let the client look into every directory.
    fn for_client(&self) -> String {
        let mut ignore = self.ignore.clone();
        if ignore.contains('!') {
            ignore.extend(self.dirs.iter().map(|dir| format!("\n!{dir}/.none")));
        }
        ignore
    }

    fn name(&self) -> String {
        format!("case{}", self.seed)
    }
}

struct Random(fastrand::Rng);

impl Random {
    fn one<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        self.0.choice(choices).unwrap()
    }

    /// Draws a name. A directory's name has only characters that a pattern can begin with.
    fn name(&mut self, is_dir: bool) -> String {
        const DIR: &[&str] =
            &["a", "b", "c", "ab", ".", "-", "_", "ä", "☺", "*", "?", "+", "(", "^", "$", "[ab]", "!x", "#y"];
        const FILE: &[&str] = &["a", "b", "c", ".md", " ", "[", "]", "\\", "x", "é", "{", "|", "\t", "A", "1"];
        loop {
            let mut name = String::new();
            for _ in 0..self.0.usize(1..4) {
                let file = !is_dir && self.0.bool();
                name.push_str(self.one(if file { FILE } else { DIR }));
            }
            if !["", ".", "..", ".dockerignore", "Dockerfile"].contains(&name.as_str()) {
                return name;
            }
        }
    }

    fn pattern(&mut self, paths: &[&String]) -> String {
        const FIXED: &[&str] = &[
            "",
            "#a",
            " #a",
            "*",
            "**",
            "!*",
            "!**",
            "**/",
            "**/*",
            "*/*",
            ".",
            "..",
            "/",
            "!/",
            "../a",
            "a/..",
            "*.md",
            "**/*.md",
            "!**/*.md",
            "!a",
            "!*/a",
            "Dockerfile",
            ".dockerignore",
            "*/*/*",
            "a**",
            "**b",
            "**/a/**",
            "[",
            "!",
            "[]",
            "[^]",
            "[a-",
            "\\",
            "a\\",
            "[*]",
            "[?]",
            "\\d",
            "\\a",
            "[[:alpha:]]",
            "?",
            "??",
            "*?",
            "[!a]",
            "^a",
            "[b-a]",
        ];
        const PIECES: &[&str] =
            &["a", "b", ".", "*", "**", "?", "[", "]", "^", "-", "\\", "!", "/", " ", "ä", "[a-c]", "[^a]"];
        let mut pattern = match self.0.u8(..20) {
            0..14 => {
                let path = *self.0.choice(paths).unwrap();
                let chars = path.chars().map(|c| self.letter(c)).collect::<String>();
                let parts: Vec<&str> = chars.split('/').collect();
                let length = self.0.usize(1..=parts.len());
                let parts = parts[..length].iter().map(|part| self.part(part)).collect::<Vec<_>>();
                parts.join("/")
            }
            14..17 => self.one(FIXED).into(),
            _ => (0..self.0.usize(1..6)).map(|_| self.one(PIECES)).collect(),
        };
        if self.0.u8(..3) == 0 {
            pattern.insert(0, '!');
        }
        for (chance, before, after) in [
            (12, "/", ""),
            (12, "./", ""),
            (10, "", "/"),
            (12, " \t", " "),
            (20, "\u{a0}", "\u{b}"),
            (20, "x/../", ""),
            (20, "", "/**"),
            (20, "", "//."),
        ] {
            if self.0.u8(..chance) == 0 {
                pattern = format!("{before}{pattern}{after}");
            }
        }
        pattern
    }

    fn letter(&mut self, c: char) -> String {
        match self.0.u8(..24) {
            _ if c == '/' => "/".into(),
            0 => "?".into(),
            1 => "[a-c]".into(),
            2 => "[^a]".into(),
            3 => format!("[{c}x]"),
            4 => "*".into(),
            // A character with a meaning is mostly escaped.
            _ if "*?[]\\^".contains(c) && self.0.u8(..4) > 0 => format!("\\{c}"),
            5 if !c.is_alphanumeric() => format!("\\{c}"),
            _ => c.into(),
        }
    }

    fn part(&mut self, part: &str) -> String {
        match self.0.u8(..16) {
            0 => "*".into(),
            1 => "**".into(),
            2 => format!("{part}*"),
            3 => format!("**{part}"),
            _ => part.into(),
        }
    }
}

/// Returns the tree that Docker's client sends for each case, or `None` where the client refuses.
fn by_client(cases: &[Case], root: &Path) -> Vec<Option<Tree>> {
    let contexts = Contexts::default();
    let keeper = keeper(contexts.clone());
    let run = |case: &Case| {
        let dir = root.join(format!("{}-client", case.name()));
        case.write(&dir);
        fs::write(dir.join(".dockerignore"), case.for_client()).unwrap();
        let mut docker = Command::new("docker");
        docker.args(["build", "-q", "-t", &case.name()]).arg(&dir).env("DOCKER_BUILDKIT", "0").env("HOME", root);
        let out = docker.env("DOCKER_HOST", format!("tcp://{}", keeper.address)).output().unwrap();
        let sent = contexts.lock().unwrap().remove(&case.name());
        assert_eq!(out.status.success(), sent.is_some(), "{}", String::from_utf8_lossy(&out.stderr));
        sent.map(|tar| tree_of(&tar))
    };
    std::thread::scope(|scope| {
        let chunks = cases.chunks(cases.len().div_ceil(3));
        let threads: Vec<_> = chunks.map(|chunk| scope.spawn(|| chunk.iter().map(run).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// A branch for each case.
fn commit(bench: &Bench, cases: &[Case]) {
    let mut stream = Vec::new();
    for case in cases {
        write!(stream, "commit refs/heads/{}\ncommitter t <t@example.org> 1500000000 +0000\ndata 0\n", case.name())
            .unwrap();
        for (path, link, content) in case.entries() {
            let mode = if link { "120000" } else { "100644" };
            write!(stream, "M {mode} inline {path}\ndata {}\n{content}\n", content.len()).unwrap();
        }
    }
    let mut git = Command::new("git");
    harness::succeed(git.current_dir(bench.work()).args(["fast-import", "--quiet"]), &stream);
}

async fn snapshots(bench: &Bench, cases: &[Case]) -> Vec<Arc<Snapshot>> {
    let log = Log::default();
    let source = RepoSource {
        repo: RepoName::new("acme", "hello").unwrap(),
        url: format!("file://{}", bench.work().display()),
        key: None,
    };
    let mut snapshots = Vec::new();
    let mut mirror = None;
    for case in cases {
        let branch = GitRef::new(&case.name()).unwrap();
        let mirror = match &mirror {
            Some(mirror) => mirror,
            None => mirror.insert(bench.git.clone(&source, &branch, &CommitSpec::Head, false, &log).await.unwrap()),
        };
        let commit = bench.git.resolve(mirror, &branch, &CommitSpec::Head, false).await.unwrap();
        snapshots.push(Arc::new(
            bench.git.snapshot(mirror, &commit, &case.name(), &Secrets::default(), &log).await.unwrap(),
        ));
    }
    snapshots
}

#[tokio::test]
async fn what_is_sent_is_what_dockers_client_sends() {
    let cases: Vec<Case> = (first_seed()..).take(200).map(Case::new).collect();
    let mut bench = Bench::new(Docker::V20, "differ");
    commit(&bench, &cases);
    let theirs = by_client(&cases, bench.dir.path());
    let refused = theirs.iter().filter(|tree| tree.is_none()).count();
    assert!((5..100).contains(&refused), "the generator makes {refused} of 200 ignore files that are refused");

    let contexts = Contexts::default();
    let keeper = keeper(contexts.clone());
    let host: Host = format!("tcp://{}", keeper.address).parse().unwrap();
    bench.engine = Engine::new(host).with_builder(Builder::Classic);
    let log = Log::default();
    let mut different = Vec::new();
    for ((case, snapshot), theirs) in cases.iter().zip(snapshots(&bench, &cases).await).zip(&theirs) {
        let image = ImageRef::parse(&format!("{}:latest", case.name())).unwrap();
        let built = bench.build_of(snapshot, &image, "Dockerfile", &log).await;
        let ours = match built {
            Ok(built) if built.image_id != IMAGE_ID => panic!("{built:?}"),
            Ok(_) => Some(tree_of(&contexts.lock().unwrap()[&case.name()])),
            Err(e) => {
                assert!(e.kind == ErrorKind::Build && e.message.starts_with("pattern \""), "{e}");
                None
            }
        };
        if &ours != theirs {
            let paths = |tree: &Option<Tree>| {
                let tree = tree.iter().flatten();
                tree.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect::<BTreeSet<_>>()
            };
            let (ours, theirs) = (paths(&ours), paths(theirs));
            different.push(format!(
                "DOCKERIGNORE_SEED={}: {:?}\n  only we send {:?}\n  only Docker sends {:?}",
                case.seed,
                case.ignore,
                ours.difference(&theirs).collect::<Vec<_>>(),
                theirs.difference(&ours).collect::<Vec<_>>()
            ));
        }
    }
    assert!(different.is_empty(), "{} cases:\n{}", different.len(), different.join("\n"));
}

#[tokio::test]
async fn images_have_what_dockers_client_sends() {
    // A header, which Engine 20.10 uses, cannot carry other control characters.
    let wanted = |case: &Case| {
        let odd = |c: char| c.is_control() && !"\t\r\n".contains(c);
        case.ignore.contains('!') && !case.ignore.contains(odd)
    };
    let cases: Vec<Case> = (first_seed()..).map(Case::new).filter(wanted).take(12).collect();
    let mut bench = Bench::new(Docker::V20, "ignored");
    commit(&bench, &cases);
    let theirs = by_client(&cases, bench.dir.path());
    let snapshots = snapshots(&bench, &cases).await;
    let log = Log::default();
    let mut checked = 0;
    for builder in [Builder::Buildkit, Builder::Classic] {
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(builder);
        for ((case, snapshot), theirs) in cases.iter().zip(&snapshots).zip(&theirs) {
            let Some(mut theirs) = theirs.clone() else { continue };
            let built = bench.build_of(snapshot.clone(), &bench.image(), "Dockerfile", &log).await;
            built.unwrap_or_else(|e| panic!("{builder}, DOCKERIGNORE_SEED={}: {:?}: {e}", case.seed, case.ignore));
            let mut ours = bench.content(&bench.image());
            // These two are sent also if they are excluded, and then taken out by the engine.
            for name in [&b"Dockerfile"[..], b".dockerignore"] {
                ours.remove(name);
                theirs.remove(name);
            }
            assert!(ours == theirs, "{builder}, DOCKERIGNORE_SEED={}: {:?}", case.seed, case.ignore);
            bench.engine.remove_image(&bench.image()).await.unwrap();
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked}");
}
