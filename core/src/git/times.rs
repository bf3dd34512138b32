//! The times of files in a build context. The engine compares size, mode and **time**, never content, and programs that
//! keep artefacts in a cache mount (make, cargo) compare times too. Therefore:
//!
//! 1. two contents of a path never have the same time: else the engine keeps the old one;
//! 2. what changed is newer than all that came before: else an artefact of the old content looks newer than it;
//! 3. what did not change keeps its time: else the engine fetches it, and programs make it, again.
//!
//! A table, `path → (kind, oid, time)`, holds what was last given out. When it is made, files have the time of the
//! commit that last touched them; from then on whatever appears or changes gets the time of its build, later than all
//! times before. Submodules' files are in the same table, and so are LFS files, by their content. One table serves all
//! of a key's builds, also those at the same time: were there one for each sync slot, what changed could be older in one
//! slot than an artefact that another slot's build left in a shared cache.
//!
//! The key is the repository's, `RepoName::key`. Versions before that rule had a table for each spelling of the name: the
//! first build that finds them takes a single one over, and of several makes a table of a new generation, in which
//! nothing is known. Then all files are new, because each of the tables may lack times that the others gave out.

mod history;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::errors::RepoError;
use super::tree::{Entry, path_order};
use super::{Git, GitError, MemoryShare, Mirror, Oid, compute};
use table::{StoredTable, Table};

/// Number of commits of history in totem's clones.
pub(super) const DEPTH: usize = 50;
pub(super) const SECOND: i64 = 1_000_000_000;
/// A second in the year 2255; nanoseconds in 64 bits end in 2262.
const LAST_SECOND: i64 = 9_000_000_000;

impl Git {
    /// Sets the entries' times, and returns the generation that they belong to, and the entries. `own` are those of the
    /// repository itself, if submodules or `.git` have added theirs.
    pub(super) async fn set_times(
        &self,
        mirror: &Mirror,
        commit: &Oid,
        times_key: &str,
        own: Option<Arc<Vec<Entry>>>,
        entries: Vec<Entry>,
        memory: &MemoryShare,
    ) -> Result<(String, Vec<Entry>), RepoError> {
        let entries = Arc::new(entries);
        let seconds = async |depth| {
            let own = own.clone().unwrap_or_else(|| entries.clone());
            let seconds = history::read(&self.config, mirror, commit, depth, &own).await?;
            let all = entries.clone();
            Ok::<_, RepoError>(compute(move || spread_seconds(&own, seconds, &all)).await)
        };
        if self.config.pure_history_times {
            // The log has no limit here, because with one every file beyond it would change its time with each commit.
            let (seconds, held) = (seconds(None).await?, memory.clone());
            let entries = compute(move || {
                let (_held, mut entries) = (held, Arc::unwrap_or_clone(entries));
                for (entry, seconds) in entries.iter_mut().zip(seconds) {
                    entry.mtime = from_history(seconds, LAST_SECOND, &entry.oid);
                }
                entries
            });
            return Ok(("history".into(), entries.await));
        }
        let lock = {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tables.entry(times_key.to_owned()).or_default())
        };
        // The lock goes with the work, which a cancelled job leaves behind.
        let lock = lock.lock_owned().await;
        let path = self.table_path(times_key);
        let spelled = self.spellings.all(times_key).iter().map(|repo| self.table_path(&repo.to_string())).collect();
        let (merged, held) = (path.clone(), memory.clone());
        let (stored, lock) = compute(move || {
            let (_held, merged) = (held, Table::merge(&merged, spelled).map(|()| Table::load(&merged)));
            (merged, lock)
        })
        .await;
        let stored = stored.map_err(|error| GitError::io("the file times cannot be merged", error))?;
        let now = now();
        let seconds = match stored {
            StoredTable::Nothing => Some(seconds(Some(DEPTH)).await?),
            _ => None,
        };
        drop(own);
        let held = memory.clone();
        let stored = compute(move || {
            let (_held, _lock, mut entries) = (held, lock, Arc::unwrap_or_clone(entries));
            let (generation, changed) = assign(stored, seconds.as_deref(), &mut entries, now);
            // The fsync takes some ms, and 100 on a slow disk.
            changed.map_or(Ok(()), |table| table.save(&path)).map(|()| (generation, entries))
        });
        stored.await.map_err(|error| GitError::io("the file times cannot be stored", error).into())
    }

    fn table_path(&self, times_key: &str) -> PathBuf {
        let name = hex::encode(&Sha256::digest(times_key)[..16]);
        self.config.dir.join("filetimes").join(name)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns the seconds of all entries, given those of the repository's own. A submodule's file has the time of the
/// commit that set the submodule; a file of `.git` has the time of its commit. Both lists are in order.
fn spread_seconds(own: &[Entry], seconds: Vec<i64>, all: &[Entry]) -> Vec<i64> {
    let (mut own, mut last) = (own.iter().zip(seconds).peekable(), 0);
    let of = |entry: &Entry| {
        if entry.is_of_git_dir() {
            return entry.mtime / SECOND;
        }
        if let Some((_, seconds)) = own.next_if(|(own, _)| own.path == entry.path) {
            last = seconds;
        }
        last
    };
    all.iter().map(of).collect()
}

/// Returns a time whose nanoseconds come from the content, so that two contents of one second differ.
fn from_history(seconds: i64, last: i64, oid: &Oid) -> i64 {
    let nanos = oid.as_bytes().iter().take(8).fold(0u64, |n, &byte| n << 8 | u64::from(byte)) % SECOND as u64;
    seconds.clamp(0, last) * SECOND + nanos as i64
}

/// Sets the entries' times. `history` has their seconds if nothing was stored. Returns the generation, and the table if
/// it must be stored.
fn assign(stored: StoredTable, history: Option<&[i64]>, entries: &mut [Entry], now: i64) -> (String, Option<Table>) {
    let before = match stored {
        StoredTable::Table(table) => table,
        // The table is lost, but builds that used it have left artefacts. Every file may have changed, so all of them
        // are new.
        StoredTable::Damaged => Table::of(&[], Table::new_generation(), 0),
        StoredTable::Nothing => {
            // A commit with a time in the future must not push all later times there.
            let last = now / SECOND - 1;
            for (at, entry) in entries.iter_mut().enumerate() {
                let seconds = history.and_then(|seconds| seconds.get(at)).copied().unwrap_or(last);
                entry.mtime = from_history(seconds, last, &entry.oid);
            }
            let table = Table::of(entries, Table::new_generation(), now);
            return (table.generation.clone(), Some(table));
        }
    };
    let this_build = now.max(before.latest.saturating_add(1));
    let (mut rows, mut changed) = (before.rows().peekable(), false);
    for entry in &mut *entries {
        while rows.next_if(|row| path_order(row.path, &entry.path).is_lt()).is_some() {
            changed = true; // A file that comes back later is new.
        }
        let known = rows.next_if(|row| row.path == entry.path);
        entry.mtime = match known {
            Some(row) if (row.kind, row.oid) == (entry.kind, entry.oid) => row.mtime,
            _ => {
                changed = true;
                this_build
            }
        };
    }
    changed |= rows.next().is_some();
    // The new table is made when the old one has gone, because each has about 100 bytes a file.
    let generation = before.generation.clone();
    drop(before);
    let table = changed.then(|| Table::of(entries, generation.clone(), this_build));
    (generation, table)
}

#[cfg(test)]
mod tests;
