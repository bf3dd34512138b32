//! Mirrors that cannot be read are fetched anew. What cannot be read after that is a flaw of the repository itself.

use std::time::{Duration, Instant};

use super::{Mirror, MirrorState, Silence};
use crate::git::errors::RepoError;
use crate::git::{Git, GitError};

/// The time for which a repository with a flaw of its own is not fetched anew. Whoever pushes chooses what is in the repository.
const FUTILE_FOR: Duration = Duration::from_secs(3600);

impl MirrorState {
    pub(super) fn is_refetch_futile(&self) -> bool {
        self.futile_since.is_some_and(|since| since.elapsed() < FUTILE_FOR)
    }
}

impl Git {
    /// Fetches the mirror anew because something in it cannot be read, and `wanted`, if no branch has it.
    pub(in crate::git) async fn heal(&self, mirror: &Mirror, wanted: Option<&str>, what: &str) -> Result<(), GitError> {
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

    /// Has the mirror fetched anew next time because something in it cannot be read.
    pub(in crate::git) async fn distrust(&self, mirror: &Mirror, what: &str) -> Result<(), GitError> {
        if self.lock(mirror).await.is_refetch_futile() {
            return Err(GitError::flawed(what, &mirror.source));
        }
        mirror.distrust();
        Ok(())
    }

    /// The result of reading a mirror after [`Git::heal`]. A flaw that is still there is the repository's own.
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
