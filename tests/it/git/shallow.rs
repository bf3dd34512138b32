//! An origin that has not the whole history.

use super::*;

/// The origin of a [`Local`] with the last two commits of its branches alone, as a mirror of a mirror may be made.
struct Shallow {
    local: Local,
    /// The whole history.
    full: RepoSource,
}

impl Shallow {
    fn new() -> Self {
        let mut local = Local::new();
        for content in ["1", "2", "3", "4"] {
            local.repo.commit("develop", &[("a", content)]);
        }
        let shallow = local.dir.path().join("shallow.git");
        let full = local.source.clone();
        let shallow = shallow.to_str().unwrap();
        local.repo.git(&["clone", "-q", "--bare", "--depth=2", "--no-single-branch", &full.url, shallow]);
        local.source.url = format!("file://{shallow}");
        Self { local, full }
    }

    /// Brings what was pushed since to the origin.
    fn sync(&self, option: &str) {
        let origin = self.local.source.url.trim_start_matches("file://");
        let refs = ["+refs/heads/*:refs/heads/*", "--prune"];
        self.local.repo.git(&["-C", origin, "fetch", "-q", option, &self.full.url, refs[0], refs[1]]);
    }

    fn back(&self, count: usize) -> String {
        self.local.repo.git(&["rev-parse", &format!("HEAD~{count}")])
    }
}

#[tokio::test]
async fn a_shallow_origin_has_some_commits_built_and_the_others_named() {
    let shallow = Shallow::new();
    let local = &shallow.local;
    assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), shallow.back(0));
    assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap(), [("a".to_owned(), b"4".to_vec())]);
    assert_eq!(local.commit("develop", &shallow.back(1), false).await.unwrap().to_string(), shallow.back(1));
    let error = local.commit("develop", &shallow.back(3), false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[(&shallow.back(3), "cut off")]), @"Request 128 final: acme/hello has no commit [cut off] on a branch or tag: push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)");

    // Each fetch follows the origin: to newer commits, whose history is cut elsewhere, and back in history.
    for (content, option) in [("5", "--depth=1"), ("6", "--depth=2"), ("7", "--update-shallow")] {
        local.repo.commit("develop", &[("a", content)]);
        shallow.sync(option);
        assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), shallow.back(0), "{option}");
        assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap()[0].1, content.as_bytes());
    }
    shallow.sync("--unshallow");
    assert_eq!(local.commit("develop", &shallow.back(6), false).await.unwrap().to_string(), shallow.back(6));
}

/// Git ends such a fetch with 0 and leaves the branch where it was.
#[tokio::test]
async fn an_origin_that_became_shallow_never_yields_an_old_commit() {
    let mut shallow = Shallow::new();
    let origin = std::mem::replace(&mut shallow.local.source, shallow.full.clone());
    shallow.local.commit("develop", "HEAD", false).await.unwrap();
    // The same URL leads to another repository from now on.
    let local = &shallow.local;
    let [full, cut] = [&shallow.full, &origin].map(|source| source.url.trim_start_matches("file://").to_owned());
    let aside = local.dir.path().join("aside.git");
    local.repo.commit("develop", &[("a", "5")]);
    let newest = shallow.back(0);
    local.repo.git(&["-C", &cut, "fetch", "-q", "--depth=1", &shallow.full.url, "+refs/heads/*:refs/heads/*"]);
    std::fs::rename(&full, aside).unwrap();
    std::fs::rename(&cut, &full).unwrap();
    assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), newest);
    assert_eq!(contents(&local.snapshot().await.unwrap()).await.unwrap()[0].1, b"5");
}
