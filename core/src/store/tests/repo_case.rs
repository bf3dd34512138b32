use super::*;
use crate::model::{RepoCase, Status, TagHolder};

fn spelled(owner: &str, repo: &str) -> NewJob {
    let mut new = new(repo);
    new.context.owner = owner.into();
    new
}

async fn open(dir: &Path, case: RepoCase) -> Store {
    Store::open(dir).await.unwrap().with_repo_case(case).await.unwrap()
}

async fn listed(store: &Store, repository: &str) -> usize {
    let filter = JobFilter { repository: Some(repository.into()), ..JobFilter::default() };
    store.jobs_like(&filter, 10, None).await.unwrap().len()
}

async fn add(store: &Store, owner: &str, repo: &str) -> Job {
    match store.add_job(spelled(owner, repo), None).await.unwrap() {
        Added::New(job) => job,
        _ => panic!("it is there already"),
    }
}

#[tokio::test]
async fn two_spellings_are_one_repository_or_two_by_the_rule() {
    for (case, expected) in [(RepoCase::Ignore, [2, 2]), (RepoCase::Keep, [1, 1])] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), case).await;
        let keys = [add(&store, "Acme", "Hello").await, add(&store, "acme", "hello").await].map(|job| job.repository);
        assert_eq!(keys[0] == keys[1], case == RepoCase::Ignore, "{keys:?}");
        assert_eq!([listed(&store, "Acme/Hello").await, listed(&store, "acme/hello").await], expected, "{case:?}");
        store.close().await;
    }
}

/// A job without a repository has a key of its own, whatever the rule is, and keeps its Dockerfile.
#[tokio::test]
async fn a_job_of_a_dockerfile_keeps_its_source_and_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let source = crate::model::JobSource::Dockerfile("FROM busybox\n# \u{fc}\"'\n".into());
    let store = open(dir.path(), RepoCase::Keep).await;
    let inline = NewJob { source: source.clone(), ..spelled("generator", "Hello") };
    let Added::New(job) = store.add_job(inline, None).await.unwrap() else { panic!() };
    let other = add(&store, "generator", "Hello").await;
    store.close().await;
    for case in [RepoCase::Ignore, RepoCase::Keep] {
        let store = open(dir.path(), case).await;
        let kept = store.job(job.id).await.unwrap().unwrap();
        assert_eq!((&kept.source, kept.repository.as_str()), (&source, "generator:/quay.io/totem/Hello"));
        assert_eq!(store.job(other.id).await.unwrap().unwrap().source, crate::model::JobSource::Git);
        assert_eq!(listed(&store, "generator/Hello").await, 1);
        store.close().await;
    }
}

#[tokio::test]
async fn another_rule_writes_all_keys_anew_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), RepoCase::Ignore).await;
    let job = add(&store, "Acme", "Hello").await;
    add(&store, "acme", "hello").await;
    let git_ref = crate::model::RepoRef { repository: job.repository.clone(), git_ref: "refs/heads/develop".into() };
    let holder = TagHolder {
        commit: "c0".repeat(20).parse().unwrap(),
        git_ref: Some(git_ref),
        job: Some(job.id),
        recipe: None,
        moving: true,
        named: false,
        protected_ref: None,
    };
    store.give_tag("q.io/a:x", &holder).await.unwrap();
    store.saw_heads("acme/hello", 7, [("refs/heads/develop".to_owned(), "c0".repeat(20))].into()).await.unwrap();
    store.close().await;

    let store = open(dir.path(), RepoCase::Keep).await;
    assert_eq!([listed(&store, "Acme/Hello").await, listed(&store, "acme/hello").await], [1, 1]);
    let of_tag = store.tag_holder("q.io/a:x").await.unwrap().unwrap().git_ref.unwrap().repository;
    assert_eq!(of_tag, "Acme/Hello");
    assert!(store.watched_refs("acme/hello").await.unwrap().is_empty());
    // Both wait for a turn of their own.
    let mut claimed = Vec::new();
    while let Some(job) = store.claim("n", Duration::from_secs(60)).await.unwrap() {
        assert_eq!(job.status, Status::Running);
        claimed.push(job.repository);
    }
    assert_eq!(claimed, ["Acme/Hello", "acme/hello"]);
    store.close().await;

    let store = open(dir.path(), RepoCase::Ignore).await;
    assert_eq!(listed(&store, "ACME/HELLO").await, 2);
    let of_tag = store.tag_holder("q.io/a:x").await.unwrap().unwrap().git_ref.unwrap().repository;
    assert_eq!(of_tag, "acme/hello");
    store.close().await;
}
