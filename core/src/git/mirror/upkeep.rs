//! Upkeep of mirrors that no job uses: they are kept within MIRROR_BUDGET, and repacked when they have become many
//! files. Jobs never wait for it, because a job that needs a mirror interrupts the upkeep of it.
//!
//! The tables of file times stay when their mirror is removed. They are small (100 bytes a file), and a new table would
//! give a changed file the time of its commit, which is older than what builds left in their cache mounts.

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

/// Longest time between two rounds, even if no job used a mirror.
const EVERY: Duration = Duration::from_secs(3600);
/// Shortest time between two rounds. The rounds also take at most a twentieth of all time.
const REST: Duration = Duration::from_secs(1);
/// Number of new files since the last repack after which a mirror is repacked. A small fetch leaves 5 to 10; after 50
/// fetches a tree of 20,000 files took a fifth longer to list, and its files nearly half as long again to read.
const REPACK_AFTER: usize = 500;
/// Error of a file's time, which is that of the kernel's last tick.
const MARGIN: Duration = Duration::from_secs(1);

/// Looks after the mirrors and the LFS files of a [`Git`].
#[derive(Debug)]
pub struct Upkeep<'a> {
    git: &'a Git,
    /// Value of MIRROR_BUDGET in bytes.
    budget: u64,
    /// Number of bytes that the disk lacks.
    shortage: u64,
    /// Sizes of the mirrors that nobody has used since they were measured.
    sizes: HashMap<PathBuf, CacheSize>,
    /// Number of files of each mirror after its last repack.
    repacked: HashMap<PathBuf, usize>,
    /// Mirrors that are known to be larger than the budget.
    too_large: HashSet<PathBuf>,
}

impl<'a> Upkeep<'a> {
    pub fn new(git: &'a Git, budget: u64) -> Self {
        Self { git, budget, shortage: 0, sizes: HashMap::new(), repacked: HashMap::new(), too_large: HashSet::new() }
    }

    /// Runs a round now, whenever a job has used a mirror, whenever the number of bytes that the disk lacks changes,
    /// and every hour. It does not return.
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
                    std::future::pending::<()>().await; // Nobody watches the disk any more.
                }
            };
            tokio::select! {
                _ = timeout(EVERY, change) => {}
                () = need => {}
            }
        }
    }

    /// Makes room if there is too little, and repacks the mirrors that need it.
    pub async fn once(&mut self) -> Result<(), GitError> {
        let dir = &self.git.config.dir;
        let failed = |error: io::Error| GitError::io(format_args!("the folder {}", dir.display()), error);
        // A former process may have left files in the trash.
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

    /// Removes incomplete mirrors, and then the least recently used mirrors and LFS files until the rest is within the
    /// budget. Returns the mirrors that remain.
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
            if self.git.spellings.is_left_over(&mirror.path)
                && self.remove_mirror(&mirror.path, "a spelling too many")?
            {
                continue;
            }
            if mirror.size.bytes <= self.budget {
                total += mirror.size.bytes;
                removable.push(mirror);
                continue;
            }
            // A mirror above the budget can never be kept, so nothing else is removed for its sake.
            if self.too_large.insert(mirror.path.clone()) {
                let (path, taken, budget) = (mirror.path.display(), mirror.size.bytes >> 20, self.budget >> 20);
                tracing::warn!(
                    "the mirror {path} alone takes {taken} MiB, and MIRROR_BUDGET is {budget} MiB: it is removed \
                     whenever no job uses it; raise MIRROR_BUDGET to keep it"
                );
            }
            if !self.remove_mirror(&mirror.path, "MIRROR_BUDGET")? {
                remaining.push(mirror.path);
            }
        }
        // The least recently used one comes last.
        removable.sort_unstable_by_key(|mirror| Reverse(mirror.used));
        objects.sort_unstable_by_key(|object| Reverse(object.used));
        total += objects.iter().map(|object| object.size.bytes).sum::<u64>();
        // The bytes that the disk lacks are taken from the present total, which includes what is in use.
        let budget = match self.shortage {
            0 => self.budget,
            shortage => self.budget.min(total.saturating_sub(shortage)),
        };
        while total > budget {
            let is_object_older = match (removable.last(), objects.last()) {
                (Some(mirror), Some(object)) => object.used < mirror.used,
                (None, None) => break, // All the rest is in use.
                (_, object) => object.is_some(),
            };
            let oldest = if is_object_older { objects.pop() } else { removable.pop() };
            let Some(CacheItem { path, size, .. }) = oldest else { break };
            let is_gone = match is_object_older {
                true => self.remove_object(&path)?,
                false => self.remove_mirror(&path, "MIRROR_BUDGET")?,
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

    fn remove_mirror(&mut self, path: &Path, why: &str) -> io::Result<bool> {
        let Some(_lock) = self.git.lock_unused(path) else { return Ok(false) };
        tracing::info!("{why}: removing the mirror {}", path.display());
        self.sizes.remove(path);
        self.repacked.remove(path);
        self.move_to_trash(path)?;
        Ok(true)
    }

    /// Removes an LFS file unless it is in use, which it is if it was touched since the oldest running job began.
    fn remove_object(&self, path: &Path) -> io::Result<bool> {
        // The file is moved before it is examined: a job that needs it meanwhile does not find it, and fetches it
        // again.
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

    /// Moves a file or folder to the trash, which frees its path at once although the files of a large mirror take long
    /// to remove. Returns the new path.
    fn move_to_trash(&self, path: &Path) -> io::Result<PathBuf> {
        let trash = self.trash();
        fs::create_dir_all(&trash)?;
        let trashed = trash.join(Uuid::now_v7().simple().to_string());
        fs::rename(path, &trashed).map(|()| trashed)
    }

    fn trash(&self) -> PathBuf {
        self.git.config.dir.join("trash")
    }

    /// Makes few files of many: loose objects and small packs become one pack, and loose refs one file. Objects that no
    /// ref reaches stay, because a push that was overtaken may still be built. A kill at any moment loses nothing,
    /// because Git removes the old packs only when the new one is in its place, and the next fetch sweeps what Git was
    /// writing.
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
                // A large pack stays as it is until newer packs together are half as large.
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
        // A failed repack counts too, because it would fail again until the next job finds out what is wrong.
        self.repacked.insert(path.into(), now);
        match done {
            Ok(()) => tracing::info!("repacked {}: {files} files are {now}, in {:?}", path.display(), begun.elapsed()),
            Err(error) => tracing::warn!("{} cannot be repacked: {error}", path.display()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(error.into()))
}
