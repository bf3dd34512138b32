//! The repositories of a snapshot: the job's own and its submodules, fetched and listed.

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::git::command::{failure, local};
use crate::git::errors::RepoError;
use crate::git::submodules::{self, Submodule, SubmoduleSource, Superproject};
use crate::git::transport::remote::Remote;
use crate::git::tree::blobs::wrong_type;
use crate::git::tree::listing::{TreeBudget, TreeListing};
use crate::git::tree::{TreeError, checked};
use crate::git::{CHUNK, Entry, EntryKind, Git, GitError, MemoryShare, Mirror, Oid, compute, path_order};
use crate::model::LogSink;
use crate::secrets::Secrets;

/// Deepest nesting of submodules.
const MAX_DEPTH: usize = 8;
/// Number of submodules in all, which is limited because each level can have many times those of the one before.
const MAX_SUBMODULES: usize = 200;
/// Number of submodules that are fetched at once.
const AT_ONCE: usize = 4;

/// One repository's share of a snapshot.
#[derive(Debug)]
pub(in crate::git) struct SnapshotPart {
    /// Path of its root with a `/` at its end; empty for the job's own repository.
    prefix: Vec<u8>,
    /// Words that name the submodule in an error; empty for the job's own repository.
    label: String,
    pub mirror: Mirror,
    pub remote: Remote,
    /// Entries with paths below the part's own root.
    pub entries: Vec<Entry>,
}

impl SnapshotPart {
    /// Returns the path in the snapshot of one of the part's paths, for a message.
    pub fn shown(&self, path: &[u8]) -> String {
        String::from_utf8_lossy(&[&self.prefix[..], path].concat()).escape_debug().to_string()
    }

    /// Names the submodule in a line of the log. The text is empty for the job's own repository.
    pub fn place(&self) -> String {
        match &self.prefix[..] {
            [place @ .., _] => format!(" of {}", String::from_utf8_lossy(place).escape_debug()),
            [] => String::new(),
        }
    }

    /// Names the submodule in an error.
    pub fn named<T>(&self, result: Result<T, RepoError>) -> Result<T, RepoError> {
        match result {
            // The caller heals the job's own mirror; the next job fetches the other mirrors anew.
            Err(error) if !self.label.is_empty() => {
                if matches!(error, RepoError::Damaged(_)) {
                    self.mirror.distrust();
                }
                Err(name(&self.label, error.into_error(&self.mirror.source)).into())
            }
            result => result,
        }
    }
}

fn name(label: &str, error: GitError) -> GitError {
    GitError { message: format!("{label}: {}", error.message), ..error }
}

impl Git {
    /// Returns the repository's own part and those of its submodules, each after the one that contains it.
    pub(super) async fn parts(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        secrets: &Secrets,
        memory: &MemoryShare,
        log: &dyn LogSink,
    ) -> Result<Vec<SnapshotPart>, RepoError> {
        let budget = TreeBudget::new(self.config.bounds, memory.clone());
        let entries = self.tree(mirror, commit, &budget).await?;
        let remote = mirror.source.remote()?;
        let superproject = Superproject::new(&mirror.source, remote.clone(), secrets);
        let (prefix, label, mirror) = (vec![], String::new(), mirror.clone());
        let mut parts = vec![SnapshotPart { prefix, label, mirror, remote, entries }];
        let (mut level, mut depth) = (0, 0);
        while level < parts.len() {
            let mut wanted = Vec::new();
            for part in &parts[level..] {
                let found = submodules::read(&self.config, &part.mirror, &part.entries, &part.prefix, log).await;
                wanted.extend(part.named(found)?.into_iter().map(|submodule| (part, submodule)));
            }
            depth += 1;
            if let Some((part, submodule)) = wanted.first()
                && (depth > MAX_DEPTH || parts.len() + wanted.len() > MAX_SUBMODULES + 1)
            {
                let limits = format!("more than {MAX_DEPTH} deep in one another, or more than {MAX_SUBMODULES} in all");
                let message = format!("the submodules are {limits}: are they in a circle?");
                return Err(name(&label_of(&part.prefix, submodule), GitError::refused(message)).into());
            }
            let fetch = |(part, submodule)| self.fetch_submodule(&superproject, part, submodule, &budget, log);
            let fetches: Vec<_> = wanted.into_iter().map(fetch).collect();
            let fetched: Vec<_> = stream::iter(fetches).buffered(AT_ONCE).try_collect().await?;
            level = parts.len();
            parts.extend(fetched);
        }
        Ok(parts)
    }

    async fn fetch_submodule(
        &self,
        superproject: &Superproject<'_>,
        parent: &SnapshotPart,
        submodule: Submodule,
        budget: &TreeBudget,
        log: &dyn LogSink,
    ) -> Result<SnapshotPart, GitError> {
        let label = label_of(&parent.prefix, &submodule);
        let fetch = async {
            let place =
                superproject.locate(&parent.mirror.source.url, parent.remote.is_foreign, &submodule.url).await?;
            let mirror =
                self.clone_submodule(&place, &submodule.commit, log).await.map_err(|error| place.explain(error))?;
            let (mirror, entries) = match self.tree(&mirror, &submodule.commit, budget).await {
                Err(RepoError::Damaged(what)) => {
                    self.distrust(&mirror, &what).await?;
                    let mirror = self.clone_submodule(&place, &submodule.commit, log).await?;
                    let entries = self.tree(&mirror, &submodule.commit, budget).await;
                    let entries = self.healed(&mirror, entries).await?;
                    (mirror, entries)
                }
                entries => {
                    let entries = entries.map_err(|error| error.into_error(&mirror.source))?;
                    (mirror, entries)
                }
            };
            Ok((mirror, entries, place))
        };
        let (mirror, entries, place) = fetch.await.map_err(|error| name(&label, error))?;
        let (prefix, SubmoduleSource { remote, .. }) = ([&parent.prefix[..], &submodule.path, b"/"].concat(), place);
        Ok(SnapshotPart { prefix, label, mirror, remote, entries })
    }

    async fn tree(&self, mirror: &Mirror, commit: &Oid, budget: &TreeBudget) -> Result<Vec<Entry>, RepoError> {
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", &commit.to_string()];
        let mut git = local(&self.config, &mirror.path).args(args).start().map_err(GitError::from)?;
        let (mut listing, output) = (TreeListing::new(budget), git.stdout());
        let read = async {
            let Some(output) = output else { return Ok(()) };
            let mut output = BufReader::with_capacity(CHUNK, output);
            loop {
                let bytes = output.fill_buf().await.map_err(|error| GitError::io("git ls-tree", error))?;
                if bytes.is_empty() {
                    return Ok(());
                }
                listing.push(bytes).map_err(|error| refusal(commit, error))?;
                let taken = bytes.len();
                output.consume(taken);
            }
        };
        let finish = async { git.finish(None).await.map_err(|error| RepoError::from(GitError::from(error))) };
        // Git is killed at the first bound that the tree breaks.
        let ((), finished) = tokio::try_join!(read, finish)?;
        if !finished.status.success() {
            let no_tree = |line: &str| line.strip_prefix("error: Object ")?.strip_suffix(" not a tree")?.parse().ok();
            return Err(match finished.stderr.lines().find_map(no_tree) {
                Some(oid) => wrong_type(&oid, "no folder", "folder", &mirror.source).into(),
                None => failure(&finished),
            });
        }
        let (listed, held) = (listing.listed().map_err(|error| refusal(commit, error))?, budget.memory());
        let entries = compute(move || {
            let _held = held;
            checked(listed)
        });
        entries.await.map_err(|error| refusal(commit, error))
    }
}

fn refusal(commit: &Oid, error: TreeError) -> RepoError {
    match error.is_refusal() {
        true => GitError::refused(format!("commit {commit} cannot be built: {error}")).into(),
        false => RepoError::Damaged(error.to_string()),
    }
}

fn label_of(prefix: &[u8], submodule: &Submodule) -> String {
    let path = [prefix, &submodule.path].concat();
    format!("submodule {:?} at {}", submodule.name, String::from_utf8_lossy(&path).escape_debug())
}

/// Returns all entries with their paths in the snapshot, in order, and the mirrors of their origins.
pub(super) fn joined(mut parts: Vec<SnapshotPart>) -> (Vec<Entry>, Vec<Mirror>) {
    let mirrors = parts.iter().map(|part| part.mirror.clone()).collect();
    let mut entries = std::mem::take(&mut parts[0].entries);
    if parts.len() == 1 {
        return (entries, mirrors);
    }
    let mut roots = Vec::new();
    for (part, origin) in parts.into_iter().zip(0..).skip(1) {
        entries.extend(part.entries.into_iter().map(|entry| {
            let path = [&part.prefix[..], &entry.path].concat();
            Entry { path, origin, ..entry }
        }));
        roots.push(part.prefix);
    }
    entries.sort_unstable_by(|a, b| path_order(&a.path, &b.path));
    for root in roots {
        let path = &root[..root.len() - 1];
        if let Ok(at) = entries.binary_search_by(|entry| path_order(&entry.path, path)) {
            entries[at].kind = EntryKind::Dir;
        }
    }
    (entries, mirrors)
}
