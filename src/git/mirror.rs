//! The bare repositories that we fetch into: heads and tags alone (with `refs/pull/*` a fork's commits would become
//! buildable). A mirror is a cache: one that Git cannot read is fetched anew.
//!
//! `transfer.fsckObjects` stays off: it refuses old repositories for flaws that hurt nobody here (zero-padded modes,
//! a missing space before a date), and what it guards is a checkout, which we never make; the names in a tree are
//! checked as it is read.

mod fetch;
mod healing;
pub(super) mod lease;
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
pub(super) use submodule::access;

/// A mirror that holds the wanted commit; cheap to clone. As long as one of its clones lives, it stays where it is.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub path: PathBuf,
    pub source: RepoSource,
    _lease: Arc<MirrorLease>,
}

/// In this file in a mirror is the URL that all of it came from. Without it the mirror is not to be trusted. Its time
/// is that of the mirror's last use.
pub(super) const ORIGIN: &str = "image-factory-origin";

/// What is known of a mirror as long as we run; behind its lock.
#[derive(Debug, Default)]
pub(super) struct MirrorState {
    /// Nothing was cut off since its lock files were swept.
    pub swept: bool,
    /// When all of it was last fetched anew and was as before: the flaw is the repository's own, not the mirror's.
    futile_since: Option<Instant>,
    /// The number of the fetch that its branches and tags are of. None if that failed, or was made before the start.
    pub number: Option<u64>,
}

impl Mirror {
    /// Have it fetched anew next time.
    pub(super) fn distrust(&self) {
        // If it cannot be removed the disk has more to say soon.
        let _ = fs::remove_file(self.path.join(ORIGIN));
    }

    /// Notes that it is used now.
    fn touch(&self) {
        // Only the order in which mirrors are removed depends on it.
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
    /// Brings the mirror up to date, or finds that it has what is wanted. Fails when the branch (or tag) whose head is
    /// wanted does not exist; about a commit that is named by its id [`Git::resolve`] decides, and a commit that
    /// `is_granted` is asked for by its id.
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

    /// The same; unless `may_use_cached`, a fetch is made also where the mirror has the commit, because a branch that a request
    /// only claims is judged by where it is now.
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
                    RepoError::Failed(error) => error,
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

    /// Takes a lease, before the lock: who has the lock looks for leases before anything is done to the mirror.
    fn mirror(&self, path: PathBuf, source: RepoSource) -> Mirror {
        Mirror { _lease: self.leases.take(&path), path, source }
    }

    pub(super) async fn lock(&self, mirror: &Mirror) -> OwnedMutexGuard<MirrorState> {
        let lock = self.mutex(&mirror.path).lock_owned().await;
        mirror.touch();
        lock
    }

    /// The lock of a mirror that nobody uses or waits for; none if somebody does.
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
