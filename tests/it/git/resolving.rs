use std::fmt::Write;

use super::*;

#[tokio::test]
async fn branch_tag_commit_short_commit_and_head() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.tag("v1.2");
    let second = local.repo.commit("develop", &[("a", "2")]);
    let third = local.repo.commit("feature/x", &[("a", "3")]);
    for (on, wanted, expected) in [
        ("develop", "HEAD", &second),
        ("v1.2", "HEAD", &first), // annotated: its commit
        ("feature/x", "HEAD", &third),
        ("develop", &first, &first),
        ("develop", &third, &third), // on another branch
        ("develop", &second[..7], &second),
        ("v1.2", &third[..10], &third),
    ] {
        assert_eq!(local.commit(on, wanted, false).await.unwrap().to_string(), *expected, "{on} {wanted}");
    }
    // A branch comes before a tag of the same name, and each can be named in full.
    local.repo.git(&["push", "-q", "origin", &format!("{second}:refs/heads/v1.2")]);
    for (on, expected) in [("v1.2", &second), ("refs/heads/v1.2", &second), ("refs/tags/v1.2", &first)] {
        assert_eq!(local.commit(on, "HEAD", false).await.unwrap().to_string(), *expected, "{on}");
    }
}

#[tokio::test]
async fn a_missing_ref_or_commit_is_named() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    local.repo.commit("feature/x", &[("a", "1")]);
    let full = "0123456789012345678901234567890123456789";
    let long = &full.repeat(2)[..64];
    let mut failures = Vec::new();
    for (on, wanted, pushed) in [
        ("nope", "HEAD", false),
        ("feature", "HEAD", false), // only below it
        ("refs/tags/develop", "HEAD", false),
        ("nope", full, true),
        ("develop", full, false),
        ("develop", full, true),
        ("develop", "0123", false),
        ("develop", long, false),
    ] {
        let error = local.commit(on, wanted, pushed).await.unwrap_err();
        failures.push(failure(&error, &[(long, "long"), (full, "full")]));
    }
    insta::assert_snapshot!("missing", failures.join("\n"));
}

#[tokio::test]
async fn an_ambiguous_commit_is_refused() {
    let local = Local::new();
    // 4 digits, 1,000 commits: no two alike in one of 2,000 cases.
    let mut import = String::new();
    for i in 0..1000 {
        let _ = write!(import, "commit refs/heads/develop\ncommitter T <t@t> {i} +0000\ndata 1\nx\n\n");
    }
    let git = std::process::Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(&local.repo.bare)
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut git = git.unwrap();
    std::io::Write::write_all(&mut git.stdin.take().unwrap(), import.as_bytes()).unwrap();
    assert!(git.wait().unwrap().success());
    local.repo.git(&["fetch", "-q", "origin", "develop"]);
    let log = local.repo.git(&["log", "--format=%H", "FETCH_HEAD"]);
    let mut ids: Vec<_> = log.lines().collect();
    ids.sort();
    let twins = ids.windows(2).find(|two| two[0][..4] == two[1][..4]).unwrap();
    let error = local.commit("develop", &twins[0][..4], false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(twins[0], "twin"), (twins[1], "other"), (&twins[0][..4], "beginning")]), @"Request 128 final: commit [beginning] of acme/hello can be [twin], [other]: give more of its digits");
    assert_eq!(local.commit("develop", &twins[0][..30], false).await.unwrap().to_string(), twins[0]);
}

#[tokio::test]
async fn a_commit_must_be_on_a_branch_or_be_pushed() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    let second = local.repo.commit("develop", &[("a", "2")]);
    assert_eq!(local.commit("develop", &second, false).await.unwrap().to_string(), second);
    local.repo.force("develop", &first);
    // The mirror believes that it has all that is wanted, until it looks.
    assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), first);
    for id in [&second[..], &second[..9]] {
        let error = local.commit("develop", id, false).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[(&second, "second")]), @"Request 128 final: commit [second] is on no branch and no tag of acme/hello: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)");
        }
    }
    assert_eq!(local.commit("develop", &second, true).await.unwrap().to_string(), second);
    assert_eq!(local.commit("develop", &second[..9], true).await.unwrap().to_string(), second);
}

#[tokio::test]
async fn a_pull_request_is_not_buildable_and_a_push_that_was_overtaken_is() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    let pull = local.repo.commit("gone", &[("a", "2")]);
    local.repo.git(&["push", "-q", "origin", &format!("{pull}:refs/pull/1/head"), ":refs/heads/gone"]);
    let error = local.commit("develop", &pull, false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&pull, "pull")]), @"Request 128 final: acme/hello has no commit [pull] on a branch or tag: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)");
    // The commit alone is asked for.
    assert_eq!(local.commit("develop", &pull, true).await.unwrap().to_string(), pull);
    // The commit is in the mirror now, but may still not be built.
    assert!(local.commit("develop", &pull, false).await.is_err());
    assert_eq!(local.commit("develop", &first, false).await.unwrap().to_string(), first);
}

#[tokio::test]
async fn a_commit_in_the_mirror_is_not_fetched_again() {
    let mut local = Local::new();
    let id = local.repo.commit("develop", &[("a", "1")]);
    local.commit("develop", "HEAD", false).await.unwrap();
    let hidden = local.dir.path().join("hidden");
    std::fs::rename(&local.repo.bare, &hidden).unwrap();
    assert_eq!(local.commit("develop", &id, false).await.unwrap().to_string(), id);
    for (on, wanted) in [("develop", "HEAD"), ("nope", &id), ("develop", &id[..8])] {
        let error = local.commit(on, wanted, false).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[]), @"Hidden 128 final: there is no repository acme/hello at file://[folder]/hello.git: check the name and GIT_URL");
        }
    }
    // The mirror of another address does not know the commit.
    local.source.url += "/";
    assert!(local.commit("develop", &id, false).await.is_err());
}

#[tokio::test]
async fn deleted_branches_go_and_make_place() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    local.repo.commit("topic", &[("a", "2")]);
    local.commit("topic", "HEAD", false).await.unwrap();
    local.repo.git(&["push", "-q", "origin", ":refs/heads/topic", "HEAD:refs/heads/topic/one"]);
    assert!(local.commit("topic", "HEAD", false).await.is_err());
    local.commit("topic/one", "HEAD", false).await.unwrap();
}

#[tokio::test]
async fn sha256_repositories_and_tags_of_no_commit() {
    let dir = folder();
    let run = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.current_dir(dir.path()).args(["-c", "user.name=T", "-c", "user.email=t@t"]).args(args);
        String::from_utf8(harness::succeed(&mut git, b"").stdout).unwrap().trim().to_owned()
    };
    run(&["init", "-q", "-b", "develop", "--object-format=sha256"]);
    run(&["commit", "-q", "--allow-empty", "-m", "x"]);
    let (id, tree) = (run(&["rev-parse", "HEAD"]), run(&["rev-parse", "HEAD^{tree}"]));
    run(&["tag", "tree", &tree]);
    let mut local = Local::new();
    local.source.url = format!("file://{}", dir.path().display());
    assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), id);
    assert_eq!(local.commit("develop", &id, false).await.unwrap().to_string(), id);
    assert!(local.snapshot().await.unwrap().entries.is_empty());
    let error = local.commit("tree", "HEAD", false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Request 128 final: refs/tags/tree leads to no commit of acme/hello but to a tree: name a commit, or a tag of one");
}
