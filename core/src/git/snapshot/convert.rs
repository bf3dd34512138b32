//! Files that a checkout converts: line ends (`eol=crlf`), `$Id$` (`ident`) and `working-tree-encoding`, by the
//! attributes in the tree (gitattributes(5)), and the pointers of Git LFS.
//!
//! Git itself converts: `git checkout-index` writes these files, and no others, into a folder of the store, where each
//! is then kept by its SHA-256. Their sizes are therefore known before they are sent, their contents are read like
//! those of LFS files, and a file's time changes exactly when its bytes do. The folder has attributes of its own, which
//! name the conversions and no filter, so no filter driver can run there, whatever the tree says. (`git cat-file
//! --filters` differs from a checkout in `$$Id$`, and reports the size of the unconverted file; `git archive` leaves
//! out what is `export-ignore`.)

mod conversion;
mod stats;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use tokio::task::spawn_blocking;

use super::part::SnapshotPart;
use crate::git::command::{exhausted, local};
use crate::git::errors::{RepoError, last_words};
use crate::git::lfs::may_be_pointer;
use crate::git::tree::TreeError;
use crate::git::tree::attributes::{self, index_line, is_file, run_checked, run_with_input};
use crate::git::tree::blobs::ObjectReader;
use crate::git::{CHUNK, Entry, Git, GitError, MemoryShare, Oid, compute};
use crate::model::LogSink;
use conversion::{Conversion, NAMES};
use stats::Stats;

/// Limits of files and bytes that are converted at once. The folder takes up to twice these bytes.
const FILES: usize = 500;
const BYTES: u64 = 256 << 20;
/// Largest file with `text=auto` that Git may hold in memory to find out whether it is text. For a larger one we tell
/// Git.
const LARGEST_GUESSED: u64 = 16 << 20;
/// Largest file that Git may encode, because it holds both forms in memory.
const LARGEST_ENCODED: u64 = 64 << 20;
/// Memory that a file takes until it is converted, in bytes: its attributes, its task and its result.
const CONVERSION: u64 = 600;
/// Number of results that are kept for later commits, of all mirrors together. They take about 100 bytes each.
const CACHED: usize = 500_000;
/// Number of files after which other tasks have their turn. Each takes a microsecond or two.
const TURN: usize = 1000;
/// Number of files that the log names if they could not be encoded.
const NAMED: usize = 10;

/// Results for the files of each mirror. After a restart the files are converted again.
pub(in crate::git) type ConversionCache = Mutex<HashMap<PathBuf, HashMap<ConversionKey, ConversionResult>>>;
/// SHA-256 of a blob's id and its conversion.
type ConversionKey = [u8; 32];

#[derive(Debug, Clone, Copy)]
pub(in crate::git) enum ConversionResult {
    /// The converted file is the same as in the repository.
    Same,
    Changed {
        oid: Oid,
        size: u64,
    },
    /// Git could not encode the file, and a checkout leaves it as it is in the repository.
    NotEncoded,
}

/// A file to be converted.
struct ConversionTask<'a> {
    key: ConversionKey,
    entry: &'a Entry,
    conversion: Conversion,
}

impl Git {
    /// Changes a repository's files into those of a checkout: fetches the files that LFS keeps, and converts those that
    /// have such attributes. A tree without `.gitattributes` costs nothing, and a tree whose `.gitattributes` mention
    /// none of these attributes costs one `git cat-file`.
    pub(in crate::git) async fn check_out(
        &self,
        part: &mut SnapshotPart,
        memory: &MemoryShare,
        log: &dyn LogSink,
    ) -> Result<(), RepoError> {
        let files = attributes::files(&part.entries);
        if files.is_empty() {
            return Ok(());
        }
        let mut reader = ObjectReader::start(&self.config, &part.mirror)?;
        let words = ["filter=lfs", "eol=crlf", "ident", "working-tree-encoding"];
        let [lfs, eol, ident, encoding] = attributes::mentioned(&files, &mut reader, words).await?;
        // The files of a tarball were converted when it was made.
        let is_converting = (eol || ident || encoding) && !part.mirror.has_tarballs();
        if !lfs && !is_converting {
            return Ok(());
        }
        let is_candidate = |entry: &Entry| is_file(entry) && (is_converting || may_be_pointer(entry));
        let entries = part.entries.iter().enumerate().filter(|(_, entry)| is_candidate(entry));
        let (places, paths): (Vec<_>, Vec<_>) = entries.map(|(at, entry)| (at, &entry.path[..])).unzip();
        let (mut pointers, mut conversions) = (Vec::new(), Vec::new());
        let take = |number: usize, [filter, values @ ..]: [&[u8]; NAMES.len()]| {
            let at = places[number];
            if filter == b"lfs" && may_be_pointer(&part.entries[at]) {
                pointers.push(at);
            }
            let [text, crlf, eol, ident, encoding] = values.map(<[u8]>::to_vec);
            let conversion = Conversion { text, crlf, eol, ident, encoding };
            if is_converting && conversion.changes_files() {
                if !memory.grow(CONVERSION) {
                    return Err(GitError::refused(TreeError::NoMemory.to_string()).into());
                }
                conversions.push((at, conversion));
            }
            Ok(())
        };
        attributes::values(&self.config, &part.mirror, &files, NAMES, &paths, take).await?;
        self.fetch_lfs(part, &pointers, &mut reader, log).await?;
        // Git converts only the pointer of an LFS file, before git-lfs reads it.
        conversions.retain(|(at, _)| !part.entries[*at].lfs);
        self.convert(part, conversions, &mut reader, log).await
    }

    async fn convert(
        &self,
        part: &mut SnapshotPart,
        conversions: Vec<(usize, Conversion)>,
        reader: &mut ObjectReader,
        log: &dyn LogSink,
    ) -> Result<(), RepoError> {
        let mirror = part.mirror.path.clone();
        let (mut results, store) = (self.cached_results(&mirror), self.lfs.store.clone());
        let mut results = compute(move || {
            results.retain(|_, result| match result {
                ConversionResult::Changed { oid, size } => store.has(oid, *size),
                ConversionResult::Same | ConversionResult::NotEncoded => true,
            });
            results
        })
        .await;
        let (mut tasks, mut keys) = (HashMap::new(), Vec::new());
        for (number, (at, conversion)) in conversions.into_iter().enumerate() {
            if number.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
            let entry = &part.entries[at];
            check_encoding(part, entry, &conversion)?;
            let key = conversion.key(&entry.oid);
            keys.push((at, key));
            if !results.contains_key(&key) {
                tasks.entry(key).or_insert(ConversionTask { key, entry, conversion });
            }
        }
        if !tasks.is_empty() {
            let all = "as a checkout does (eol, ident, working-tree-encoding)";
            log.write(format!("Converting {} files{} {all}\n", tasks.len(), part.place()).as_bytes());
        }
        let mut tasks: Vec<_> = tasks.into_values().collect();
        for task in &mut tasks {
            classify_large(task, reader).await?;
        }
        for tasks in batches(&tasks) {
            results.extend(self.convert_batch(part, tasks, reader).await?);
            log.alive();
        }
        let mut not_encoded = Vec::new();
        for &(at, key) in &keys {
            let entry = &mut part.entries[at];
            match results.get(&key) {
                Some(ConversionResult::Changed { oid, size }) => {
                    (entry.oid, entry.size, entry.lfs) = (*oid, *size, true)
                }
                Some(ConversionResult::NotEncoded) => not_encoded.push(at),
                Some(ConversionResult::Same) | None => {}
            }
        }
        for &at in not_encoded.iter().take(NAMED) {
            let path = part.shown(&part.entries[at].path);
            let why = "Git cannot encode it as its attribute working-tree-encoding says, and a checkout leaves it so";
            log.write(format!("{path} stays as it is in the repository: {why}\n").as_bytes());
        }
        if let Some(more @ 1..) = not_encoded.len().checked_sub(NAMED) {
            log.write(format!("{more} more files stay as they are for the same reason\n").as_bytes());
        }
        self.cache_results(mirror, results, &keys);
        Ok(())
    }

    fn cached_results(&self, mirror: &Path) -> HashMap<ConversionKey, ConversionResult> {
        let converted = self.conversions.lock().unwrap_or_else(PoisonError::into_inner);
        converted.get(mirror).cloned().unwrap_or_default()
    }

    /// Stores the results. About as many results are kept in addition as this commit has files; they belong to other
    /// branches.
    fn cache_results(
        &self,
        mirror: PathBuf,
        mut results: HashMap<ConversionKey, ConversionResult>,
        used: &[(usize, ConversionKey)],
    ) {
        if results.len() > 2 * used.len() + 1000 {
            let used = used.iter().filter_map(|(_, key)| results.get_key_value(key));
            results = used.map(|(key, result)| (*key, *result)).collect();
        }
        let mut converted = self.conversions.lock().unwrap_or_else(PoisonError::into_inner);
        converted.remove(&mirror);
        if converted.values().map(HashMap::len).sum::<usize>() + results.len() > CACHED {
            converted.clear();
        }
        if results.len() <= CACHED {
            converted.insert(mirror, results);
        }
    }

    async fn convert_batch(
        &self,
        part: &SnapshotPart,
        tasks: &[ConversionTask<'_>],
        reader: &mut ObjectReader,
    ) -> Result<HashMap<ConversionKey, ConversionResult>, RepoError> {
        let failed = |error: io::Error| GitError::io("files cannot be converted", error);
        let folder = self.lfs.store.new_folder().map_err(failed)?;
        let work = folder.path().join("work");
        let (mut classes, mut attributes) = (Vec::<&Conversion>::new(), Vec::new());
        let (mut index, mut names) = (Vec::new(), Vec::new());
        for (number, task) in tasks.iter().enumerate() {
            let class = classes.iter().position(|class| **class == task.conversion).unwrap_or_else(|| {
                let line = task.conversion.line();
                attributes.extend([format!("/{}/*", classes.len()).as_bytes(), &line, b"\n"].concat());
                classes.push(&task.conversion);
                classes.len() - 1
            });
            let name = format!("{class}/{number}");
            index.extend(index_line(task.entry, name.as_bytes()));
            names.push(name);
        }
        fs::create_dir(&work).and_then(|()| fs::write(work.join(".gitattributes"), attributes)).map_err(failed)?;
        let git = |args: &[&str]| {
            let program = local(&self.config, &part.mirror.path).args(args).current_dir(&work);
            let program = program.env("GIT_INDEX_FILE", folder.path().join("index")).env("GIT_WORK_TREE", &work);
            program.env("GIT_ATTR_NOSYSTEM", "1")
        };
        run_checked(git(&["update-index", "-z", "--index-info"]), index).await?;
        let finished = run_with_input(git(&["checkout-index", "--all"]), vec![]).await?;
        if !finished.status.success() {
            if let Some(error) = exhausted(&finished) {
                return Err(error.into());
            }
            // Reading each object shows whose fault it is that one of them cannot be read.
            for task in tasks {
                reader.open(&task.entry.oid).await?;
            }
            return Err(GitError::io("files cannot be converted", last_words(&finished.stderr)).into());
        }
        let not_encoded: Vec<_> = finished.stderr.lines().filter_map(not_encoded).collect();
        let size = |name: &String| fs::metadata(work.join(name)).map(|file| file.len());
        let sizes = names.iter().map(size).collect::<io::Result<Vec<_>>>().map_err(failed)?;
        // A file of the same size may have another content.
        let is_same_size = |at: &usize| sizes[*at] == tasks[*at].entry.size;
        let (same_size, mut changed): (Vec<_>, Vec<_>) = (0..tasks.len()).partition(is_same_size);
        let lines: String = same_size.iter().map(|at| format!("{}\n", names[*at])).collect();
        let hashed = run_checked(git(&["hash-object", "--no-filters", "--stdin-paths"]), lines.into()).await?;
        let hashed = String::from_utf8_lossy(&hashed.stdout).into_owned();
        let is_other = |(at, oid): &(&usize, &str)| tasks[**at].entry.oid.to_string() != *oid;
        changed.extend(same_size.iter().zip(hashed.lines()).filter(is_other).map(|(at, _)| *at));
        let result = |(at, name): (usize, &String)| {
            let is_encoded = !not_encoded.contains(&name.as_str());
            (tasks[at].key, if is_encoded { ConversionResult::Same } else { ConversionResult::NotEncoded })
        };
        let mut results: HashMap<_, _> = names.iter().enumerate().map(result).collect();
        let (store, kept) = (self.lfs.store.clone(), changed.iter().map(|at| work.join(&names[*at])));
        let kept: Vec<_> = kept.collect();
        let taken = spawn_blocking(move || kept.iter().map(|file| store.import(file)).collect::<io::Result<Vec<_>>>());
        let taken = taken.await.unwrap_or_else(|error| Err(error.into())).map_err(failed)?;
        for (at, (oid, size)) in changed.into_iter().zip(taken) {
            results.insert(tasks[at].key, ConversionResult::Changed { oid, size });
        }
        Ok(results)
    }
}

/// Refuses a file at which a checkout fails, or whose conversion takes too much memory.
fn check_encoding(part: &SnapshotPart, entry: &Entry, conversion: &Conversion) -> Result<(), GitError> {
    if !conversion.encodes() {
        return Ok(());
    }
    let path = part.shown(&entry.path);
    if matches!(&conversion.encoding[..], b"set" | b"unset") {
        return Err(GitError::refused(format!(
            "{path} has the attribute working-tree-encoding without an encoding, at which a checkout by Git fails: name \
             one in .gitattributes (working-tree-encoding=UTF-16), or take the attribute away (!working-tree-encoding)"
        )));
    }
    if entry.size > LARGEST_ENCODED {
        return Err(GitError::refused(format!(
            "{path} has {} bytes, and a file with the attribute working-tree-encoding may have {LARGEST_ENCODED}: take the \
             attribute away (!working-tree-encoding in .gitattributes), or make the file smaller",
            entry.size
        )));
    }
    Ok(())
}

/// Tells Git whether a large file is text, because Git would otherwise read the file into memory to find out.
async fn classify_large(task: &mut ConversionTask<'_>, reader: &mut ObjectReader) -> Result<(), GitError> {
    let Conversion { text, crlf, .. } = &task.conversion;
    let is_guessed = text == b"auto" || text == b"unspecified" && crlf == b"auto";
    if task.entry.size <= LARGEST_GUESSED || !is_guessed || !task.conversion.changes_line_ends() {
        return Ok(());
    }
    let (mut left, mut stats) = (reader.open(&task.entry.oid).await?, Stats::default());
    while left > 0 {
        let chunk = reader.chunk(left.min(CHUNK as u64) as usize).await?;
        left -= chunk.len() as u64;
        stats.add(&chunk);
    }
    task.conversion.text = if stats.is_plain_text() { b"set".to_vec() } else { b"unset".to_vec() };
    Ok(())
}

fn batches<'a, 'b>(tasks: &'a [ConversionTask<'b>]) -> impl Iterator<Item = &'a [ConversionTask<'b>]> {
    let mut rest = tasks;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |task: &&ConversionTask<'_>| {
            bytes += task.entry.size;
            bytes <= BYTES
        };
        let count = rest.iter().take(FILES).take_while(fits).count().max(1).min(rest.len());
        let batch;
        (batch, rest) = rest.split_at(count);
        (!batch.is_empty()).then_some(batch)
    })
}

/// Returns the name in `error: failed to encode 'NAME' from UTF-8 to …`.
fn not_encoded(line: &str) -> Option<&str> {
    line.strip_prefix("error: failed to encode '")?.split('\'').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::EntryKind;

    #[test]
    fn batches_are_bounded() {
        let oid = Oid::from_hex(&[b'1'; 40]).unwrap();
        let entry = |size| Entry { path: vec![], kind: EntryKind::File, oid, size, mtime: 0, origin: 0, lfs: false };
        let sizes = |sizes: &[u64]| {
            let entries: Vec<_> = sizes.iter().map(|size| entry(*size)).collect();
            let [text, crlf, eol, ident, encoding] = [(); 5].map(|()| b"set".to_vec());
            let conversion = Conversion { text, crlf, eol, ident, encoding };
            let task = |entry| ConversionTask { key: [0; 32], entry, conversion: conversion.clone() };
            let tasks: Vec<_> = entries.iter().map(task).collect();
            batches(&tasks).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[BYTES + 1, 1, BYTES, 1]), [1, 1, 1, 1]);
        assert_eq!(sizes(&[1; FILES + 1]), [FILES, 1]);
    }

    #[test]
    fn a_file_that_was_not_encoded_is_named() {
        assert_eq!(not_encoded("error: failed to encode '0/7' from UTF-8 to UTF-16"), Some("0/7"));
        assert_eq!(not_encoded("warning: something"), None);
    }
}
