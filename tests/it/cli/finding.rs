//! What the command line finds without a whole id: by repository, branch, state, commit, the beginning of an id, and from the
//! work tree of the current folder.

use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use super::{both, out, succeeds};
use crate::harness::{Cli, World, folder, masked, succeed, unique};

/// A work tree on the branch `develop` whose origin is `acme/hello` of another host.
fn work_tree() -> TempDir {
    let dir = folder();
    let git = |args: &[&str]| succeed(Command::new("git").args(args).current_dir(dir.path()), b"");
    git(&["init", "--quiet", "--initial-branch=develop"]);
    git(&["remote", "add", "origin", "https://user:password@git.test/acme/hello.git"]);
    dir
}

/// Two ended jobs of `acme/hello`: a success on `develop`, then a failure on `broken`.
struct Built {
    world: World,
    commit: String,
    ids: [String; 2],
}

async fn built() -> Built {
    let world = World::start().await;
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo a st''ep ran {}\n", unique());
    let commit = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
    world.repo.commit("broken", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN exit 3\n")]);
    let mut ids = Vec::new();
    for branch in ["develop", "broken"] {
        let id = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello", "branch": branch})).await;
        world.daemon.wait(&id).await;
        ids.push(id);
    }
    Built { world, commit, ids: ids.try_into().unwrap() }
}

fn ids(cli: Cli) -> Vec<String> {
    let jobs: Value = serde_json::from_str(&succeeds(cli)).unwrap();
    jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_are_narrowed() {
    let Built { world, commit, ids: [success, failure] } = built().await;
    let list = |args: &[&str]| world.daemon.cli(&[&["jobs", "--json"], args].concat());
    let of = ["--repo", "acme/hello", "--branch"];
    for (args, expected) in [
        (&[&of[..], &["broken"]].concat()[..], &[&failure][..]),
        (&[&of[..], &["broken", "--status", "success"]].concat(), &[]),
        (&["--status", "failure"], &[&failure]),
        (&["--commit", &commit[..8]], &[&success]),
        (&["--repo", "acme/hello"], &[&failure, &success]),
        (&["--repo", "acme/other"], &[]),
    ] {
        assert_eq!(ids(list(args)).iter().collect::<Vec<_>>(), expected, "{args:?}");
    }
    let tree = work_tree();
    assert_eq!(ids(list(&["--branch", "develop"]).current_dir(tree.path())), [success]);
    let wrong = list(&["--status", "lost"]).run();
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn a_job_is_named_by_the_beginning_of_its_id_or_its_branch() {
    let Built { world, ids: [success, failure], .. } = built().await;
    let common = success.bytes().zip(failure.bytes()).take_while(|(a, b)| a == b).count();
    let (tree, whole) = (work_tree(), succeeds(world.daemon.cli(&["logs", &success])));
    assert!(whole.contains("a step ran"));
    let logs = |args: &[&str]| succeeds(world.daemon.cli(&[&["logs"], args].concat()).current_dir(tree.path()));
    assert_eq!(logs(&[&success[..=common]]), whole);
    assert_eq!(logs(&[&success[..=common].to_ascii_uppercase()]), whole);
    assert_eq!(logs(&["develop"]), whole);
    assert_eq!(logs(&[]), whole);
    assert_eq!(logs(&["--repo", "acme/hello", "broken"]), succeeds(world.daemon.cli(&["logs", &failure])));
    // The last lines, with their line feeds.
    for lines in [0, 1, 3, 1000] {
        let all: Vec<&str> = whole.split_inclusive('\n').collect();
        let last = all[all.len().saturating_sub(lines)..].concat();
        assert_eq!(logs(&["--tail", &lines.to_string(), &success]), last, "{lines}");
        assert_eq!(logs(&["--follow", "--tail", &lines.to_string(), &success]), last, "{lines}");
    }

    let ambiguous = world.daemon.cli(&["show", &success[..common]]).run();
    assert_eq!(ambiguous.status.code(), Some(5), "{}", both(&ambiguous));
    insta::assert_snapshot!(masked(&both(&ambiguous), &[(&success[..common], "beginning")]), @"image-factory: refused (409 ConflictError): Several ids begin with [beginning]: give more of the id");
    let unknown = world.daemon.cli(&["show", "feed"]).current_dir(tree.path()).run();
    insta::assert_snapshot!(both(&unknown), @"image-factory: no job of acme/hello is for the branch or tag feed; see `image-factory jobs --repo acme/hello`");

    let shown = succeeds(world.daemon.cli(&["show", "broken"]).current_dir(tree.path()));
    let shown = Regex::new(r"\d+(\.\d)?s|\dm\d\ds").unwrap().replace_all(&shown, "[time]").into_owned();
    let names = [(failure.as_str(), "job"), (&world.registry.address(), "registry")];
    insta::assert_snapshot!("shown_failure", masked(&shown, &names));
    let again = succeeds(world.daemon.cli(&["rebuild", &success[..=common]]));
    assert_eq!(world.daemon.wait(again.trim()).await["rebuildOf"], success.as_str());
}

#[tokio::test]
async fn a_build_takes_repository_branch_and_commit_of_the_work_tree() {
    let Built { world, commit, .. } = built().await;
    let tree = work_tree();
    let build = |args: &[&str], folder: &Path| world.daemon.cli(&[&["build"], args].concat()).current_dir(folder).run();
    let made = async |args: &[&str]| {
        let output = build(args, tree.path());
        assert!(output.status.success(), "{}", both(&output));
        let job = world.daemon.wait_success(out(&output).trim()).await;
        let of = |name: &str| job["context"][name].as_str().unwrap().to_owned();
        [of("owner"), of("repo"), of("branch"), of("commit")].join(" ")
    };
    assert_eq!(made(&[]).await, "acme hello develop HEAD");
    assert_eq!(made(&[&format!("@{commit}")]).await, format!("acme hello develop {commit}"));
    // A detached HEAD.
    std::fs::write(tree.path().join(".git/HEAD"), &commit).unwrap();
    assert_eq!(made(&[]).await, format!("acme hello develop {commit}"));

    let bare = folder();
    let outside = build(&[], bare.path());
    assert_eq!(outside.status.code(), Some(2));
    insta::assert_snapshot!(both(&outside), @"image-factory: the repository cannot be guessed here: the folder is in no work tree of Git; name OWNER/REPO");
    let git = |args: &[&str]| succeed(Command::new("git").args(args).current_dir(tree.path()), b"");
    git(&["remote", "set-url", "origin", "https://user:password@git.test/a/b/c"]);
    insta::assert_snapshot!(both(&build(&[], tree.path())), @"image-factory: the repository cannot be guessed here: the address of `origin` is not HOST/OWNER/REPO; name OWNER/REPO");
    git(&["remote", "remove", "origin"]);
    insta::assert_snapshot!(both(&build(&[], tree.path())), @"image-factory: the repository cannot be guessed here: the work tree has no remote `origin`; name OWNER/REPO");
}

#[tokio::test]
async fn a_refused_value_is_told_in_a_sentence() {
    let world = World::start().await;
    let refused = |args: &[&str]| {
        let output = world.daemon.cli(&[&["build", "acme/hello", "--tag", "no tag!"], args].concat()).run();
        assert_eq!(output.status.code(), Some(5), "{}", both(&output));
        both(&output)
    };
    insta::assert_snapshot!(refused(&[]), @"image-factory: refused (400 InvalidContent): tag: String does not match pattern ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$: no tag!");
    insta::assert_snapshot!(refused(&["--json"]), @r##"{"code":"InvalidContent","message":[{"code":"PATTERN","message":"String does not match pattern ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$: no tag!","params":{"pattern":"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"},"path":"#/tag"}]}"##);
}
