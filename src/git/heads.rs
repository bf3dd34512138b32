//! Which commits refs name, and in what order that was found.
//!
//! Each fetch, and each look at the remote, has a number that it gets as it begins. Both hold the mirror's lock, so what
//! has the greater number was found later; clocks have no say.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;

use super::command::{ask, local};
use super::{Git, GitError, Mirror, Oid, probe};

/// The longest wait of [`Git::mirror_heads`] for who uses the mirror.
const PATIENCE: Duration = Duration::from_secs(1);

/// The commits of refs, as one fetch or one look found them.
#[derive(Debug)]
pub struct Heads {
    pub number: u64,
    /// By full name. A ref that is not there, or that leads to no commit, is left out.
    pub commits: BTreeMap<String, String>,
}

impl Git {
    /// Has numbers go on after this one.
    pub fn number_fetches_after(&self, number: u64) {
        self.fetch_count.fetch_max(number, Relaxed);
    }

    /// The number of the fetch or look that began last: what has a greater one begins after now.
    pub fn last_fetch_number(&self) -> u64 {
        self.fetch_count.load(Relaxed)
    }

    pub(super) fn next_fetch_number(&self) -> u64 {
        self.fetch_count.fetch_add(1, Relaxed) + 1
    }

    /// The commits of these refs in the mirror, with the number of the fetch that they are of. None if the mirror was
    /// not fetched since the start, if its last fetch failed, or if somebody fetch_count it now, who will find newer ones.
    pub async fn mirror_heads(&self, mirror: &Mirror, refs: &[String]) -> Result<Option<Heads>, GitError> {
        let Ok(state) = timeout(PATIENCE, self.lock(mirror)).await else { return Ok(None) };
        let Some(number) = state.number else { return Ok(None) };
        let format = "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)";
        let program = local(&self.config, &mirror.path).args(["for-each-ref", format, "--"]).args(refs);
        let listed = ask(program).await.map_err(|error| error.into_error(&mirror.source))?.unwrap_or_default();
        let listed = String::from_utf8_lossy(&listed);
        let commit = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next().filter(|name| refs.iter().any(|wanted| wanted == name))?;
            let words: Vec<_> = words.collect();
            // An annotated tag is followed by the object that it is of.
            let (_, id) = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).find(|(kind, _)| *kind == "commit")?;
            Some((name.to_owned(), id.to_owned()))
        };
        Ok(Some(Heads { number, commits: listed.lines().filter_map(commit).collect() }))
    }

    /// Asks the repository's host which commit a ref names now.
    pub async fn remote_head(&self, mirror: &Mirror, git_ref: &str) -> Result<Heads, GitError> {
        let _alone = self.lock(mirror).await;
        let number = self.next_fetch_number();
        // Without this option the host would list all refs that it has, such as those of pull requests.
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
}
