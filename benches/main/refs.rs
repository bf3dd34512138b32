//! The cost of refs that nobody asked for in a fetch by ssh: on GitHub each pull request there ever was has one.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image_factory::git::{Git, GitConfig, RepoSource};
use image_factory::model::{CommitSpec, GitRef, RepoName};

use super::harness::{DeployKey, GitHost, KeyType, Log, Repo, folder};
use super::{Row, median, ms};

const REFS: usize = 60_000;
const ROUNDS: usize = 5;
/// The longest time of a fetch with them, in times of one without.
const RATIO: f64 = 1.3;

pub async fn measure() -> Vec<Row> {
    let (host, dir) = (GitHost::start().await, folder());
    let key = DeployKey::generate(KeyType::Ed25519, "");
    host.authorize(&[&key]);
    let key = image_factory::secrets::DeployKey::parse(key.private.as_bytes(), None).unwrap();
    let git = Git::new(GitConfig {
        dir: dir.path().join("data"),
        run_dir: dir.path().join("run"),
        known_hosts: host.known_hosts(),
        added_hosts: None,
        access: Default::default(),
        pure_history_times: false,
        repo_case: image_factory::model::RepoCase::default(),
        bounds: image_factory::git::GitBounds::default(),
    })
    .unwrap();
    let key = Arc::new(key);
    let side = |name: &str| {
        let url = host.url().replace("{owner}", "acme").replace("{repo}", name);
        let source = RepoSource { repo: RepoName::new("acme", name).unwrap(), url, key: Some(key.clone()) };
        Side { repo: host.repo("acme", name), source, fetches: Vec::new(), lists: Vec::new() }
    };
    let mut sides = [side("few"), side("many")];
    for (side, refs) in sides.iter().zip([0, REFS]) {
        let id = side.repo.commit("develop", &[("round", "0")]);
        let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        // Sorted by name, as Git wants it.
        for number in 100_000..100_000 + refs {
            let _ = writeln!(packed, "{id} refs/pull/{number}/head");
        }
        std::fs::write(side.repo.bare.join("packed-refs"), packed).unwrap();
    }
    // The first fetch makes the connection and the mirror.
    for round in 0..=ROUNDS {
        for side in &mut sides {
            side.round(&git, round).await;
        }
    }
    let [few, many] = sides;
    vec![
        row("a fetch by ssh of one more commit", few.fetches, many.fetches),
        row("the look for missed pushes", few.lists, many.lists),
    ]
}

/// A repository, and the time of each round there.
struct Side {
    repo: Repo,
    source: RepoSource,
    fetches: Vec<Duration>,
    lists: Vec<Duration>,
}

impl Side {
    async fn round(&mut self, git: &Git, round: usize) {
        self.repo.commit("develop", &[("round", &format!("{round} of {}", self.source.repo))]);
        let (branch, log) = (GitRef::new("develop").unwrap(), Log::default());
        let start = Instant::now();
        git.clone(&self.source, &branch, &CommitSpec::Head, false, &log).await.unwrap();
        let fetched = start.elapsed();
        let start = Instant::now();
        git.heads(&self.source).await.unwrap();
        if round > 0 {
            self.fetches.push(fetched);
            self.lists.push(start.elapsed());
        }
    }
}

fn row(what: &str, few: Vec<Duration>, many: Vec<Duration>) -> Row {
    let [few, many] = [few, many].map(median);
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    Row {
        what: format!("{what}, {REFS} pull requests there"),
        measured: format!("{} ({} with none), {ratio:.2} times", ms(many), ms(few)),
        target: format!("< {RATIO} times"),
        met: ratio < RATIO,
    }
}
