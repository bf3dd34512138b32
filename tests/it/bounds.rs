//! What a commit may cost: just below each bound it is built, and just above it the job ends at once with the bound named,
//! while the daemon goes on as usual. The bounds are lowered, and the input is harmless.

mod answers;
mod memory;
mod others;
mod patterns;

use reqwest::Method;

use crate::harness::{Repo, World, unique};

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM image-factory-busybox:1\nCOPY Dockerfile /\n");
/// Entries of each commit beside those that a case adds.
const OWN: usize = 1;
/// MAX_FILES of these daemons.
const FILES: usize = 40;

struct Case {
    name: &'static str,
    /// Files at the bound, and one that goes beyond it.
    below: Vec<(String, String)>,
    above: (String, String),
    class: &'static str,
    cause: &'static str,
}

fn cases() -> [Case; 7] {
    const MIB: usize = 1 << 20;
    let file = |name: &str, size: usize| (name.to_owned(), "x".repeat(size));
    // Comments, which the parsers of these files skip.
    let comments = |size: usize| format!("#{}\n", "x".repeat(62)).repeat(size / 64) + &"\n".repeat(size % 64);
    let commented = |name: &str, size: usize| (name.to_owned(), comments(size));
    let dockerfile = |size: usize| (DOCKERFILE.0.to_owned(), DOCKERFILE.1.to_owned() + &comments(size));
    [
        Case {
            name: "files",
            below: (0..FILES - OWN).map(|n| file(&format!("{n:02}"), 1)).collect(),
            above: file("one-more", 1),
            class: "source",
            cause: "it has more than 40 files and folders (MAX_FILES)",
        },
        Case {
            name: "bytes",
            below: vec![file("large", 3 * MIB - 1000)],
            above: file("more", 1000),
            class: "source",
            cause: "its files have more than 3145728 bytes together (MAX_TREE_BYTES)",
        },
        Case {
            name: "attributes",
            below: vec![commented(".gitattributes", MIB)],
            above: commented(".gitattributes", MIB + 1),
            class: "source",
            cause: "the file \".gitattributes\" has more than 1 MiB",
        },
        Case {
            name: "modules",
            below: vec![commented(".gitmodules", MIB)],
            above: commented(".gitmodules", MIB + 1),
            class: "source",
            cause: "the file \".gitmodules\" has more than 1 MiB",
        },
        Case {
            name: "pattern",
            below: vec![(".dockerignore".into(), "?".repeat(100))],
            above: (".dockerignore".into(), "?".repeat(20_000)),
            class: "dockerfile",
            cause: "takes more than 256 KiB to match (PATTERN_MEMORY): simplify it",
        },
        Case {
            name: "dockerignore",
            below: vec![commented(".dockerignore", MIB)],
            above: commented(".dockerignore", MIB + 1),
            class: "dockerfile",
            cause: "has more than 1 MiB: make it smaller",
        },
        Case {
            name: "dockerfile",
            below: vec![dockerfile(MIB / 2)],
            above: dockerfile(MIB),
            class: "dockerfile",
            cause: "has more than 1 MiB: make it smaller",
        },
    ]
}

#[tokio::test]
async fn a_commit_over_a_bound_ends_at_once_and_the_next_one_is_built() {
    let files = FILES.to_string();
    let world = World::start_with(&[("MAX_FILES", &files), ("MAX_TREE_BYTES", "3MiB"), ("CONCURRENCY", "2")]).await;
    for Case { name, below, above, class, cause } in cases() {
        let repo = world.git.repo("acme", name);
        let commit = |files: &[(String, String)]| {
            let own = [DOCKERFILE].into_iter().filter(|(name, _)| files.iter().all(|(file, _)| file != name));
            let files: Vec<_> = own.chain(files.iter().map(|(path, text)| (&**path, &**text))).collect();
            repo.commit("develop", &files)
        };
        let at = commit(&below);
        let id = world.daemon.push_event(&format!("acme/{name}"), "develop", &at).await;
        world.daemon.wait_success(&id).await;
        let beyond = commit(&[above]);
        let id = world.daemon.push_event(&format!("acme/{name}"), "develop", &beyond).await;
        let job = world.daemon.wait_failure(&id).await;
        assert!(job["class"] == class && job["cause"].as_str().unwrap().contains(cause), "{job:#}");
        assert_eq!(job["attempt"], 1, "{job:#}");
    }
    let health = world.daemon.bare_request(Method::GET, "/health").send().await.unwrap();
    assert!(health.status().is_success());
}

/// Entries that no work tree of Linux can have are made by Git's own means.
#[tokio::test]
async fn names_and_links_have_bounds() {
    let world = World::start().await;
    let link = |repo: &Repo, length: usize| {
        std::fs::write(repo.path("target"), "x".repeat(length)).unwrap();
        let id = repo.git(&["hash-object", "-w", "target"]);
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("120000,{id},link")]);
    };
    let deep = |repo: &Repo, depth: usize| {
        let id = repo.git(&["hash-object", "-w", "Dockerfile"]);
        let path = format!("{}file", "d/".repeat(depth));
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{id},{path}")]);
    };
    type Make<'a> = &'a dyn Fn(&Repo, usize);
    let cases: [(&str, Make, usize, usize, &str); 2] = [
        ("link", &link, 1000, 4097, "the target of the link \"link\" has more than 4096 bytes: shorten it"),
        ("deep", &deep, 100, 257, "is more than 256 folders deep: move it up"),
    ];
    for (name, make, below, above, cause) in cases {
        let repo = world.git.repo("acme", name);
        repo.commit("develop", &[DOCKERFILE]);
        let commit = async |size: usize| {
            make(&repo, size);
            repo.git(&["commit", "-q", "-m", "A change"]);
            repo.git(&["push", "-q", "origin", "HEAD:refs/heads/develop"]);
            let at = repo.git(&["rev-parse", "HEAD"]);
            world.daemon.push_event(&format!("acme/{name}"), "develop", &at).await
        };
        world.daemon.wait_success(&commit(below).await).await;
        let job = world.daemon.wait_failure(&commit(above).await).await;
        assert!(job["class"] == "source" && job["cause"].as_str().unwrap().contains(cause), "{job:#}");
    }
}

#[tokio::test]
async fn a_repository_with_more_refs_than_allowed_is_refused_until_some_are_deleted() {
    let world = World::start_with(&[("MAX_REFS", "3")]).await;
    let sha = world.repo.commit("develop", &[DOCKERFILE]);
    let push = |refs: &[&str]| {
        refs.iter().for_each(|name| drop(world.repo.git(&["push", "-q", "origin", name])));
    };
    push(&["develop:refs/heads/two", "develop:refs/tags/three"]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    push(&["develop:refs/heads/four"]);
    let sha = world.repo.commit("develop", &[("more", "")]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_failure(&id).await;
    assert_eq!(job["class"], "source");
    let cause =
        "clone: acme/hello has more than 3 branches and tags (MAX_REFS): delete some, or let the operator raise it";
    assert_eq!(job["cause"], cause);
    // The server announced too many, so no object of it was fetched.
    let mirror = world.daemon.data_dir().join("repos/mirrors/acme/hello.git");
    let has = std::process::Command::new("git").env("GIT_DIR", mirror).args(["cat-file", "-e", &sha]).output().unwrap();
    assert!(!has.status.success(), "{has:?}");

    // What a first fetch brought goes with its failure, because the next one begins anew.
    let other = world.git.repo("acme", "other");
    let at = other.commit("develop", &[DOCKERFILE]);
    for name in ["two", "three", "four"] {
        other.git(&["push", "-q", "origin", &format!("develop:refs/heads/{name}")]);
    }
    let id = world.daemon.push_event("acme/other", "develop", &at).await;
    let job = world.daemon.wait_failure(&id).await;
    assert!(job["cause"].as_str().unwrap().contains("(MAX_REFS)"), "{job:#}");
    let mirrors = std::fs::read_dir(world.daemon.data_dir().join("repos/mirrors/acme")).unwrap();
    let mirrors: Vec<_> = mirrors.map(|mirror| mirror.unwrap().file_name()).collect();
    assert_eq!(mirrors, ["hello.git"]);
    push(&[":refs/heads/four"]);
    let sha = world.repo.commit("develop", &[("more", "2")]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
}

/// The log's beginning and its end are kept, also for those who follow it.
#[tokio::test]
async fn a_log_over_its_limit_keeps_its_beginning_and_its_end() {
    let world = World::start_with(&[("LOG_LIMIT", "64KiB")]).await;
    // BuildKit clips a step that writes more than 200 KiB in a second.
    let lines = "i=0; while [ $i -lt 14000 ]; do echo line $i; i=$((i+1)); done";
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; {lines}\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.len() < 140 << 10, "{}", log.len());
    assert!(log.contains("line 100\n") && log.contains("line 13999\n") && !log.contains("line 7000\n"), "{log}");
    assert!(log.contains("(LOG_LIMIT)") && log.contains("bytes are left out]") && log.contains("\nPushed "), "{log}");
}
