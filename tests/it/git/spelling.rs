//! Spellings of one repository's name, where the host ignores case.

use super::times::{now, time};
use super::*;
use image_factory::git::Upkeep;
use image_factory::model::RepoCase;

fn spelled(local: &Local, name: &str) -> RepoSource {
    let repo = local.git.first_spelling(&RepoName::parse(name).unwrap());
    RepoSource { repo, ..local.source.clone() }
}

fn with(local: &mut Local, case: RepoCase) {
    let config = GitConfig { repo_case: case, ..config(local.dir.path(), Path::new("/nonexistent")) };
    local.git = Git::new(config).unwrap();
}

/// The folders of mirrors, `owner/name.git`.
fn mirrors(local: &Local) -> Vec<String> {
    let folder = local.dir.path().join("data/mirrors");
    let below = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let all = below(&folder).into_iter().flat_map(|owner| below(&owner));
    let mut names: Vec<_> = all.map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn spellings_share_the_mirror_that_was_there_first() {
    let mut local = Local::new();
    let head = local.repo.commit("develop", &[("a", "1")]);
    for restarted in [false, true] {
        for (place, name) in ["Acme/Hello", "acme/hello", "ACME/hello", "Acme/Hello"].into_iter().enumerate() {
            let (source, log) = (spelled(&local, name), Log::default());
            assert_eq!(source.repo.to_string(), "Acme/Hello");
            local.git.clone(&source, &branch("develop"), &commit(&head), true, &log).await.unwrap();
            let is_fetched = log.text().contains("Fetching");
            assert_eq!(is_fetched, place == 0 && !restarted, "{name}: {}", log.text());
        }
        assert_eq!(mirrors(&local), ["Acme/Hello.git"]);
        with(&mut local, RepoCase::Ignore);
    }
    // On a host that keeps case they are two.
    with(&mut local, RepoCase::Keep);
    let source = spelled(&local, "acme/hello");
    local.git.clone(&source, &branch("develop"), &commit(&head), true, &Log::default()).await.unwrap();
    assert_eq!(mirrors(&local), ["Acme/Hello.git", "acme/hello.git"]);
}

#[tokio::test]
async fn mirrors_of_two_spellings_become_one_with_a_table_of_a_new_generation() {
    let mut local = Local::new();
    local.repo.commit("develop", &[("a", "1"), ("b", "1")]);
    // Versions before this rule made a mirror and a table for each spelling.
    with(&mut local, RepoCase::Keep);
    let mut generations = Vec::new();
    for name in ["acme/hello", "Acme/Hello"] {
        local.source.repo = RepoName::parse(name).unwrap();
        generations.push(local.snapshot_of("develop", name).await.unwrap().generation);
    }
    assert_eq!(mirrors(&local), ["Acme/Hello.git", "acme/hello.git"]);

    with(&mut local, RepoCase::Ignore);
    local.source = spelled(&local, "ACME/HELLO");
    assert_eq!(local.source.repo.to_string(), "Acme/Hello");
    let before = now();
    let merged = local.snapshot_of("develop", "acme/hello").await.unwrap();
    assert!(!generations.contains(&merged.generation));
    for path in ["a", "b"] {
        assert!((before..=now()).contains(&time(&merged, path)), "{path}");
    }
    let again = local.snapshot_of("develop", "acme/hello").await.unwrap();
    assert_eq!((&again.entries, &again.generation), (&merged.entries, &merged.generation));
    assert_eq!(std::fs::read_dir(local.dir.path().join("data/filetimes")).unwrap().count(), 1);
    Upkeep::new(&local.git, u64::MAX).once().await.unwrap();
    assert_eq!(mirrors(&local), ["Acme/Hello.git"]);
}

#[tokio::test]
async fn the_only_table_is_kept_whatever_its_spelling_was() {
    let mut local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    with(&mut local, RepoCase::Keep);
    local.source.repo = RepoName::parse("Acme/Hello").unwrap();
    let before = local.snapshot_of("develop", "Acme/Hello").await.unwrap();
    with(&mut local, RepoCase::Ignore);
    local.source = spelled(&local, "acme/hello");
    let after = local.snapshot_of("develop", "acme/hello").await.unwrap();
    assert_eq!((&after.entries, &after.generation), (&before.entries, &before.generation));
}
