//! The commits that refs name, and the order in which they were found.
//!
//! Each fetch, and each question about a remote head, gets a number when it begins. Both hold the mirror's lock, so a
//! greater number means a later finding, whatever the clocks say.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;

use super::command::{ask, local};
use super::{Git, GitError, Mirror, Oid, probe};

/// Longest wait of [`Git::mirror_heads`] for the mirror's lock.
const PATIENCE: Duration = Duration::from_secs(1);

/// Commits of refs that one fetch or one question found.
#[derive(Debug)]
pub struct Heads {
    pub number: u64,
    /// Commits by the full names of their refs. A ref that does not exist, or that leads to no commit, is left out.
    pub commits: BTreeMap<String, String>,
}

impl Git {
    /// Makes the next numbers greater than this one.
    pub fn number_fetches_after(&self, number: u64) {
        self.fetch_count.fetch_max(number, Relaxed);
    }

    /// Returns the number of the last fetch or question that began. Those that begin from now on get a greater one.
    pub fn last_fetch_number(&self) -> u64 {
        self.fetch_count.load(Relaxed)
    }

    pub(super) fn next_fetch_number(&self) -> u64 {
        self.fetch_count.fetch_add(1, Relaxed) + 1
    }

    /// Returns the commits of these refs in the mirror, with the number of the fetch that found them. Returns none if
    /// the mirror was not fetched since the start, if its last fetch failed, or if a fetch is under way, which will
    /// find newer ones.
    pub async fn mirror_heads(&self, mirror: &Mirror, refs: &[String]) -> Result<Option<Heads>, GitError> {
        let Ok(state) = timeout(PATIENCE, self.lock(mirror)).await else { return Ok(None) };
        let Some(number) = state.number else { return Ok(None) };
        let listed = self.listed_refs(mirror, refs).await?.into_iter();
        Ok(Some(Heads { number, commits: listed.filter(|(name, _)| refs.contains(name)).collect() }))
    }

    /// Returns the commits of the refs that begin with these, or of all, in the mirror, by their full names.
    pub async fn listed_refs(&self, mirror: &Mirror, refs: &[String]) -> Result<Vec<(String, String)>, GitError> {
        let format = "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)";
        let program = local(&self.config, &mirror.path).args(["for-each-ref", format, "--"]).args(refs);
        let listed = ask(program).await.map_err(|error| error.into_error(&mirror.source))?.unwrap_or_default();
        let commit = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let words: Vec<_> = words.collect();
            // The object of an annotated tag is followed by the object that the tag names.
            let (_, id) = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).find(|(kind, _)| *kind == "commit")?;
            Some((name.to_owned(), id.to_owned()))
        };
        Ok(String::from_utf8_lossy(&listed).lines().filter_map(commit).collect())
    }

    /// Asks the repository's host which commit a ref names now.
    pub async fn remote_head(&self, mirror: &Mirror, git_ref: &str) -> Result<Heads, GitError> {
        let _alone = self.lock(mirror).await;
        let number = self.next_fetch_number();
        // Without this option the host would list all its refs, such as those of pull requests.
        let kind: &[&str] = match git_ref.starts_with("refs/tags/") {
            true => &["--tags"],
            false if git_ref.starts_with("refs/heads/") => &["--heads"],
            false => &[],
        };
        let peeled = format!("{git_ref}^{{}}");
        let listed =
            probe::list(&self.config, &mirror.source, kind, &[git_ref, &peeled], Some(&self.ssh.refusals)).await?;
        let id = |wanted: &str| {
            let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(_, name)| *name == wanted)?.0.parse::<Oid>().ok()
        };
        let commit = id(&peeled).or_else(|| id(git_ref)).map(|id| id.to_string());
        Ok(Heads { number, commits: commit.map(|commit| (git_ref.to_owned(), commit)).into_iter().collect() })
    }

    /// Asks the repository's host which branch is the default one: the one that its `HEAD` names. Returns `None` if the
    /// host does not say, as over a plain HTTP file server, or if its `HEAD` is no branch.
    pub async fn default_branch(&self, mirror: &Mirror) -> Result<Option<String>, GitError> {
        let listed =
            probe::list(&self.config, &mirror.source, &["--symref"], &["HEAD"], Some(&self.ssh.refusals)).await?;
        let name = |line: &str| {
            let git_ref = line.strip_prefix("ref: ")?.strip_suffix("\tHEAD")?;
            git_ref.strip_prefix("refs/heads/").map(str::to_owned)
        };
        Ok(listed.lines().find_map(name))
    }
}
