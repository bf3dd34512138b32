use super::*;
use crate::model::{CommitId, RefUpdate, RepoRef, TagHolder};

const TAG: &str = "q.io/t/a:latest";

fn main() -> RepoRef {
    RepoRef { repository: "acme/a".into(), git_ref: "refs/heads/main".into() }
}

/// A commit's id that begins with these digits.
fn id(digits: &str) -> CommitId {
    format!("{digits:0<40}").parse().unwrap()
}

fn holder(commit: &str, moving: bool) -> TagHolder {
    let (git_ref, job) = (Some(main()), Some(JobId::new()));
    TagHolder {
        commit: id(commit),
        git_ref,
        job,
        recipe: Some("Dockerfile".into()),
        moving,
        named: moving,
        protected_ref: None,
    }
}

#[tokio::test]
async fn a_tag_has_the_image_that_it_was_given_last() {
    let (_dir, store) = open().await;
    assert_eq!(store.tag_holder(TAG).await.unwrap(), None);
    let protected_ref = Some("refs/heads/main".into());
    let later = TagHolder { git_ref: None, job: None, recipe: None, protected_ref, ..holder("b", false) };
    for holder in [holder("a", true), later] {
        store.give_tag(TAG, &holder).await.unwrap();
        assert_eq!(store.tag_holder(TAG).await.unwrap(), Some(holder));
    }
    assert_eq!(store.tag_holder("q.io/t/b:latest").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_stored_before_refs_were_kept_has_none() {
    let (_dir, store) = open().await;
    let insert =
        "INSERT INTO tags (image, commit_id) VALUES ('q.io/t/a:latest', 'a000000000000000000000000000000000000000')";
    sql(&store, insert).await;
    let found = store.tag_holder(TAG).await.unwrap().unwrap();
    assert_eq!(
        found,
        TagHolder {
            commit: id("a"),
            git_ref: None,
            job: None,
            recipe: None,
            moving: true,
            named: false,
            protected_ref: None
        }
    );
}

#[tokio::test]
async fn a_tag_whose_stored_commit_is_no_id_has_no_holder() {
    let (_dir, store) = open().await;
    sql(&store, "INSERT INTO tags (image, commit_id) VALUES ('q.io/t/a:latest', 'a')").await;
    assert_eq!(store.tag_holder(TAG).await.unwrap(), None);
    store.give_tag(TAG, &holder("b", true)).await.unwrap();
    assert_eq!(store.tag_holder(TAG).await.unwrap().map(|holder| holder.commit), Some(id("b")));
}

#[tokio::test]
async fn only_names_of_old_commits_and_old_heads_are_forgotten() {
    let (_dir, store) = open().await;
    let name = "q.io/t/a:c0ffee";
    store.give_tag(TAG, &holder("a", true)).await.unwrap();
    store.give_tag(name, &holder("c0ffee", false)).await.unwrap();
    store.saw_heads("acme/a", 7, [(main().git_ref, "a".into())].into()).await.unwrap();
    let days = |days: u64| Millis::now() + Duration::from_secs(days * 24 * 3600);
    assert_eq!(
        (store.delete_old_tags(days(29)).await.unwrap(), store.delete_old_heads(days(29)).await.unwrap()),
        (0, 0)
    );
    assert_eq!(
        (store.delete_old_tags(days(31)).await.unwrap(), store.delete_old_heads(days(31)).await.unwrap()),
        (1, 1)
    );
    assert!(store.tag_holder(TAG).await.unwrap().is_some() && store.tag_holder(name).await.unwrap().is_none());
    assert_eq!(store.newest_fetch().await.unwrap(), 0);
}

#[tokio::test]
async fn the_last_fetch_that_saw_a_head_is_known() {
    let (_dir, store) = open().await;
    let see = async |seq, heads: &[(&str, &str)]| {
        let heads = heads.iter().map(|(git_ref, commit)| (format!("refs/heads/{git_ref}"), (*commit).into()));
        store.saw_heads("acme/a", seq, heads.collect()).await.unwrap();
    };
    see(1, &[("main", "a"), ("wip", "b")]).await;
    see(3, &[("main", "b")]).await;
    see(4, &[("main", "a")]).await;
    // The fetch was made before the others, and is noted after them.
    see(2, &[("main", "a")]).await;
    assert_eq!(store.last_seen(&main(), ["a", "b"]).await.unwrap(), [Some(4), Some(3)]);
    assert_eq!(store.last_seen(&main(), ["c", "b"]).await.unwrap(), [None, Some(3)]);
    let other = RepoRef { repository: "acme/b".into(), ..main() };
    assert_eq!(store.last_seen(&other, ["a", "b"]).await.unwrap(), [None, None]);
    assert_eq!(store.newest_fetch().await.unwrap(), 4);
    let watched = store.watched_refs("acme/a").await.unwrap();
    assert_eq!(watched, [("refs/heads/main".into(), "a".into()), ("refs/heads/wip".into(), "b".into())].into());
}

#[tokio::test]
async fn pushes_are_known_whatever_supersedes_what() {
    let (_dir, store) = open().await;
    let [a, b, c] = ["a", "b", "c"].map(|digit| digit.repeat(40));
    let add = async |git_ref: Option<&str>, before: Option<&str>, after: &str| {
        let context = JobContext { branch: "main".into(), commit: after.to_uppercase(), ..context("a") };
        let (git_ref, before) = (git_ref.map(str::to_owned), before.map(|id| id.parse().unwrap()));
        let new = NewJob { git_ref, before, origin: Origin::Hook, ..NewJob::new(context, image()) };
        store.add_job(new, None).await.unwrap();
    };
    add(Some("refs/heads/main"), Some(&"0".repeat(40)), &a).await;
    add(Some("refs/heads/main"), Some(&a), &b).await;
    add(Some("refs/tags/main"), Some(&b), &c).await;
    add(None, None, &c).await;
    // An older version stored whatever a webhook said.
    add(Some("refs/heads/main"), Some(&"1".repeat(40)), &c).await;
    sql(&store, "UPDATE jobs SET before = 'what?' WHERE before = '1111111111111111111111111111111111111111'").await;
    assert_eq!(
        store.pushes(&main()).await.unwrap(),
        [RefUpdate { before: a.parse().unwrap(), after: b.parse().unwrap() }]
    );
}
