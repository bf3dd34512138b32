//! The tree of files that a build gets, and a record of what the engine took of it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::follow_paths::SymlinkTargets;
use super::git_dir_patterns::{asks_for_git_dir, excludes_git_dir};
use super::pattern::{BadPattern, Matcher, PatternBounds, read_ignore_file};
use crate::engine::api::errors::EngineError;
use crate::engine::api::kind::ErrorKind;
use crate::git::{Blobs, Entry, EntryKind, GitError, PathEnd, PathWalk, Snapshot, WalkStep, compute};
use crate::model::LogSink;

/// Amounts that one build was sent, in all three calls of the engine (Dockerfile, `.dockerignore`, context).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Entries that were announced to the engine.
    pub stats: u64,
    /// Files whose contents the engine requested.
    pub requests: u64,
    /// Bytes of those contents.
    pub bytes: u64,
}

/// Interval at which the log is told that the engine takes bytes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The time without a call after which an engine that has the Dockerfile counts as one that needs no context. Before it
/// asks, it may fetch the image that reads the Dockerfile (`# syntax=`).
const NO_CONTEXT: Duration = Duration::from_secs(60);

/// The tree of one build.
pub(in crate::engine) struct Tree {
    pub snapshot: Arc<Snapshot>,
    /// Entries of the folder that is the context; `None` if the whole tree is the context.
    folder: Option<Vec<Entry>>,
    links: OnceCell<SymlinkTargets>,
    called: AtomicBool,
    /// Number of calls of the engine that are being served.
    calls: AtomicU64,
    is_context_sent: AtomicBool,
    stats: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<EngineError>>,
    misses_git_dir: AtomicBool,
    /// Bounds of the patterns.
    pub bounds: PatternBounds,
    /// Patterns of `.dockerignore`.
    excludes: Mutex<Vec<Vec<u8>>>,
}

impl Tree {
    /// Makes a tree whose context is the folder `context`, or the whole tree if that is empty.
    pub(in crate::engine) fn new(snapshot: Arc<Snapshot>, context: &[u8], bounds: PatternBounds) -> Self {
        Self {
            folder: (!context.is_empty()).then(|| entries_below(&snapshot.entries, context)),
            snapshot,
            links: OnceCell::new(),
            called: AtomicBool::default(),
            calls: AtomicU64::default(),
            is_context_sent: AtomicBool::default(),
            stats: AtomicU64::default(),
            requests: AtomicU64::default(),
            bytes: AtomicU64::default(),
            failure: Mutex::default(),
            misses_git_dir: AtomicBool::default(),
            bounds,
            excludes: Mutex::default(),
        }
    }

    /// Returns the entries that `COPY` can name, with their paths in the context.
    pub(in crate::engine) fn context(&self) -> &[Entry] {
        self.folder.as_deref().unwrap_or(&self.snapshot.entries)
    }

    /// Returns all entries, with their paths in the repository.
    pub(in crate::engine) fn all(&self) -> &[Entry] {
        &self.snapshot.entries
    }

    /// Returns true if the context is only a part of the tree.
    pub(super) fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Returns true if the engine asked for `.git` and was sent none.
    pub(super) fn misses_git_dir(&self) -> bool {
        self.misses_git_dir.load(Relaxed)
    }

    /// Returns true if `.dockerignore` excludes `.git`.
    pub(super) async fn ignores_git_dir(&self) -> bool {
        let (excludes, bounds) = (self.excludes(), self.bounds);
        compute(move || excludes_git_dir(&excludes, bounds)).await
    }

    /// Records the patterns of `.dockerignore`.
    pub(in crate::engine) fn note_excludes(&self, patterns: &[Vec<u8>]) {
        // BuildKit asks for `.dockerignore` itself without patterns.
        if !patterns.is_empty() {
            *self.excludes.lock().unwrap_or_else(PoisonError::into_inner) = patterns.to_vec();
        }
    }

    /// Returns the patterns of `.dockerignore` that were recorded.
    pub(super) fn excludes(&self) -> Vec<Vec<u8>> {
        self.excludes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records which paths the engine asked for, and which entries it gets.
    pub(in crate::engine) fn note_follow_paths<'a>(
        &self,
        paths: &[Vec<u8>],
        mut sent: impl Iterator<Item = &'a Entry>,
    ) {
        let is_missed = paths.iter().any(|path| asks_for_git_dir(path)) && !sent.any(|entry| entry.path == b".git");
        self.misses_git_dir.fetch_or(is_missed, Relaxed);
    }

    /// Records that the engine made a call, which lasts until the result is dropped.
    pub(in crate::engine) fn note_call(&self) -> TreeCall<'_> {
        self.called.store(true, Relaxed);
        self.calls.fetch_add(1, Relaxed);
        TreeCall(self)
    }

    /// Records that the engine has the context.
    pub(in crate::engine) fn note_context_sent(&self) {
        self.is_context_sent.store(true, Relaxed);
    }

    /// Returns true if the engine made a call.
    pub(in crate::engine) fn was_called(&self) -> bool {
        self.called.load(Relaxed)
    }

    /// Records the number of entries that were announced to the engine.
    pub(in crate::engine) fn count_stats(&self, stats: usize) {
        self.stats.fetch_add(stats as u64, Relaxed);
    }

    /// Records that the engine requested a file.
    pub(in crate::engine) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Records the number of bytes of files that were read for the engine.
    pub(in crate::engine) fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(in crate::engine) fn sent(&self) -> SyncStats {
        SyncStats {
            stats: self.stats.load(Relaxed),
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Reports to the log, for ever, that the build is alive while the engine takes bytes of the tree. Cancels `sent` once
    /// the engine has the context, or seems to need none.
    pub(in crate::engine) async fn report_progress(&self, log: &dyn LogSink, sent: &CancellationToken) -> Infallible {
        let (mut before, mut idle) = (self.sent(), Duration::ZERO);
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let is_idle = self.was_called() && self.calls.load(Relaxed) == 0;
            idle = if is_idle { idle + PROGRESS_INTERVAL } else { Duration::ZERO };
            if self.is_context_sent.load(Relaxed) || idle >= NO_CONTEXT {
                sent.cancel();
            }
            let now = self.sent();
            if now != before {
                log.alive();
            }
            before = now;
        }
    }

    /// Returns the failure on our side, because the engine's message about it says less.
    pub(in crate::engine) fn failure(&self) -> Option<EngineError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a failure of Git, and returns it as one of the build.
    pub(in crate::engine) fn fail(&self, error: &GitError) -> EngineError {
        let failure = EngineError::tree(error);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        failure
    }

    /// Records patterns of `.dockerignore` that cannot be used, and returns that as a failure of the build.
    pub(in crate::engine) fn refuse(&self, error: &BadPattern) -> EngineError {
        let failure = EngineError::new(ErrorKind::Build, error.to_string());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        failure
    }

    /// Returns what is wrong with a pattern of the file by which a build with this Dockerfile leaves out files.
    pub(in crate::engine) async fn bad_pattern(&self, dockerfile: &str) -> Option<String> {
        let content = match self.read(&format!("{dockerfile}.dockerignore")).await {
            Some(own) => own,
            None => {
                let entries = self.context();
                let found = self.find_among(entries, b".dockerignore").await;
                let Ok(PathEnd::File { at, .. }) = found else { return None };
                self.snapshot.blobs().ok()?.read(&entries[at]).await.ok()?
            }
        };
        let bounds = self.bounds;
        let matched = compute(move || Matcher::within(&read_ignore_file(&content), bounds)?.matches_alone(b"x"));
        matched.await.err().map(|error| error.to_string())
    }

    /// Reads a small file; `None` if it does not exist or cannot be read.
    pub(in crate::engine) async fn read(&self, path: &str) -> Option<Vec<u8>> {
        let Ok(PathEnd::File { at, .. }) = self.find(path.as_bytes()).await else { return None };
        self.snapshot.blobs().ok()?.read(&self.snapshot.entries[at]).await.ok()
    }

    /// Finds the file at a path of the repository, which may lead through symlinks.
    pub(super) async fn find(&self, path: &[u8]) -> Result<PathEnd, GitError> {
        self.find_among(&self.snapshot.entries, path).await
    }

    /// Finds the file at a path among `entries`, as if there were no others.
    pub(in crate::engine) async fn find_among(&self, entries: &[Entry], path: &[u8]) -> Result<PathEnd, GitError> {
        let (links, mut walk) = (self.links().await?, PathWalk::new(path));
        loop {
            match walk.step(entries) {
                WalkStep::End(found) => return Ok(found),
                WalkStep::Link(at) => {
                    let target = links.get(&entries[at].oid).map_or(&[][..], Vec::as_slice);
                    if let Some(found) = walk.follow(target) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// Returns the path of the file that a path leads to, or the path itself if it leads to none.
    pub(super) async fn resolved(&self, path: &str) -> String {
        let found = self.find(path.as_bytes()).await;
        let at = match found {
            Ok(PathEnd::File { at, .. }) => Some(at),
            _ => None,
        };
        let file = at.and_then(|at| String::from_utf8(self.snapshot.entries[at].path.clone()).ok());
        file.unwrap_or_else(|| path.to_owned())
    }

    /// Returns the targets of all symlinks, which are read once.
    pub(in crate::engine) async fn links(&self) -> Result<&SymlinkTargets, GitError> {
        let read = async || {
            let mut links = HashMap::new();
            let mut blobs = None;
            for entry in self.snapshot.entries.iter().filter(|e| e.kind == EntryKind::Symlink) {
                let blobs = self.open_blobs(&mut blobs)?;
                links.insert(entry.oid, blobs.read(entry).await?);
            }
            Ok(links)
        };
        self.links.get_or_try_init(read).await
    }

    /// Returns the targets of all symlinks, if they were read.
    pub(super) fn known_links(&self) -> Option<&SymlinkTargets> {
        self.links.get()
    }

    /// Returns `blobs`, which is opened if it is not yet.
    pub(in crate::engine) fn open_blobs<'a>(&self, blobs: &'a mut Option<Blobs>) -> Result<&'a mut Blobs, GitError> {
        Ok(match blobs {
            Some(blobs) => blobs,
            None => blobs.insert(self.snapshot.blobs()?),
        })
    }
}

/// One call of the engine.
pub(in crate::engine) struct TreeCall<'a>(&'a Tree);

impl Drop for TreeCall<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Relaxed);
    }
}

/// Returns the entries below a folder in the same order, with their paths in the folder.
fn entries_below(entries: &[Entry], folder: &[u8]) -> Vec<Entry> {
    let below = [folder, b"/"].concat();
    let path = |entry: &Entry| Some(entry.path.strip_prefix(&below[..])?.to_vec());
    entries.iter().filter_map(|entry| Some(Entry { path: path(entry)?, ..entry.clone() })).collect()
}
