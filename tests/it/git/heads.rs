//! The order in which refs named their commits.

use super::*;

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
async fn heads_have_the_number_of_the_fetch_that_found_them() {
    let mut local = Local::new();
    local.git.number_fetches_after(6);
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.tag("v1");
    local.repo.commit("feature/x", &[("a", "2")]);
    let mirror = local.fetch("v1", "HEAD", false).await.unwrap();
    let wanted = names(["refs/heads/develop", "refs/tags/v1", "refs/heads/feature", "refs/heads/*"]);
    let found = local.git.mirror_heads(&mirror, &wanted).await.unwrap().unwrap();
    let expected = [("refs/heads/develop".to_owned(), first.clone()), ("refs/tags/v1".to_owned(), first.clone())];
    // The annotated tag is its commit.
    assert_eq!((found.number, found.commits), (7, expected.clone().into()));

    // A job that fetches nothing finds the same heads at the same time as before.
    let second = local.repo.commit("develop", &[("a", "3")]);
    let began = local.git.last_fetch_number();
    let mirror = local.fetch("develop", &first, false).await.unwrap();
    let found = local.git.mirror_heads(&mirror, &wanted).await.unwrap().unwrap();
    assert_eq!((found.number, found.number <= began, found.commits), (7, true, expected.into()));

    // The remote has the newest heads, and those of the mirror are unchanged.
    let looked = local.git.remote_head(&mirror, "refs/heads/develop").await.unwrap();
    assert_eq!((looked.number, looked.commits), (8, [("refs/heads/develop".to_owned(), second.clone())].into()));
    let looked = local.git.remote_head(&mirror, "refs/tags/v1").await.unwrap();
    assert_eq!((looked.number, looked.commits), (9, [("refs/tags/v1".to_owned(), first)].into()));
    assert!(local.git.remote_head(&mirror, "refs/heads/none").await.unwrap().commits.is_empty());
    assert_eq!(local.git.mirror_heads(&mirror, &wanted).await.unwrap().unwrap().number, 7);
    let mirror = local.fetch("develop", "HEAD", false).await.unwrap();
    let found = local.git.mirror_heads(&mirror, &wanted).await.unwrap().unwrap();
    assert_eq!((found.number, &found.commits["refs/heads/develop"]), (11, &second));

    // A fetch that failed may have moved some refs: nobody knows when.
    let away = local.repo.bare.with_extension("away");
    std::fs::rename(&local.repo.bare, &away).unwrap();
    local.fetch("develop", "HEAD", false).await.unwrap_err();
    assert!(local.git.mirror_heads(&mirror, &wanted).await.unwrap().is_none());
    assert!(local.git.remote_head(&mirror, "refs/heads/develop").await.is_err());
    std::fs::rename(&away, &local.repo.bare).unwrap();
    // The heads are unknown after a restart too.
    local.restart();
    let mirror = local.fetch("develop", &second, false).await.unwrap();
    assert!(local.git.mirror_heads(&mirror, &wanted).await.unwrap().is_none());
}
