//! The bare repositories that we fetch into: heads and tags alone (with `refs/pull/*` a fork's commits would become
//! buildable). A mirror is a cache: one that Git cannot read is fetched anew.
//!
//! `transfer.fsckObjects` stays off: it refuses old repositories for flaws that hurt nobody here (zero-padded modes,
//! a missing space before a date), and what it guards is a checkout, which we never make; the names in a tree are
//! checked as it is read.

mod healing;
pub(super) mod lease;
mod submodule;
pub(super) mod upkeep;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use tokio::sync::OwnedMutexGuard;

use super::command::{ask, local, network};
use super::errors::{IdRefusal, OTHER_FORMAT, RepoError, id_refusal, is_other_format, last_words};
use super::transport::redirect;
use super::transport::remote::Remote;
use super::{CommitSpec, Fault, Git, GitError, GitRef, Oid, RepoSource, spelling};
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
    in_vain: Option<Instant>,
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

    /// The same; unless `may_be_old`, a fetch is made also where the mirror has the commit, because a branch that a request
    /// only claims is judged by where it is now.
    pub async fn clone_at(
        &self,
        source: &RepoSource,
        branch: Option<&GitRef>,
        commit: &CommitSpec,
        is_granted: bool,
        may_be_old: bool,
        log: &dyn LogSink,
    ) -> Result<Mirror, GitError> {
        let remote = source.remote()?;
        let mirror = self.mirror(self.mirror_path(&source.repo), source.clone());
        let mut state = self.lock(&mirror).await;
        if let CommitSpec::Full(id) = commit
            && may_be_old
            && mirror.is_from(&remote)
            && self.has(&mirror, branch, id, is_granted).await
        {
            log.write(format!("The mirror has {id} already: nothing to fetch\n").as_bytes());
            return Ok(mirror);
        }
        log.write(format!("Fetching the branches and tags of {}\n", remote.url).as_bytes());
        self.update(&mirror, &remote, &mut state, log).await?;
        match (commit, branch) {
            (CommitSpec::Head, Some(branch)) => {
                let tip = match self.tip(&mirror, branch).await {
                    Err(RepoError::Damaged(what)) if !state.is_in_vain() => {
                        self.fetch_anew(&mirror, &remote, &what, &mut state, log).await?;
                        self.tip(&mirror, branch).await
                    }
                    tip => tip,
                };
                let tip = tip.map_err(|error| match error {
                    RepoError::Damaged(what) => {
                        state.in_vain = Some(Instant::now());
                        GitError::flawed(&what, source)
                    }
                    RepoError::Failed(error) => error,
                });
                if tip?.is_none() {
                    return Err(GitError::no_branch(branch, source, &self.branches(&mirror).await));
                }
            }
            (CommitSpec::Full(id), _) if is_granted => {
                self.fetch_commit(&mirror, &remote, id, &mut state, log).await?;
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
        (!self.leases.has(mirror)).then_some(lock)
    }

    fn mutex(&self, mirror: &Path) -> Arc<tokio::sync::Mutex<MirrorState>> {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(mirrors.entry(mirror.into()).or_default())
    }

    async fn update(
        &self,
        mirror: &Mirror,
        remote: &Remote,
        state: &mut MirrorState,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        // A fetch that fails may have moved some of the refs.
        state.number = None;
        let number = self.next_number();
        let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        if !mirror.is_from(remote) {
            self.fetch_anew(mirror, remote, "it is new, or from another URL", state, log).await?;
        } else {
            match self.fetch(&mirror.path, mirror, remote, &refs, state, log).await {
                Err(RepoError::Damaged(what)) if state.is_in_vain() => {
                    return Err(GitError::flawed(&what, &mirror.source));
                }
                Err(RepoError::Damaged(what)) => self.fetch_anew(mirror, remote, &what, state, log).await?,
                fetched => fetched.map_err(|error| error.into_error(&mirror.source))?,
            }
        }
        state.number = Some(number);
        Ok(())
    }

    /// Fetches into a new folder, which takes the old one's place when it is complete.
    async fn fetch_anew(
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
        for format in ["sha1", "sha256"] {
            for leftover in [&new, &old] {
                remove(leftover).await.map_err(failed)?;
            }
            fs::create_dir_all(&new).map_err(failed)?;
            let init =
                local(&self.config, &new).args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main"]);
            let made = ask(init.arg(format!("--object-format={format}"))).await;
            made.map_err(|error| error.into_error(&mirror.source))?;
            let refs = ["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"];
            match self
                .fetch(&new, mirror, remote, &refs, &mut MirrorState { swept: true, ..MirrorState::default() }, log)
                .await
            {
                Ok(()) => break,
                Err(RepoError::Damaged(why)) if format == "sha1" && why == OTHER_FORMAT => continue,
                Err(RepoError::Damaged(why)) => {
                    state.in_vain = Some(Instant::now());
                    return Err(GitError::refused(format!("{repo} cannot be fetched from {}: {why}", remote.url)));
                }
                Err(RepoError::Failed(error)) => return Err(error),
            }
        }
        fs::write(new.join(ORIGIN), &remote.url).map_err(failed)?;
        if path.exists() {
            fs::rename(path, &old).map_err(failed)?;
        }
        fs::rename(&new, path).map_err(failed)?;
        remove(&old).await.map_err(failed)
    }

    /// Fetches a commit by its id that no branch has (any more). A server that has none of this id is no error here; one
    /// that gives out nothing by its id is.
    async fn fetch_commit(
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
            Ok(()) | Err(RepoError::Damaged(_)) => Ok(()),
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
        // From here on Git may be killed, and its locks stay.
        state.swept = false;
        // Finding out what was forced costs a walk of the history, and nobody here asks.
        let mut quiet = vec!["-c", "advice.fetchShowForcedUpdates=false"];
        if dir != mirror.path {
            // A new one is one pack; what comes later, in small parts, is sooner written as single objects.
            quiet.extend(["-c", "fetch.unpackLimit=1"]);
        }
        let by_id = refs.iter().all(|name| !name.contains(':'));
        let mut options =
            vec!["fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"];
        // As `git clone` does: without it, Git passes over the refs of a shallow repository, and ends with 0.
        options.push("--update-shallow");
        if !by_id && dir.join("shallow").exists() {
            // The mirror gets what its repository has by now: all of the history, perhaps.
            options.push("--unshallow");
        }
        let mut at = Cow::Borrowed(remote);
        let finished = loop {
            let more = ["--no-recurse-submodules", "--no-show-forced-updates", "--", &at.url];
            let program = network(&self.config, dir, &at, &connection).args(&quiet).args(&options);
            let program = program.args(more).args(refs);
            let finished = tokio::select! {
                finished = program.run(log) => finished.map_err(GitError::from)?,
                never = watch_growth(dir, log) => match never {},
            };
            // It ends: CLONE_TIMEOUT is over a server that sends us round in circles, too.
            match redirect::next(&self.config, &at, &finished.stderr).await? {
                Some(next) => {
                    log.write(format!("{} is now {}\n", at.url, next.url).as_bytes());
                    at = Cow::Owned(next);
                }
                None => break finished,
            }
        };
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
                None => Ok(()),
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
            // Its server breaks off behind these words as a rule, which alone would look like a lost connection.
            return Err(RepoError::Damaged(OTHER_FORMAT.into()));
        }
        match self.explain(&connection, &finished.stderr, exit_code, source, remote) {
            Some(error) => Err(error.into()),
            None => Err(RepoError::Damaged(last_words(&finished.stderr).into())),
        }
    }
}

/// Git says nothing while it fetches; what it receives is a pack that grows.
async fn watch_growth(dir: &Path, log: &dyn LogSink) -> Infallible {
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
    }
}

struct Silence;
impl LogSink for Silence {
    fn write(&self, _: &[u8]) {}
}

async fn remove(dir: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a killed Git left behind: lock files, which block the next one, and halves of packs and objects.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    remove_files(dir, &|name| name.ends_with(b".lock"))?;
    // There alone: a branch may be called tmp_x.
    remove_files(&dir.join("objects"), &|name| name.starts_with(b"tmp_") || name.starts_with(b".tmp-"))
}

fn remove_files(dir: &Path, is_left: &impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_files(&entry.path(), is_left)?;
        } else if is_left(entry.file_name().as_encoded_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
