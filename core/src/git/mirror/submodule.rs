//! Mirrors of submodules.

use sha2::{Digest, Sha256};

use super::{Mirror, RepoSource};
use crate::git::submodules::SubmoduleSource;
use crate::git::transport::remote::Remote;
use crate::git::{Git, GitError, Oid};
use crate::model::LogSink;

impl Git {
    /// Returns a mirror that has this commit, whether or not a branch has it. Superprojects share the mirror.
    pub(in crate::git) async fn clone_submodule(
        &self,
        place: &SubmoduleSource,
        commit: &Oid,
        log: &dyn LogSink,
    ) -> Result<Mirror, GitError> {
        let SubmoduleSource { source, remote, .. } = place;
        let name = format!("{}.git", access(source, remote));
        // An owner's name never starts with an @.
        let path = self.config.dir.join("mirrors").join("@submodules").join(name);
        let mirror = self.mirror(path, source.clone());
        let id = commit.to_string();
        let mut state = self.lock(&mirror).await;
        if mirror.is_from(remote) && matches!(self.commit(&mirror, &id).await, Ok(Some(_))) {
            return Ok(mirror);
        }
        log.write(format!("Fetching the branches and tags of {}\n", remote.url).as_bytes());
        self.update(&mirror, remote, &mut state, log).await?;
        self.fetch_commit(&mirror, remote, &id, &mut state, log).await?;
        if self.commit(&mirror, &id).await.map_err(|error| error.into_error(source))?.is_some() {
            return Ok(mirror);
        }
        match self.other_kind(&mirror, &id).await.map_err(|error| error.into_error(source))? {
            Some(kind) => Err(GitError::refused(format!(
                "{id} is no commit of {} but a {kind}: record a commit of it in the superproject",
                remote.url
            ))),
            None => Err(GitError::refused(format!(
                "{} has no commit {id}: push it there, or record another one in the superproject",
                remote.url
            ))),
        }
    }
}

/// Names a URL together with the key that opens it. A mirror or LFS object that was fetched with one key is not given
/// to a job with another key, because a cached private repository would be open to whoever knows its URL.
pub(in crate::git) fn access(source: &RepoSource, remote: &Remote) -> String {
    let key = source.key.as_ref().map(|key| key.fingerprint()).unwrap_or_default();
    hex::encode(&Sha256::digest(format!("{}\0{key}", remote.url))[..16])
}
