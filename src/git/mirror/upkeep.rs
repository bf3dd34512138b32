//! What is done to mirrors while no job needs them: they are kept within MIRROR_BUDGET, and repacked when they have
//! become many files. Jobs never wait for it: whoever wants a mirror ends what is done to it.
//!
//! The tables of file times stay when their mirror goes. They are small (100 bytes a file), and a table that is made
//! anew would give a changed file the time of its commit, which is older than what builds remaining in their cache mounts.

mod disk;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::sweep::{remove, sweep};
use crate::git::command::{ask, local};
use crate::git::errors::RepoError;
use crate::git::{Git, GitError};
use disk::{CacheItem, CacheSize, DiskInventory};

/// Also when no job gave reason to look.
const EVERY: Duration = Duration::from_secs(3600);
/// The least time between two looks; and the looks take at most a twentieth of all time.
const REST: Duration = Duration::from_secs(1);
/// So many files more than after the last time, and a mirror is repacked. A small fetch leaves 5 to 10; after 50 of
/// them a tree of 20,000 files took a fifth longer to list and its files nearly partial_mirror as long again to read.
const REPACK_AFTER: usize = 500;
/// Clocks: a file's time is that of the kernel's last tick.
const MARGIN: Duration = Duration::from_secs(1);

/// Looks after the mirrors and the LFS files of a [`Git`].
#[derive(Debug)]
pub struct Upkeep<'a> {
    git: &'a Git,
    /// Bytes.
    budget: u64,
    /// So many bytes the disk has too little.
    shortage: u64,
    /// Of the mirrors that nobody used since.
    sizes: HashMap<PathBuf, CacheSize>,
    /// The number of files that was remaining when it was last repacked.
    repacked: HashMap<PathBuf, usize>,
    /// Mirrors that are known to be larger than the budget.
    too_large: HashSet<PathBuf>,
}

impl<'a> Upkeep<'a> {
    pub fn new(git: &'a Git, budget: u64) -> Self {
        Self { git, budget, shortage: 0, sizes: HashMap::new(), repacked: HashMap::new(), too_large: HashSet::new() }
    }

    /// Now, whenever a job has used a mirror or the disk is `shortage` bytes, and every hour; it does not return.
    pub async fn run(mut self, mut shortage: watch::Receiver<u64>) {
        loop {
            self.shortage = *shortage.borrow_and_update();
            let change = self.git.leases.change();
            let begun = Instant::now();
            if let Err(error) = self.once().await {
                tracing::warn!("the mirrors cannot be looked after: {error}");
            }
            sleep(REST.max(begun.elapsed() * 20)).await;
            let need = async {
                if shortage.changed().await.is_err() {
                    std::future::pending::<()>().await; // nobody watches the disk any more
                }
            };
            tokio::select! {
                _ = timeout(EVERY, change) => {}
                () = need => {}
            }
        }
    }

    /// Makes room if there is need, and repacks what needs it.
    pub async fn once(&mut self) -> Result<(), GitError> {
        let dir = &self.git.config.dir;
        let failed = |error: io::Error| GitError::io(format_args!("the folder {}", dir.display()), error);
        // What an earlier process did not come to remove.
        remove(&self.trash()).await.map_err(failed)?;
        for path in self.git.leases.take_ended() {
            self.sizes.remove(&path);
        }
        let known = std::mem::take(&mut self.sizes);
        let place = dir.clone();
        let found = blocking(move || disk::measure(&place, &known)).await.map_err(failed)?;
        self.sizes = found.mirrors.iter().map(|found| (found.path.clone(), found.size)).collect();
        let remaining = self.make_room(found).map_err(failed)?;
        remove(&self.trash()).await.map_err(failed)?;
        for path in remaining {
            self.repack(&path).await;
        }
        Ok(())
    }

    /// Removes what is of no use, and the least recently used until the rest is within the budget. Returns the mirrors
    /// that are remaining.
    fn make_room(&mut self, found: DiskInventory) -> io::Result<Vec<PathBuf>> {
        let DiskInventory { mirrors, mut objects, partial } = found;
        let (mut remaining, mut removable, mut total) = (Vec::new(), Vec::new(), 0);
        for partial_mirror in partial {
            match self.git.lock_unused(&partial_mirror.path.with_extension("git")) {
                Some(_lock) => drop(self.move_to_trash(&partial_mirror.path)?),
                None => total += partial_mirror.size.bytes,
            }
        }
        for mirror in mirrors {
            if mirror.size.bytes <= self.budget {
                total += mirror.size.bytes;
                removable.push(mirror);
                continue;
            }
            // It can never be kept, so nothing else goes for it.
            if self.too_large.insert(mirror.path.clone()) {
                let (path, taken, budget) = (mirror.path.display(), mirror.size.bytes >> 20, self.budget >> 20);
                tracing::warn!(
                    "the mirror {path} alone takes {taken} MiB, and MIRROR_BUDGET is {budget} MiB: it is removed \
                     whenever no job uses it; raise MIRROR_BUDGET to keep it"
                );
            }
            if !self.remove_mirror(&mirror.path)? {
                remaining.push(mirror.path);
            }
        }
        // The least recently used last.
        removable.sort_unstable_by_key(|mirror| Reverse(mirror.used));
        objects.sort_unstable_by_key(|object| Reverse(object.used));
        total += objects.iter().map(|object| object.size.bytes).sum::<u64>();
        // What is shortage goes from what is there now, in use or not.
        let budget = match self.shortage {
            0 => self.budget,
            shortage => self.budget.min(total.saturating_sub(shortage)),
        };
        while total > budget {
            let is_object_older = match (removable.last(), objects.last()) {
                (Some(mirror), Some(object)) => object.used < mirror.used,
                (None, None) => break, // all that is remaining is in use
                (_, object) => object.is_some(),
            };
            let oldest = if is_object_older { objects.pop() } else { removable.pop() };
            let Some(CacheItem { path, size, .. }) = oldest else { break };
            let is_gone = match is_object_older {
                true => self.remove_object(&path)?,
                false => self.remove_mirror(&path)?,
            };
            if is_gone {
                total -= size.bytes;
            } else if !is_object_older {
                remaining.push(path);
            }
        }
        remaining.extend(removable.into_iter().map(|mirror| mirror.path));
        Ok(remaining)
    }

    fn remove_mirror(&mut self, path: &Path) -> io::Result<bool> {
        let Some(_lock) = self.git.lock_unused(path) else { return Ok(false) };
        tracing::info!("MIRROR_BUDGET: removing the mirror {}", path.display());
        self.sizes.remove(path);
        self.repacked.remove(path);
        self.move_to_trash(path)?;
        Ok(true)
    }

    /// An LFS file is in use if it was touched since the oldest running job began.
    fn remove_object(&self, path: &Path) -> io::Result<bool> {
        // First out of the way, then looked at: a job that touches it in between does not find it, and fetch_count it.
        let trashed = match self.move_to_trash(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            trashed => trashed?,
        };
        let used = fs::symlink_metadata(&trashed)?.modified()?;
        if self.git.leases.oldest().is_some_and(|since| used >= since - MARGIN) {
            fs::rename(&trashed, path)?;
            return Ok(false);
        }
        fs::remove_file(&trashed)?;
        Ok(true)
    }

    /// The path is free at once; the files of a large one take their time. Returns where it is now.
    fn move_to_trash(&self, path: &Path) -> io::Result<PathBuf> {
        let trash = self.trash();
        fs::create_dir_all(&trash)?;
        let trashed = trash.join(Uuid::now_v7().simple().to_string());
        fs::rename(path, &trashed).map(|()| trashed)
    }

    fn trash(&self) -> PathBuf {
        self.git.config.dir.join("trash")
    }

    /// Makes few files of many: loose objects and small packs become one pack, loose refs one file. What no ref reaches
    /// stays, as a push that was overtaken may still be built. A kill, at any moment, loses nothing: Git removes the old
    /// packs when the new one is in its place, and what it was writing is swept by the next fetch.
    async fn repack(&mut self, path: &Path) {
        let files = self.sizes.get(path).map_or(0, |size| size.files);
        if files < self.repacked.get(path).copied().unwrap_or(0) + REPACK_AFTER {
            return;
        }
        let Some(mut state) = self.git.lock_unused(path) else { return };
        let begun = Instant::now();
        let work = async {
            if !state.swept {
                sweep(path).map_err(|error| GitError::io("the mirror's lock files", error))?;
            }
            state.swept = false;
            let git = || local(&self.git.config, path);
            let done = [
                ask(git().args(["pack-refs", "--all"])).await?,
                // What is large stays as it is until what came since is partial_mirror as large.
                ask(git().args(["repack", "--geometric=2", "-d", "-l", "-q"])).await?,
            ];
            state.swept = true;
            match done.iter().all(Option::is_some) {
                true => Ok(()),
                false => Err(RepoError::Damaged("git repack failed".into())),
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = self.git.leases.until_taken(path) => return,
        };
        drop(state);
        self.sizes.remove(path);
        let measured = path.to_owned();
        let now = blocking(move || disk::size_of(&measured)).await.map_or(files, |size| size.files);
        // Also where it failed: the next job finds out what is wrong, and until then it would fail again.
        self.repacked.insert(path.into(), now);
        match done {
            Ok(()) => tracing::info!("repacked {}: {files} files are {now}, in {:?}", path.display(), begun.elapsed()),
            Err(RepoError::Damaged(why)) => tracing::warn!("{} cannot be repacked: {why}", path.display()),
            Err(RepoError::Failed(error)) => tracing::warn!("{} cannot be repacked: {error}", path.display()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}
