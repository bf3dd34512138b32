//! The bare repositories that we fetch into. They have heads and tags only, because with `refs/pull/*` a fork's commits
//! would become buildable. A mirror is a cache: one that Git cannot read is fetched anew.
//!
//! `transfer.fsckObjects` stays off, because it refuses old repositories for flaws that do no harm here (zero-padded
//! modes, a missing space before a date). It protects a checkout, which we never make; the names in a tree are checked
//! when the tree is read.

mod announced;
mod fetch;
mod healing;
pub(super) mod lease;
mod origin;
mod refs;
mod submodule;
mod sweep;
pub(super) mod upkeep;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::OwnedMutexGuard;

use super::errors::RepoError;
use super::transport::remote::Remote;
use super::{CommitSpec, Git, GitError, GitRef, RepoSource, spelling};
use crate::model::{LogSink, RepoName};

use lease::MirrorLease;
pub(super) use origin::{ORIGIN, TARBALLS};
pub(super) use submodule::access;
pub(super) use sweep::{remove, sweep};

/// A mirror that holds the wanted commit. It is cheap to clone, and stays where it is as long as one of its clones
/// lives.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub path: PathBuf,
    pub source: RepoSource,
    _lease: Arc<MirrorLease>,
}

/// Facts about a mirror that a process knows while it runs. The mirror's lock protects them.
#[derive(Debug, Default)]
pub(super) struct MirrorState {
    /// True if no Git was killed since the lock files were swept.
    pub swept: bool,
    /// Time of the last full fetch that brought the same flaw again, which is therefore the repository's own.
    futile_since: Option<Instant>,
    /// Number of the fetch that found the branches and tags. None if that fetch failed, or was made before the start.
    pub number: Option<u64>,
}

impl Mirror {
    /// Makes the next job fetch the mirror anew.
    pub(super) fn distrust(&self) {
        // A failed removal is ignored, because a broken disk causes other errors soon.
        let _ = fs::remove_file(self.path.join(ORIGIN));
    }

    /// Returns true for a repository of tarballs, which no Git server has.
    pub(super) fn has_tarballs(&self) -> bool {
        self.path.to_string_lossy().ends_with(TARBALLS)
    }

    /// Records that the mirror is used now.
    fn touch(&self) {
        // An error is ignored, because only the order in which mirrors are removed depends on the time.
        let _ = fs::File::options()
            .append(true)
            .open(self.path.join(ORIGIN))
            .and_then(|file| file.set_modified(SystemTime::now()));
    }

    fn is_from(&self, remote: &Remote) -> bool {
        fs::read(self.path.join(ORIGIN)).is_ok_and(|url| url == remote.url.as_bytes())
    }
}

impl RepoSource {
    pub(super) fn remote(&self) -> Result<Remote, GitError> {
        let repo = &self.repo;
        Remote::parse(&self.url)
            .map_err(|why| GitError::refused(format!("the URL of {repo} cannot be used: {why}; correct GIT_URL")))
    }
}

impl Git {
    /// Brings the mirror up to date, unless it has the wanted commit already. Fails if the branch (or tag) whose head
    /// is wanted does not exist. [`Git::resolve`] checks a commit that is named by its id; such a commit is fetched by
    /// its id if it `is_granted`.
    pub async fn clone<'a>(
        &self,
        source: &RepoSource,
        branch: impl Into<Option<&'a GitRef>>,
        commit: &CommitSpec,
        is_granted: bool,
        log: &dyn LogSink,
    ) -> Result<Mirror, GitError> {
        self.clone_at(source, branch.into(), commit, is_granted, true, log).await
    }

    /// Does the same as [`Git::clone`]. Unless `may_use_cached`, it fetches even if the mirror has the commit, because
    /// a branch that a request only claims is checked against its present head.
    pub async fn clone_at(
        &self,
        source: &RepoSource,
        branch: Option<&GitRef>,
        commit: &CommitSpec,
        is_granted: bool,
        may_use_cached: bool,
        log: &dyn LogSink,
    ) -> Result<Mirror, GitError> {
        let remote = source.remote()?;
        let mirror = self.mirror(self.mirror_path(&source.repo), source.clone());
        let mut state = self.lock(&mirror).await;
        if let CommitSpec::Full(id) = commit
            && may_use_cached
            && mirror.is_from(&remote)
            && self.has(&mirror, branch, id.as_str(), is_granted).await
        {
            log.write(format!("The mirror has {id} already: nothing to fetch\n").as_bytes());
            return Ok(mirror);
        }
        log.write(format!("Fetching the branches and tags of {}\n", remote.url).as_bytes());
        self.update(&mirror, &remote, &mut state, log).await?;
        match (commit, branch) {
            (CommitSpec::Head, Some(branch)) => {
                let tip = match self.tip(&mirror, branch).await {
                    Err(RepoError::Damaged(what)) if !state.is_refetch_futile() => {
                        self.fetch_anew(&mirror, &remote, &what, &mut state, log).await?;
                        self.tip(&mirror, branch).await
                    }
                    tip => tip,
                };
                let tip = tip.map_err(|error| match error {
                    RepoError::Damaged(what) => {
                        state.futile_since = Some(Instant::now());
                        GitError::flawed(&what, source)
                    }
                    error => error.into_error(source),
                });
                if tip?.is_none() {
                    return Err(GitError::no_branch(branch, source, &self.branches(&mirror).await));
                }
            }
            (CommitSpec::Full(id), _) if is_granted => {
                self.fetch_commit(&mirror, &remote, id.as_str(), &mut state, log).await?;
            }
            _ => {}
        }
        Ok(mirror)
    }

    fn mirror_path(&self, repo: &RepoName) -> PathBuf {
        self.config.dir.join("mirrors").join(spelling::folder(&self.first_spelling(repo)))
    }

    /// Takes a lease before the lock, because whoever has the lock looks for leases before changing the mirror.
    pub(super) fn mirror(&self, path: PathBuf, source: RepoSource) -> Mirror {
        Mirror { _lease: self.leases.take(&path), path, source }
    }

    pub(super) async fn lock(&self, mirror: &Mirror) -> OwnedMutexGuard<MirrorState> {
        let lock = self.mutex(&mirror.path).lock_owned().await;
        mirror.touch();
        lock
    }

    /// Returns the lock of a mirror that nobody uses or waits for; none if somebody does.
    pub(super) fn lock_unused(&self, mirror: &Path) -> Option<OwnedMutexGuard<MirrorState>> {
        let lock = self.mutex(mirror).try_lock_owned().ok()?;
        (!self.leases.is_leased(mirror)).then_some(lock)
    }

    fn mutex(&self, mirror: &Path) -> Arc<tokio::sync::Mutex<MirrorState>> {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(mirrors.entry(mirror.into()).or_default())
    }
}

struct Silence;
impl LogSink for Silence {
    fn write(&self, _: &[u8]) {}
}
