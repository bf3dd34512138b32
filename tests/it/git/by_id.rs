//! A commit is its id: what became of its branch does not matter, and what nothing reaches needs somebody's word.

use super::*;
use crate::harness::{DeployKey, GitHost, KeyType};

impl Local {
    /// Clone, resolve and the ref that counts, as a job does; and what the log says.
    async fn counted(&self, on: &str, wanted: &str) -> Result<(Oid, Option<String>, String), GitError> {
        let (log, on, wanted) = (Log::default(), branch(on), commit(wanted));
        let mirror = self.git.clone(&self.source, &on, &wanted, false, &log).await?;
        let oid = self.git.resolve(&mirror, &on, &wanted, false).await?;
        let counts_for = self.git.counts_for(&mirror, &on, &wanted, &oid, &log).await?;
        Ok((oid, counts_for, log.text()))
    }

    async fn without_branch(&self, wanted: &str, is_granted: bool) -> Result<Oid, GitError> {
        let wanted = commit(wanted);
        let mirror = self.git.clone(&self.source, None, &wanted, is_granted, &Log::default()).await?;
        self.git.resolve(&mirror, None, &wanted, is_granted).await
    }

    fn delete(&self, name: &str) {
        self.repo.git(&["push", "-q", "origin", &format!(":{name}")]);
    }
}

#[tokio::test]
async fn a_branch_that_was_merged_and_deleted_is_not_needed() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let topic = local.repo.commit("topic", &[("a", "2")]);
    let merged = local.repo.commit("develop", &[("a", "3")]);
    local.delete("refs/heads/topic");
    assert_eq!(local.without_branch(&topic, false).await.unwrap().to_string(), topic);
    for is_granted in [false, true] {
        assert_eq!(local.commit("topic", &topic, is_granted).await.unwrap().to_string(), topic);
    }
    assert_eq!(local.commit("topic", &topic[..9], false).await.unwrap().to_string(), topic);
    let error = local.commit("topic", "HEAD", false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Request 128 final: acme/hello has no branch or tag "topic": push it, or ask for another one ("develop")"#);
    assert_eq!(local.without_branch(&merged, false).await.unwrap().to_string(), merged);
}

#[tokio::test]
async fn a_commit_that_only_a_deleted_branch_or_tag_reached_needs_permission() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    // A merge queue makes and deletes such a branch.
    let queued = local.repo.commit("gh-readonly-queue/develop/pr-1", &[("a", "2")]);
    local.repo.git(&["checkout", "-q", "--detach"]);
    let tagged = local.repo.commit("gone", &[("a", "3")]);
    local.repo.tag("v1");
    let tag = local.repo.git(&["rev-parse", "refs/tags/v1"]);
    for name in ["refs/heads/gh-readonly-queue/develop/pr-1", "refs/heads/gone", "refs/tags/v1"] {
        local.delete(name);
    }
    for id in [&queued, &tagged, &tag] {
        let error = local.without_branch(id, false).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[(id, "wanted")]), @"Request 128 final: acme/hello has no commit [wanted] on a branch or tag: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)");
        }
    }
    for (id, expected) in [(&queued, &queued), (&tag, &tagged)] {
        assert_eq!(local.without_branch(id, true).await.unwrap().to_string(), *expected);
    }
    // The commits are in the mirror now, but others still may not build them.
    for (id, named) in [(&queued[..], &queued), (&tagged, &tagged), (&tag, &tag), (&queued[..9], &queued)] {
        let error = local.without_branch(id, false).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[(named, "wanted")]), @"Request 128 final: commit [wanted] is on no branch and no tag of acme/hello: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)");
        }
    }
    assert_eq!(local.without_branch(&first, false).await.unwrap().to_string(), first);
}

#[tokio::test]
async fn a_claimed_branch_counts_if_it_reaches_the_commit() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.tag("v1");
    let second = local.repo.commit("develop", &[("a", "2")]);
    local.repo.commit("topic", &[("a", "3")]);
    let mut logs = String::new();
    for (on, id, expected) in [
        ("develop", &first, Some("refs/heads/develop")),
        ("topic", &second, Some("refs/heads/topic")),
        ("refs/heads/develop", &second, Some("refs/heads/develop")),
        ("v1", &first, Some("refs/tags/v1")),
        ("v1", &second, None),
        ("refs/tags/develop", &second, None),
        ("nope", &second, None),
    ] {
        let (oid, counts_for, log) = local.counted(on, id).await.unwrap();
        assert_eq!((oid.to_string(), counts_for.as_deref()), (id.clone(), expected), "{on}: {log}");
        logs += &format!("{on}: {log}");
    }
    insta::assert_snapshot!(masked(&logs, &[(&first, "first"), (&second, "second")]), @r"
    develop: Fetching the branches and tags of file://[folder]/hello.git
    topic: The mirror has [second] already: nothing to fetch
    refs/heads/develop: The mirror has [second] already: nothing to fetch
    v1: The mirror has [first] already: nothing to fetch
    v1: Fetching the branches and tags of file://[folder]/hello.git
    v1 of acme/hello does not reach [second]: the commit is built as one of no branch
    refs/tags/develop: Fetching the branches and tags of file://[folder]/hello.git
    acme/hello has no branch or tag refs/tags/develop: the commit is built as one of no branch
    nope: Fetching the branches and tags of file://[folder]/hello.git
    acme/hello has no branch or tag nope: the commit is built as one of no branch
    ");
}

#[tokio::test]
async fn a_name_of_a_branch_and_a_tag_is_resolved_and_reported() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.tag("v1");
    let second = local.repo.commit("develop", &[("a", "2")]);
    local.repo.git(&["push", "-q", "origin", &format!("{second}:refs/heads/v1")]);
    for (on, expected, counted) in [
        ("v1", &second, "refs/heads/v1"),
        ("refs/heads/v1", &second, "refs/heads/v1"),
        ("refs/tags/v1", &first, "refs/tags/v1"),
    ] {
        let (oid, counts_for, log) = local.counted(on, "HEAD").await.unwrap();
        assert_eq!((oid.to_string(), counts_for.as_deref()), (expected.clone(), Some(counted)));
        let told = "acme/hello has refs/heads/v1 and refs/tags/v1: v1 means refs/heads/v1";
        assert_eq!(log.lines().any(|line| line == told), on == "v1", "{log}");
    }
}

#[tokio::test]
async fn a_server_that_serves_no_commit_by_its_id_is_named() {
    let (host, dir) = (GitHost::start().await, folder());
    host.speak_protocol_0();
    let key = DeployKey::generate(KeyType::Ed25519, "the passphrase");
    host.authorize(&[&key]);
    let repo = host.repo("acme", "hello");
    let git = Git::new(config(dir.path(), &host.known_hosts())).unwrap();
    let url = host.url().replace("{owner}", "acme").replace("{repo}", "hello");
    let source =
        RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: library_key(&key, "the passphrase") };
    let first = repo.commit("develop", &[("a", "1")]);
    let gone = repo.commit("gone", &[("a", "2")]);
    repo.git(&["push", "-q", "origin", ":refs/heads/gone"]);
    let find = async |id: &str, is_granted| {
        let id = commit(id);
        let mirror = git.clone(&source, None, &id, is_granted, &Log::default()).await?;
        git.resolve(&mirror, None, &id, is_granted).await
    };
    let allow = |allowed: &str| {
        let mut git = std::process::Command::new("git");
        git.current_dir(&repo.bare).args(["config", "uploadpack.allowAnySHA1InWant", allowed]);
        harness::succeed(&mut git, b"");
    };
    allow("false");
    let error = find(&gone, true).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&gone, "gone")]), @"Request 128 final: no branch or tag of acme/hello reaches commit [gone], and its Git server gives out no commit by its id: push the commit to a branch, or set uploadpack.allowAnySHA1InWant=true for the repository there");
    assert_eq!(find(&first, true).await.unwrap().to_string(), first);

    allow("true");
    let none = "0123456789".repeat(4);
    let error = find(&none, true).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&none, "none")]), @"Request 128 final: acme/hello has no commit [none] on a branch or tag, and its server gives out none of this id: push it, or ask for another one");
    assert_eq!(find(&gone, true).await.unwrap().to_string(), gone);
}
