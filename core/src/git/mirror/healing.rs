//! Mirrors that cannot be read are fetched anew. If the new copy cannot be read either, the repository itself has the
//! flaw.

use std::time::{Duration, Instant};

use super::{Mirror, MirrorState, Silence};
use crate::git::errors::RepoError;
use crate::git::{Git, GitError};

/// Time for which a repository with a flaw of its own is not fetched anew. The limit is needed because whoever pushes
/// chooses what the repository contains.
const FUTILE_FOR: Duration = Duration::from_secs(3600);

impl MirrorState {
    pub(super) fn is_refetch_futile(&self) -> bool {
        self.futile_since.is_some_and(|since| since.elapsed() < FUTILE_FOR)
    }
}

impl Git {
    /// Fetches the mirror anew because something in it cannot be read, and then `wanted`, if no branch has it.
    pub(in crate::git) async fn heal(&self, mirror: &Mirror, wanted: Option<&str>, what: &str) -> Result<(), GitError> {
        if mirror.has_tarballs() {
            mirror.distrust();
            return Err(GitError::damaged(what, &mirror.source));
        }
        let remote = mirror.source.remote()?;
        let mut state = self.lock(mirror).await;
        if state.is_refetch_futile() {
            return Err(GitError::flawed(what, &mirror.source));
        }
        state.number = None;
        let number = self.next_fetch_number();
        self.fetch_anew(mirror, &remote, what, &mut state, &Silence).await?;
        state.number = Some(number);
        match wanted {
            Some(id) => self.fetch_commit(mirror, &remote, id, &mut state, &Silence).await,
            None => Ok(()),
        }
    }

    /// Marks a mirror in which something cannot be read, so that the next job fetches it anew.
    pub(in crate::git) async fn distrust(&self, mirror: &Mirror, what: &str) -> Result<(), GitError> {
        if self.lock(mirror).await.is_refetch_futile() {
            return Err(GitError::flawed(what, &mirror.source));
        }
        mirror.distrust();
        Ok(())
    }

    /// Converts the result of reading a mirror after [`Git::heal`]. A flaw that is still there belongs to the
    /// repository.
    pub(in crate::git) async fn healed<T>(&self, mirror: &Mirror, read: Result<T, RepoError>) -> Result<T, GitError> {
        match read {
            Err(RepoError::Damaged(what)) => {
                self.lock(mirror).await.futile_since = Some(Instant::now());
                Err(GitError::flawed(&what, &mirror.source))
            }
            read => read.map_err(|error| error.into_error(&mirror.source)),
        }
    }
}
