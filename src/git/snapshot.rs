//! All of a commit as a checkout has it: its tree, with the trees of its submodules in their places, the files that Git
//! LFS keeps, and those that Git converts.

pub(super) mod convert;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::command::{ask, local};
use super::errors::{RepoError, last_words};
use super::lfs::LfsStore;
use super::submodules::{self, Submodule, SubmoduleSource, Superproject};
use super::transport::remote::Remote;
use super::tree::blobs::wrong_type;
use super::tree::{self, TreeError};
use super::{
    Blobs, Entry, EntryKind, Git, GitConfig, GitDir, GitError, Mirror, Oid, PathEnd, PathWalk, WalkStep, path_order,
};
use crate::model::LogSink;
use crate::secrets::Secrets;

/// How deep submodules may be in one another.
const MAX_DEPTH: usize = 8;
/// How many there may be in all: each level can have many times those of the one before.
const MAX_SUBMODULES: usize = 200;
/// How many of them are fetched at once.
const AT_ONCE: usize = 4;

/// A commit's tree, ready to be sent as a build context.
#[derive(Debug)]
pub struct Snapshot {
    pub commit: Oid,
    /// In [`path_order`], directories included, the root not.
    pub entries: Vec<Entry>,
    /// Names this life of the file-time table; part of the sync key.
    pub generation: String,
    /// As [`Entry::origin`] counts them: the job's own first.
    mirrors: Vec<Mirror>,
    objects: Arc<LfsStore>,
    git_dir: Option<Arc<GitDir>>,
    config: GitConfig,
}

impl Snapshot {
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| path_order(&entry.path, path)).ok()?;
        self.entries.get(at)
    }

    /// The file at a path, which may lead through symlinks of the tree.
    pub async fn find(&self, path: &[u8]) -> Result<PathEnd, GitError> {
        Ok(self.walk(path).await?.0)
    }

    /// The path without links of the folder at a path, which is empty for the root. Else what is there.
    pub async fn folder(&self, path: &[u8]) -> Result<Result<Vec<u8>, PathEnd>, GitError> {
        let (found, place) = self.walk(path).await?;
        // A submodule that was not fetched is an empty folder.
        let is_fetched = || self.entry(&place).is_some_and(|entry| entry.kind == EntryKind::Dir);
        Ok(match found {
            PathEnd::Folder => Ok(place),
            PathEnd::Submodule if is_fetched() => Ok(place),
            found => Err(found),
        })
    }

    /// The end of a path, and where that is.
    async fn walk(&self, path: &[u8]) -> Result<(PathEnd, Vec<u8>), GitError> {
        let (mut walk, mut blobs) = (PathWalk::new(path), None);
        loop {
            let link = match walk.step(&self.entries) {
                WalkStep::End(found) => return Ok((found, walk.place())),
                WalkStep::Link(at) => &self.entries[at],
            };
            let blobs = match &mut blobs {
                Some(blobs) => blobs,
                None => blobs.insert(self.blobs()?),
            };
            if let Some(found) = walk.follow(&blobs.read(link).await?) {
                return Ok((found, walk.place()));
            }
        }
    }

    /// When the commit was made, in seconds since the epoch.
    pub async fn commit_time(&self) -> Result<i64, GitError> {
        let mirror = &self.mirrors[0];
        let args = ["log", "-1", "--format=%ct", &self.commit.to_string(), "--"];
        let read = async {
            let seconds = ask(local(&self.config, &mirror.path).args(args)).await?;
            Ok(seconds_of(&seconds.unwrap_or_default()))
        };
        read.await.map_err(|error: RepoError| error.into_error(&mirror.source))
    }

    /// A reader of the files' contents; from async code alone (see [`crate::process`]).
    pub fn blobs(&self) -> Result<Blobs, GitError> {
        Blobs::start(&self.config, self.mirrors.clone(), self.objects.clone(), self.git_dir.clone())
    }

    /// True if it has a `.git`, made by [`Git::git_dir`].
    pub fn has_git_dir(&self) -> bool {
        self.git_dir.is_some()
    }
}

/// The seconds that Git prints for a commit's time. Whoever makes a commit may leave the time out, which counts as 0, or
/// write one with any number of digits.
fn seconds_of(printed: &[u8]) -> i64 {
    match printed.trim_ascii() {
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(i64::MAX)
        }
        text => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

/// One repository's share of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotPart {
    /// The path of its root, with a `/` at its end; empty for the job's own.
    prefix: Vec<u8>,
    /// What a failure in it is about; empty for the job's own.
    label: String,
    pub mirror: Mirror,
    pub remote: Remote,
    /// Its paths are its own.
    pub entries: Vec<Entry>,
}

impl SnapshotPart {
    /// A path of its own, for a message.
    pub fn shown(&self, path: &[u8]) -> String {
        String::from_utf8_lossy(&[&self.prefix[..], path].concat()).escape_debug().to_string()
    }

    /// Names the submodule in a line of the log; empty for the job's own.
    pub fn place(&self) -> String {
        match &self.prefix[..] {
            [place @ .., _] => format!(" of {}", String::from_utf8_lossy(place).escape_debug()),
            [] => String::new(),
        }
    }

    /// Names the submodule in an error.
    fn named<T>(&self, result: Result<T, RepoError>) -> Result<T, RepoError> {
        match result {
            // The caller heals the job's own mirror; others are fetched anew by the next try.
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
    /// Reads the commit's tree, fetches its submodules and LFS files as far as they are not here yet, converts what a
    /// checkout converts, and gives each file its time. `times_key` names the table (the repository).
    pub async fn snapshot(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, GitError> {
        self.snapshot_with(mirror, commit, times_key, None, secrets, log).await
    }

    /// The same with the commit's `.git` in it, if there is one.
    pub async fn snapshot_with(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        git_dir: Option<&Arc<GitDir>>,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, GitError> {
        let id = commit.to_string();
        match self.try_snapshot(mirror, commit, times_key, git_dir, secrets, log).await {
            Err(RepoError::Damaged(what)) => {
                self.heal(mirror, Some(&id), &what).await?;
                let snapshot = self.try_snapshot(mirror, commit, times_key, git_dir, secrets, log).await;
                self.healed(mirror, snapshot).await
            }
            snapshot => snapshot.map_err(|error| error.into_error(&mirror.source)),
        }
    }

    async fn try_snapshot(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        git_dir: Option<&Arc<GitDir>>,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, RepoError> {
        let mut parts = self.parts(mirror, commit, secrets, log).await?;
        for part in &mut parts {
            let checked_out = self.check_out(part, log).await;
            part.named(checked_out)?;
        }
        let own = (parts.len() > 1 || git_dir.is_some()).then(|| parts[0].entries.clone());
        let (mut entries, mirrors) = joined(parts);
        if let Some(git_dir) = git_dir {
            let own = own.as_deref().unwrap_or_default();
            entries.extend(git_dir.entries(&self.config, mirror, own, log).await?);
            entries.sort_unstable_by(|a, b| path_order(&a.path, &b.path));
        }
        let generation = self.set_times(mirror, commit, times_key, own.as_deref(), &mut entries).await?;
        let objects = self.lfs.store.clone();
        let (git_dir, config) = (git_dir.cloned(), self.config.clone());
        Ok(Snapshot { commit: *commit, entries, generation, mirrors, objects, git_dir, config })
    }

    /// The repository's own part, then those of its submodules, each after the one that it is in.
    async fn parts(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Vec<SnapshotPart>, RepoError> {
        let entries = self.tree(mirror, commit).await?;
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
            let fetch = |(part, submodule)| self.fetch_submodule(&superproject, part, submodule, log);
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
        log: &dyn LogSink,
    ) -> Result<SnapshotPart, GitError> {
        let label = label_of(&parent.prefix, &submodule);
        let fetch = async {
            let place = superproject.place(&parent.mirror.source.url, parent.remote.is_foreign, &submodule.url).await?;
            let mirror =
                self.clone_submodule(&place, &submodule.commit, log).await.map_err(|error| place.explain(error))?;
            let (mirror, entries) = match self.tree(&mirror, &submodule.commit).await {
                Err(RepoError::Damaged(what)) => {
                    self.distrust(&mirror, &what).await?;
                    let mirror = self.clone_submodule(&place, &submodule.commit, log).await?;
                    let entries = self.tree(&mirror, &submodule.commit).await;
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

    async fn tree(&self, mirror: &Mirror, commit: &Oid) -> Result<Vec<Entry>, RepoError> {
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", &commit.to_string()];
        let finished = local(&self.config, &mirror.path).args(args).output().await.map_err(GitError::from)?;
        if !finished.status.success() {
            let no_tree = |line: &str| line.strip_prefix("error: Object ")?.strip_suffix(" not a tree")?.parse().ok();
            return Err(match finished.stderr.lines().find_map(no_tree) {
                Some(oid) => wrong_type(&oid, "no folder", "folder", &mirror.source).into(),
                None => RepoError::Damaged(last_words(&finished.stderr).into()),
            });
        }
        tree::parse(&finished.stdout).map_err(|error| match error {
            TreeError::Damaged(_) => RepoError::Damaged(error.to_string()),
            TreeError::Unsafe(_) => GitError::refused(format!("commit {commit} cannot be built: {error}")).into(),
        })
    }
}

fn label_of(prefix: &[u8], submodule: &Submodule) -> String {
    let path = [prefix, &submodule.path].concat();
    format!("submodule {:?} at {}", submodule.name, String::from_utf8_lossy(&path).escape_debug())
}

/// All entries with their paths in the snapshot, in order, and their origins.
fn joined(mut parts: Vec<SnapshotPart>) -> (Vec<Entry>, Vec<Mirror>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_without_a_time_has_one() {
        for (printed, seconds) in [
            (&b"1700000000\n"[..], 1_700_000_000),
            (b"-5\n", -5),
            (b"\n", 0),
            (b"", 0),
            (b"99999999999999999999999\n", i64::MAX),
        ] {
            assert_eq!(seconds_of(printed), seconds);
        }
    }
}
