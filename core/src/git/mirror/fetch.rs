//! Fetches into a mirror: its branches and tags, the whole repository into a new folder, or one commit by its id.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use super::announced::{self, AnnouncedRefs};
use super::sweep::{remove, sweep};
use super::{Mirror, MirrorState, ORIGIN, refs};
use crate::git::command::{ask, exhausted, local, network};
use crate::git::errors::{DISK_RESERVE, IdRefusal, MANY_REFS, RepoError, id_refusal, is_other_format, last_words};
use crate::git::transport::redirect;
use crate::git::transport::remote::Remote;
use crate::git::{Fault, Git, GitError, Oid, RepoSource};
use crate::model::LogSink;

impl Git {
    pub(super) async fn update(
        &self,
        mirror: &Mirror,
        remote: &Remote,
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        // A fetch that fails may have moved some of the refs.
        state.number = None;
        let number = self.next_fetch_number();
        let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        if !mirror.is_from(remote) {
            self.fetch_anew(mirror, remote, "it is new, or from another URL", state, log).await?;
        } else {
            match self.fetch(&mirror.path, mirror, remote, &refs, state, log).await {
                Ok(()) => {}
                Err(RepoError::Failed(error)) => return Err(error),
                Err(damaged) if state.is_refetch_futile() => {
                    return Err(GitError::flawed(&damaged.to_string(), &mirror.source));
                }
                Err(damaged) => self.fetch_anew(mirror, remote, &damaged.to_string(), state, log).await?,
            }
        }
        state.number = Some(number);
        Ok(())
    }

    /// Fetches into a new folder, which replaces the old one when it is complete.
    pub(super) async fn fetch_anew(
        &self,
        mirror: &Mirror,
        remote: &Remote,
        why: &str,
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        let (path, repo) = (&mirror.path, &mirror.source.repo);
        tracing::info!(mirror = %repo, why, "fetching all of a repository");
        let failed =
            |error: io::Error| GitError::io(format_args!("the mirror {} cannot be written", path.display()), error);
        let (new, old) = (path.with_extension("new"), path.with_extension("old"));
        remove(&old).await.map_err(failed)?;
        if let Err(error) = self.fetch_into(&new, mirror, remote, state, log).await {
            // The next fetch begins anew. The upkeep removes what cannot be removed now.
            let _ = remove(&new).await;
            return Err(error);
        }
        fs::write(new.join(ORIGIN), &remote.url).map_err(failed)?;
        if path.exists() {
            fs::rename(path, &old).map_err(failed)?;
        }
        fs::rename(&new, path).map_err(failed)?;
        remove(&old).await.map_err(failed)
    }

    /// Fetches all of a repository into the folder `new`, in the object format that the repository has.
    async fn fetch_into(
        &self,
        new: &Path,
        mirror: &Mirror,
        remote: &Remote,
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        let failed =
            |error: io::Error| GitError::io(format_args!("the new mirror {} cannot be written", new.display()), error);
        for format in ["sha1", "sha256"] {
            remove(new).await.map_err(failed)?;
            fs::create_dir_all(new).map_err(failed)?;
            let init =
                local(&self.config, new).args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]);
            let made = ask(init.arg(format!("--object-format={format}"))).await;
            made.map_err(|error| error.into_error(&mirror.source))?;
            let refs = ["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"];
            match self
                .fetch(new, mirror, remote, &refs, &mut MirrorState { swept: true, ..MirrorState::default() }, log)
                .await
            {
                Ok(()) => break,
                Err(RepoError::OtherFormat) if format == "sha1" => continue,
                Err(RepoError::Failed(error)) => return Err(error),
                Err(damaged) => {
                    state.futile_since = Some(Instant::now());
                    let repo = &mirror.source.repo;
                    return Err(GitError::refused(format!("{repo} cannot be fetched from {}: {damaged}", remote.url)));
                }
            }
        }
        Ok(())
    }

    /// Fetches, by its id, a commit that no branch has any more. A server that has no commit of this id is no error
    /// here; a server that gives out no commit by its id is one.
    pub(super) async fn fetch_commit(
        &self,
        mirror: &Mirror,
        remote: &Remote,
        id: &str,
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        if id.parse::<Oid>().is_err()
            || self.object(mirror, &format!("{id}^{{}}")).await.is_ok_and(|found| found.is_some())
        {
            return Ok(());
        }
        match self.fetch(&mirror.path, mirror, remote, &[id], state, log).await {
            Err(RepoError::Failed(error)) => Err(error),
            Ok(()) | Err(RepoError::Damaged(_) | RepoError::OtherFormat) => Ok(()),
        }
    }

    async fn fetch(
        &self,
        dir: &Path,
        mirror: &Mirror,
        remote: &Remote,
        refs: &[&str],
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), RepoError> {
        let (source, remote) = (&mirror.source, &self.config.authorized(remote));
        let failed = |what| move |error: io::Error| GitError::io(what, error);
        if !state.swept {
            sweep(dir).map_err(failed("the mirror's lock files cannot be removed"))?;
        }
        let connection = self.connect(source, remote, log).await?;
        // Git may be killed from here on, and then its lock files stay.
        state.swept = false;
        // The default would walk the history to report forced updates, which nobody here reads.
        let mut quiet = vec!["-c", "advice.fetchShowForcedUpdates=false"];
        if dir != mirror.path {
            // A new mirror is stored as one pack. Later fetches are small and are sooner written as single objects.
            quiet.extend(["-c", "fetch.unpackLimit=1"]);
        }
        let by_id = refs.iter().all(|name| !name.contains(':'));
        let mut options =
            vec!["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        // Without this option, which `git clone` uses too, Git skips the refs of a shallow repository and ends with 0.
        options.push("--update-shallow");
        if !by_id && dir.join("shallow").exists() {
            // The repository may have its whole history by now, and the mirror then gets it.
            options.push("--unshallow");
        }
        let announced = (!by_id).then(|| AnnouncedRefs::open(&self.config.run_dir)).transpose();
        let mut announced = announced.map_err(failed("the pipe for the server's refs cannot be made"))?;
        let mut at = Cow::Borrowed(remote);
        let finished = loop {
            let more = ["--no-recurse-submodules", "--no-show-forced-updates", "--", &at.url];
            let program = network(&self.config, dir, &at, &connection).args(&quiet).args(&options);
            let mut program = program.args(more).args(refs);
            if let Some(announced) = &announced {
                program = program.env(announced::VARIABLE, announced.path());
            }
            let too_many = async {
                match &mut announced {
                    Some(announced) => announced.exceed(self.config.bounds.refs).await,
                    None => std::future::pending().await,
                }
            };
            let finished = tokio::select! {
                finished = program.run(log) => finished.map_err(GitError::from)?,
                () = too_many => return Err(MANY_REFS.error(&[&source.repo, &self.config.bounds.refs]).into()),
                left = watch_growth(dir, self.config.bounds.disk_reserve, log) => {
                    // Nothing starts while the disk is that full, so the incomplete pack goes at once.
                    let removed = sweep(dir);
                    let error = DISK_RESERVE.error(&[&source.repo, &left, &self.config.bounds.disk_reserve]);
                    return Err(removed.map_or_else(failed("an incomplete pack cannot be removed"), |()| error).into());
                }
            };
            // CLONE_TIMEOUT ends a circle of redirects.
            match redirect::next(&self.config, &at, &finished.stderr).await? {
                Some(next) => {
                    log.write(format!("{} is now {}\n", at.url, next.url).as_bytes());
                    at = Cow::Owned(next);
                }
                None => break finished,
            }
        };
        if let Some(error) = exhausted(&finished) {
            return Err(error.into());
        }
        let Some(exit_code) = finished.status.code() else {
            let message = format!("git fetch was killed ({}) while it fetched {}", finished.status, source.repo);
            return Err(GitError { exit_code: 1, message, fault: Fault::Host }.into());
        };
        state.swept = true;
        if exit_code == 0 {
            return match finished.stderr.lines().find(|line| line.starts_with("warning: rejected ")) {
                Some(rejected) => {
                    let (repo, rejected) = (&source.repo, rejected.trim_start_matches("warning: "));
                    let message = format!("{repo} was not fetched ({rejected}): give its Git server the whole history");
                    Err(GitError::refused(message).into())
                }
                None if by_id => Ok(()),
                None => check_refs(dir, source, self.config.bounds.refs).await,
            };
        }
        if by_id {
            match id_refusal(&finished.stderr) {
                Some(IdRefusal::Always) => return Err(GitError::id_refused(&refs.join(" "), source).into()),
                Some(IdRefusal::This) => return Err(RepoError::Damaged(last_words(&finished.stderr).into())),
                None => {}
            }
        }
        if is_other_format(&finished.stderr) {
            // The server usually breaks off after these words, which alone would look like a lost connection.
            return Err(RepoError::OtherFormat);
        }
        match self.explain(&connection, &finished.stderr, exit_code, source, remote) {
            Some(error) => Err(error.into()),
            None => Err(RepoError::Damaged(last_words(&finished.stderr).into())),
        }
    }
}

/// Fails if a mirror has more refs than it may have (MAX_REFS).
async fn check_refs(dir: &Path, source: &RepoSource, most: u64) -> Result<(), RepoError> {
    let place = dir.to_owned();
    let counted = tokio::task::spawn_blocking(move || refs::are_more(&place, most)).await;
    let failed = |error: io::Error| GitError::io(format_args!("the refs of the mirror {}", dir.display()), error);
    match counted.map_err(io::Error::from).flatten().map_err(failed)? {
        true => Err(MANY_REFS.error(&[&source.repo, &most]).into()),
        false => Ok(()),
    }
}

/// Reports progress to the log while the pack grows, because Git says nothing while it fetches. Returns the free bytes of
/// the disk when they are fewer than `reserve`.
async fn watch_growth(dir: &Path, reserve: u64, log: &dyn LogSink) -> u64 {
    let packs = dir.join("objects/pack");
    let mut before = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let size = |entry: fs::DirEntry| entry.metadata().ok().map(|file| (entry.file_name(), file.len()));
        let now = fs::read_dir(&packs).map(|found| found.flatten().filter_map(size).collect::<BTreeMap<_, _>>()).ok();
        if now != before {
            log.alive();
        }
        before = now;
        let free = rustix::fs::statvfs(dir).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if free < reserve {
            return free;
        }
    }
}
