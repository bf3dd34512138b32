//! All files of a commit as in a checkout: its tree, the trees of its submodules, the files that Git LFS keeps, and the
//! files that Git converts.

pub(super) mod convert;
mod inline;
pub(super) mod part;

use std::sync::Arc;

use bytes::Bytes;

use super::command::{ask, local};
use super::errors::RepoError;
use super::lfs::LfsStore;
use super::tree::listing::memory_of;
use super::{
    Blobs, Entry, EntryKind, Git, GitConfig, GitDir, GitError, MemoryShare, Mirror, Oid, PathEnd, PathWalk, WalkStep,
    compute, path_order,
};
use crate::model::LogSink;
use crate::secrets::Secrets;
use part::joined;

/// A commit's tree, ready to be sent as a build context.
#[derive(Debug)]
pub struct Snapshot {
    pub commit: Oid,
    /// Commit in the first mirror that has the files: `commit`, or the one that was made of a tarball.
    head: Oid,
    /// Entries in [`path_order`], with directories, without the root.
    pub entries: Vec<Entry>,
    /// Name of this generation of the file-time table; a part of the sync key.
    pub generation: String,
    /// Mirrors in the order of [`Entry::origin`]: the job's own first.
    mirrors: Vec<Mirror>,
    objects: Arc<LfsStore>,
    git_dir: Option<Arc<GitDir>>,
    /// Content of the file that came with the job's request; empty if the files are a repository's.
    inline: Bytes,
    config: GitConfig,
    /// Share of MEMORY_BUDGET that the entries take.
    _memory: MemoryShare,
}

/// Choices about a snapshot.
#[derive(Default)]
pub struct SnapshotOptions<'a> {
    /// The commit's `.git`, which becomes a part of the snapshot.
    pub git_dir: Option<&'a Arc<GitDir>>,
    /// Share of MEMORY_BUDGET in which the snapshot has to fit. A snapshot that does not fit is an error, and the share
    /// then says how much it lacks ([`MemoryShare::shortage`]).
    pub memory: MemoryShare,
}

impl<'a> SnapshotOptions<'a> {
    /// Makes the choice of a snapshot with this `.git`.
    pub fn of(git_dir: &'a Arc<GitDir>) -> Self {
        Self { git_dir: Some(git_dir), ..Self::default() }
    }
}

impl Snapshot {
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| path_order(&entry.path, path)).ok()?;
        self.entries.get(at)
    }

    /// Finds the file at a path, which may lead through symlinks of the tree.
    pub async fn find(&self, path: &[u8]) -> Result<PathEnd, GitError> {
        Ok(self.walk(path).await?.0)
    }

    /// Returns the path, without links, of the folder at a path. The root has the empty path. The inner error says what
    /// else is at the path.
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

    /// Returns the end of a path, and the path of that end without links.
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

    /// Returns the committer's time in seconds since the epoch; `None` for files that no commit has.
    pub async fn commit_time(&self) -> Result<Option<i64>, GitError> {
        let Some(mirror) = self.mirrors.first() else { return Ok(None) };
        let args = ["log", "-1", "--format=%ct", &self.head.to_string(), "--"];
        let read = async {
            let seconds = ask(local(&self.config, &mirror.path).args(args)).await?;
            Ok(Some(seconds_of(&seconds.unwrap_or_default())))
        };
        read.await.map_err(|error: RepoError| error.into_error(&mirror.source))
    }

    /// Makes it the snapshot of a commit whose files its own commit has.
    pub(super) fn of_commit(self, commit: Oid) -> Self {
        Self { commit, ..self }
    }

    /// Returns a reader of the files' contents. It must be called from async code (see [`crate::process`]).
    pub fn blobs(&self) -> Result<Blobs, GitError> {
        let (mirrors, objects, git_dir) = (self.mirrors.clone(), self.objects.clone(), self.git_dir.clone());
        Blobs::start(&self.config, mirrors, objects, git_dir, self.inline.clone())
    }

    /// Returns true if the only file came with the job's request, made by [`Git::snapshot_of_file`].
    pub fn is_of_request(&self) -> bool {
        self.mirrors.is_empty()
    }

    /// Returns true if the snapshot has a `.git`, made by [`Git::git_dir`].
    pub fn has_git_dir(&self) -> bool {
        self.git_dir.is_some()
    }
}

/// Parses the seconds that Git prints for a commit's time. A commit without a time counts as made at 0, and a time may
/// have any number of digits.
fn seconds_of(printed: &[u8]) -> i64 {
    match printed.trim_ascii() {
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(i64::MAX)
        }
        text => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}

impl Git {
    /// Reads the commit's tree, fetches the submodules and LFS files that are not here yet, converts what a checkout
    /// converts, and sets the time of each file. `times_key` names the table (the repository).
    pub async fn snapshot(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, GitError> {
        self.snapshot_with(mirror, commit, times_key, SnapshotOptions::default(), secrets, log).await
    }

    /// Makes a snapshot like [`Git::snapshot`], with further choices.
    pub async fn snapshot_with(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        options: SnapshotOptions<'_>,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, GitError> {
        let id = commit.to_string();
        match self.try_snapshot(mirror, commit, times_key, &options, secrets, log).await {
            Err(RepoError::Damaged(what)) => {
                self.heal(mirror, Some(&id), &what).await?;
                let snapshot = self.try_snapshot(mirror, commit, times_key, &options, secrets, log).await;
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
        options: &SnapshotOptions<'_>,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, RepoError> {
        let SnapshotOptions { git_dir, memory } = options;
        memory.restart();
        let mut parts = self.parts(mirror, commit, secrets, memory, log).await?;
        for part in &mut parts {
            let checked_out = self.check_out(part, memory, log).await;
            part.named(checked_out)?;
        }
        let (has_git_dir, held) = (git_dir.is_some(), memory.clone());
        let (own, mut entries, mirrors) = compute(move || {
            let _held = held;
            let own = (parts.len() > 1 || has_git_dir).then(|| Arc::new(parts[0].entries.clone()));
            let (entries, mirrors) = joined(parts);
            (own, entries, mirrors)
        })
        .await;
        if let Some(git_dir) = git_dir {
            let own = own.as_ref().map_or(&[][..], |own| own);
            let (more, held) = (git_dir.entries(&self.config, mirror, own, log).await?, memory.clone());
            entries = compute(move || {
                let _held = held;
                entries.extend(more);
                entries.sort_unstable_by(|a, b| path_order(&a.path, &b.path));
                entries
            })
            .await;
        }
        let (generation, entries) = self.set_times(mirror, commit, times_key, own, entries, memory).await?;
        // Other jobs get the memory that the listing needed for a moment.
        memory.shrink(memory_of(&entries));
        let objects = self.lfs.store.clone();
        let (git_dir, config, inline) = (git_dir.cloned(), self.config.clone(), Bytes::new());
        let (commit, head, _memory) = (*commit, *commit, memory.clone());
        Ok(Snapshot { commit, head, entries, generation, mirrors, objects, git_dir, inline, config, _memory })
    }
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
