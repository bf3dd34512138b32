//! The files of a commit from a tarball of GitHub's API, for repositories that no Git server shows. The tarball is streamed
//! into a bare repository of its own, as a commit without a parent, so that a snapshot is made of it as of any commit. Files
//! that came with an earlier tarball are stored once.
//!
//! Nothing of a tarball is unpacked into a file system: a path is a name in a tree of Git, and a link is text.

mod download;
#[cfg(fuzzing)]
pub mod fuzzing;
mod names;
mod stream;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::command::{ask, exhausted, local};
use super::errors::last_words;
use super::mirror::{ORIGIN, TARBALLS, remove, sweep};
use super::snapshot::{Snapshot, SnapshotOptions};
use super::{Fault, Git, GitError, MemoryShare, Mirror, Oid, RepoSource};
use crate::model::{CommitId, CommitSpec, LogSink, escape_bidi};
use crate::process::Finished;
use crate::secrets::Secrets;
use names::ref_of;
use unpack::{UnpackError, Unpacked};

/// Content of [`ORIGIN`] in a repository of tarballs.
const FROM_TARBALLS: &str = "tarballs";
/// Pieces of a stream that one side is ahead of the other.
const AHEAD: usize = 4;

/// The files of one commit, stored.
pub struct Tarball {
    /// Commit that the tarball is of.
    pub commit: CommitId,
    pub mirror: Mirror,
    /// Commit that we made of the files.
    head: Oid,
}

impl Git {
    /// Fetches the tarball of a commit, unless it was fetched before. `commit` is an id, or the first digits of one.
    ///
    /// # Errors
    /// GitHub has no such commit for us or cannot be reached, or the tarball is unsafe, too large, or of another commit.
    pub async fn tarball(
        &self,
        source: &RepoSource,
        commit: &CommitSpec,
        log: &dyn LogSink,
    ) -> Result<Tarball, GitError> {
        let digits = match commit {
            CommitSpec::Full(id) if id.as_str().len() == 40 => id.as_str(),
            CommitSpec::Short(digits) => digits,
            CommitSpec::Full(_) | CommitSpec::Head => {
                let why = "a tarball is asked for by a commit's SHA-1 id: send it as after, or set SOURCE=git";
                return Err(GitError::refused(why));
            }
        };
        let repo = self.first_spelling(&source.repo);
        let folder = format!("{}{TARBALLS}", repo.name());
        let path = self.config.dir.join("mirrors").join(repo.owner()).join(folder);
        let mirror = self.mirror(path, source.clone());
        let mut state = self.lock(&mirror).await;
        self.prepare_tarballs(&mirror).await?;
        if let CommitSpec::Full(id) = commit
            && let Some(head) = self.tarball_head(&mirror, id.as_str()).await?
        {
            log.write(format!("The tarball of {id} is here already: nothing to fetch\n").as_bytes());
            return Ok(Tarball { commit: id.clone(), mirror, head });
        }
        if !state.swept {
            sweep(&mirror.path).map_err(|e| GitError::io("the leftovers of Git cannot be removed", e))?;
        }
        state.swept = false;
        let unpacked = self.import(&mirror, digits, log).await?;
        state.swept = true;
        let Unpacked { commit, files, bytes, with_attributes } = unpacked;
        log.write(format!("The tarball of {commit} has {files} files, {bytes} bytes\n").as_bytes());
        if let Some(path) = with_attributes {
            let text = "has ACLs or extended attributes in the tarball: they are left out, because Git has none";
            log.write(format!("warning: {} {text}\n", escape_bidi(&path)).as_bytes());
        }
        match self.tarball_head(&mirror, commit.as_str()).await? {
            Some(head) => Ok(Tarball { commit, mirror, head }),
            None => Err(host(format!("Git stored no tree of the tarball of {commit}"))),
        }
    }

    /// Makes a snapshot of a tarball's files, as [`Git::snapshot`] does of a commit's.
    pub async fn snapshot_of_tarball(
        &self,
        tarball: &Tarball,
        times_key: &str,
        memory: MemoryShare,
        secrets: &Secrets,
        log: &dyn LogSink,
    ) -> Result<Snapshot, GitError> {
        let options = SnapshotOptions { memory, ..SnapshotOptions::default() };
        let snapshot = self.snapshot_with(&tarball.mirror, &tarball.head, times_key, options, secrets, log).await?;
        let commit = tarball.commit.as_str().parse().map_err(|error| host(format!("{}: {error}", tarball.commit)))?;
        Ok(snapshot.of_commit(commit))
    }

    /// Returns the address of the API that gives tarballs.
    pub fn tarballs_from(&self) -> String {
        self.config.access.tarballs().map_or(String::new(), |api| api.url.as_str().trim_end_matches('/').to_owned())
    }

    /// Makes the repository of the tarballs if it is missing, or is not complete.
    async fn prepare_tarballs(&self, mirror: &Mirror) -> Result<(), GitError> {
        let (path, origin) = (&mirror.path, mirror.path.join(ORIGIN));
        if fs::read(&origin).is_ok_and(|found| found == FROM_TARBALLS.as_bytes()) {
            return Ok(());
        }
        let failed = |error| GitError::io(format_args!("the folder {}", path.display()), error);
        remove(path).await.map_err(failed)?;
        fs::create_dir_all(path).map_err(failed)?;
        let init = ["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--object-format=sha1"];
        ask(local(&self.config, path).args(init)).await.map_err(|error| error.into_error(&mirror.source))?;
        fs::write(origin, FROM_TARBALLS).map_err(failed)
    }

    async fn tarball_head(&self, mirror: &Mirror, id: &str) -> Result<Option<Oid>, GitError> {
        let found = self.commit(mirror, &ref_of(id)).await;
        found.map_err(|error| error.into_error(&mirror.source))
    }

    /// Streams a tarball from the API into Git. Only a whole one changes the repository.
    async fn import(&self, mirror: &Mirror, digits: &str, log: &dyn LogSink) -> Result<Unpacked, GitError> {
        let repo = &mirror.source.repo;
        let api = self.config.access.tarballs().ok_or_else(|| host("GITHUB_API is not known".into()))?;
        let client = self.lfs.http.client(false, self.config.access.cacert().as_deref())?;
        let response = download::request(&client, &api, repo, digits).await?;
        let (packed, packed_pieces) = mpsc::channel::<Bytes>(AHEAD);
        let (commands, mut git_commands) = mpsc::channel::<Bytes>(AHEAD);
        let (wanted, bounds) = (digits.to_owned(), self.config.bounds);
        let unpacked = spawn_blocking(move || unpack::unpack(packed_pieces, commands, &wanted, bounds));

        let import = ["fast-import", "--quiet", "--done", "--force", "--date-format=raw"];
        let mut git = local(&self.config, &mirror.path).args(import).start()?;
        // Git is dropped before its input, and so killed, because an input that ends early would have it write a report.
        let (mut stdin, git) = (git.stdin(), git);
        let feed = async {
            while let Some(piece) = git_commands.recv().await {
                if let Some(stdin) = &mut stdin
                    && stdin.write_all(&piece).await.is_err()
                {
                    break; // Git has ended, and its words say why.
                }
                log.alive();
            }
            git_commands.close();
            unpacked.await.map_err(|error| host(format!("the tarball cannot be unpacked: {error}")))
        };
        let (downloaded, unpacked) = tokio::join!(download::pass_on(response, packed), feed);
        let unpacked = match (unpacked?, downloaded) {
            (Ok(unpacked), _) => unpacked,
            // A stream that the network broke off is no fault of the tarball's.
            (Err(UnpackError::Broken(_)), Err(error)) => return Err(error),
            (Err(UnpackError::Stopped), _) => {
                drop(stdin);
                let finished = git.finish(None).await?;
                return Err(import_failed(&finished));
            }
            (Err(error), _) => return Err(error.into_error(repo, digits)),
        };
        drop(stdin);
        let finished = git.finish(None).await?;
        match finished.status.success() {
            true => Ok(unpacked),
            false => Err(import_failed(&finished)),
        }
    }
}

fn import_failed(finished: &Finished) -> GitError {
    exhausted(finished).unwrap_or_else(|| host(format!("git fast-import failed: {}", last_words(&finished.stderr))))
}

fn host(message: String) -> GitError {
    GitError { exit_code: 1, message, fault: Fault::Host }
}
