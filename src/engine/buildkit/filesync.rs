//! `moby.filesync.v1.FileSync/DiffCopy`: the engine is told every entry of the tree, compares them
//! with what it has, and asks for the contents of those that differ.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Frame, Incoming};
use tokio::sync::{OnceCell, mpsc};

use crate::git::{Blobs, Entry, EntryKind, GitError, PathEnd, PathWalk, Snapshot, WalkStep};
use crate::model::LogSink;

use super::grpc::{self, Messages, Status};
use super::packet::{GO_DIR, GO_SYMLINK, Packet, Stat, Type};
use crate::engine::api::errors::EngineError;
use crate::engine::context::filter::{Wanted, choose};
use crate::engine::context::follow_paths::Links;
use crate::engine::context::hint::{asks_for_git_dir, excludes_git_dir};

/// What was sent for one build, over the engine's three calls (Dockerfile, `.dockerignore`,
/// context).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncStats {
    /// Entries that the engine was told of.
    pub stats: u64,
    /// Files whose contents it asked for.
    pub requests: u64,
    /// Bytes of those contents.
    pub bytes: u64,
}

/// Written when full: a stat takes about 60 bytes.
const BUFFER: usize = 64 << 10;

/// How often it looks whether something was sent.
const WATCH: Duration = Duration::from_secs(1);

/// The tree that a build is given.
pub(in crate::engine) struct Tree {
    pub snapshot: Arc<Snapshot>,
    /// The entries of the folder that is the context; none if that is the whole tree.
    folder: Option<Vec<Entry>>,
    links: OnceCell<Links>,
    called: AtomicBool,
    stats: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<EngineError>>,
    misses_git_dir: AtomicBool,
    ignores_git_dir: AtomicBool,
}

impl Tree {
    /// `context` is a folder of the tree; empty for all of it.
    pub(in crate::engine) fn new(snapshot: Arc<Snapshot>, context: &[u8]) -> Self {
        Self {
            folder: (!context.is_empty()).then(|| within(&snapshot.entries, context)),
            snapshot,
            links: OnceCell::new(),
            called: AtomicBool::default(),
            stats: AtomicU64::default(),
            requests: AtomicU64::default(),
            bytes: AtomicU64::default(),
            failure: Mutex::default(),
            misses_git_dir: AtomicBool::default(),
            ignores_git_dir: AtomicBool::default(),
        }
    }

    /// The entries that `COPY` can name, with their paths there.
    pub(in crate::engine) fn context(&self) -> &[Entry] {
        self.folder.as_deref().unwrap_or(&self.snapshot.entries)
    }

    /// True if the context is a part of the tree.
    pub(in crate::engine) fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// True if the engine asked for `.git` and was sent none.
    pub(in crate::engine) fn misses_git_dir(&self) -> bool {
        self.misses_git_dir.load(Relaxed)
    }

    /// True if `.dockerignore` leaves `.git` out.
    pub(in crate::engine) fn ignores_git_dir(&self) -> bool {
        self.ignores_git_dir.load(Relaxed)
    }

    pub(in crate::engine) fn note_excludes(&self, patterns: &[Vec<u8>]) {
        self.ignores_git_dir.fetch_or(excludes_git_dir(patterns), Relaxed);
    }

    pub(in crate::engine) fn sent(&self) -> SyncStats {
        SyncStats {
            stats: self.stats.load(Relaxed),
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    /// Tells the log while the engine takes something of it.
    pub(in crate::engine) async fn watch(&self, log: &dyn LogSink) -> Infallible {
        let mut before = self.sent();
        loop {
            tokio::time::sleep(WATCH).await;
            let now = self.sent();
            if now != before {
                log.alive();
            }
            before = now;
        }
    }

    /// That many bytes of files were read for the engine.
    pub(in crate::engine) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Whether the engine asked for anything.
    pub(in crate::engine) fn was_called(&self) -> bool {
        self.called.load(Relaxed)
    }

    /// What went wrong on our side, which the engine would only wrap.
    pub(in crate::engine) fn failure(&self) -> Option<EngineError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a failure of Git's, and gives it as one of the build.
    pub(in crate::engine) fn fail(&self, error: &GitError) -> EngineError {
        let failure = EngineError::tree(error);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        failure
    }

    /// A small file's content; none if it is not there or cannot be read.
    pub(in crate::engine) async fn read(&self, path: &str) -> Option<Vec<u8>> {
        let Ok(PathEnd::File { at, .. }) = self.find(path.as_bytes()).await else { return None };
        self.snapshot.blobs().ok()?.read(&self.snapshot.entries[at]).await.ok()
    }

    /// The file at a path of the repository, which may lead through symlinks.
    pub(in crate::engine) async fn find(&self, path: &[u8]) -> Result<PathEnd, GitError> {
        self.find_among(&self.snapshot.entries, path).await
    }

    /// The same, where `entries` are all that there is.
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

    /// The path of the file that a path leads to, or the path itself where there is none.
    pub(in crate::engine) async fn resolved(&self, path: &str) -> String {
        let found = self.find(path.as_bytes()).await;
        let at = match found {
            Ok(PathEnd::File { at, .. }) => Some(at),
            _ => None,
        };
        let file = at.and_then(|at| String::from_utf8(self.snapshot.entries[at].path.clone()).ok());
        file.unwrap_or_else(|| path.to_owned())
    }

    /// Does not follow a `.dockerignore` that leads out of the tree: the engine would take the root of the tree for that
    /// of the file system, and read another file. The link itself is sent.
    async fn leave_unfollowed(&self, entries: &[Entry], wanted: &mut Wanted) -> Result<(), GitError> {
        for path in std::mem::take(&mut wanted.follow) {
            let is_lost = path.ends_with(b".dockerignore")
                && matches!(self.find_among(entries, &path).await?, PathEnd::BrokenLink(_));
            let list = if is_lost { &mut wanted.includes } else { &mut wanted.follow };
            list.push(path);
        }
        Ok(())
    }

    fn failed(&self, error: GitError) -> Status {
        Status::unknown(self.fail(&error).message)
    }

    pub(in crate::engine) async fn links(&self) -> Result<&Links, GitError> {
        let read = async || {
            let mut links = HashMap::new();
            let mut blobs = None;
            for entry in self.snapshot.entries.iter().filter(|e| e.kind == EntryKind::Symlink) {
                let blobs = opened(&mut blobs, &self.snapshot)?;
                links.insert(entry.oid, blobs.read(entry).await?);
            }
            Ok(links)
        };
        self.links.get_or_try_init(read).await
    }

    /// Serves one call; frames go to `out`, which ends the answer.
    pub(super) async fn diff_copy(&self, headers: HeaderMap, body: Incoming, out: mpsc::Sender<Frame<Bytes>>) {
        let result = self.copy(&headers, Messages::new(body), &out).await;
        // The engine may have gone; then nobody is left to be told.
        let _ = out.send(grpc::end(result)).await;
    }

    async fn copy(
        &self,
        headers: &HeaderMap,
        mut messages: Messages,
        out: &mpsc::Sender<Frame<Bytes>>,
    ) -> Result<(), Status> {
        self.called.store(true, Relaxed);
        let name = headers.get("dir-name").map_or(&b""[..], |name| name.as_bytes());
        if name != b"context" && name != b"dockerfile" {
            return Err(Status::not_found(format!("no access allowed to dir {:?}", String::from_utf8_lossy(name))));
        }
        let links = self.links().await.map_err(|e| self.failed(e))?;
        // The Dockerfile is named by its path in the repository, also where the context is a folder.
        let entries = if name == b"context" { self.context() } else { &self.snapshot.entries };
        let mut wanted = wanted(headers);
        self.leave_unfollowed(entries, &mut wanted).await.map_err(|e| self.failed(e))?;
        let chosen = choose(entries, links, &wanted).map_err(Status::unknown)?;
        if name == b"context" {
            self.note_excludes(&wanted.excludes);
            let is_sent = || chosen.iter().any(|&i| entries[i as usize].path == b".git");
            let is_missed = wanted.follow.iter().any(|path| asks_for_git_dir(path)) && !is_sent();
            self.misses_git_dir.fetch_or(is_missed, Relaxed);
        }

        // Unbounded, so that reading never waits for writing: the engine sends up to one request
        // an entry while it still receives stats, and both sides would wait for ever.
        let (requests, mut queue) = mpsc::unbounded_channel();
        let read = async {
            while let Some(packet) = messages.next::<Packet>().await? {
                match packet.r#type() {
                    Type::Req => drop(requests.send(packet.id)),
                    Type::Fin => break,
                    Type::Err => return Err(Status::unknown(String::from_utf8_lossy(&packet.data))),
                    Type::Stat | Type::Data => return Err(Status::unknown("the engine sent what only we send")),
                }
            }
            drop(requests);
            Ok(())
        };
        let write = async {
            let mut writer = Writer { out, buffer: BytesMut::with_capacity(BUFFER) };
            self.write_stats(entries, &chosen, links, &mut writer).await?;
            let mut blobs = None;
            while let Some(id) = queue.recv().await {
                let entry = chosen.get(id as usize).map(|&i| &entries[i as usize]);
                let Some(entry) = entry.filter(|e| matches!(e.kind, EntryKind::File | EntryKind::Exec)) else {
                    return Err(Status::unknown(format!("the engine asked for {id}, which is no file")));
                };
                self.write_file(id, entry, &mut blobs, &mut writer).await?;
                if queue.is_empty() {
                    writer.flush().await?;
                }
            }
            writer.put(Type::Fin, 0, Bytes::new()).await?;
            writer.flush().await
        };
        // An error of one ends the other.
        tokio::try_join!(read, write).map(|_| ())
    }

    async fn write_stats(
        &self,
        entries: &[Entry],
        chosen: &[u32],
        links: &Links,
        writer: &mut Writer<'_>,
    ) -> Result<(), Status> {
        let mut packet = Packet { stat: Some(Stat::default()), ..Packet::default() };
        for &index in chosen {
            let entry = &entries[index as usize];
            let stat = packet.stat.get_or_insert_default();
            stat.path.clone_from(&entry.path);
            stat.linkname.clear();
            (stat.mode, stat.size) = match entry.kind {
                EntryKind::File => (0o644, entry.size as i64),
                EntryKind::Exec => (0o755, entry.size as i64),
                // A submodule that was not fetched is an empty directory.
                EntryKind::Dir | EntryKind::Gitlink => (GO_DIR | 0o755, 0),
                EntryKind::Symlink => {
                    stat.linkname.extend(links.get(&entry.oid).into_iter().flatten());
                    (GO_SYMLINK | 0o777, stat.linkname.len() as i64)
                }
            };
            stat.mod_time = entry.mtime;
            grpc::put(&mut writer.buffer, &packet);
            if writer.buffer.len() >= BUFFER {
                writer.flush().await?;
            }
        }
        self.stats.fetch_add(chosen.len() as u64, Relaxed);
        writer.put(Type::Stat, 0, Bytes::new()).await?;
        writer.flush().await
    }

    async fn write_file(
        &self,
        id: u32,
        entry: &Entry,
        blobs: &mut Option<Blobs>,
        writer: &mut Writer<'_>,
    ) -> Result<(), Status> {
        self.requests.fetch_add(1, Relaxed);
        let blobs = opened(blobs, &self.snapshot).map_err(|e| self.failed(e))?;
        let mut blob = blobs.open(entry).await.map_err(|e| self.failed(e))?;
        while let Some(chunk) = blob.chunk().await.map_err(|e| self.failed(e))? {
            self.count(chunk.len());
            writer.put(Type::Data, id, chunk.into()).await?;
        }
        // The end of a file, also of an empty one.
        writer.put(Type::Data, id, Bytes::new()).await
    }
}

/// The entries below a folder, with their paths in it and in the same order.
fn within(entries: &[Entry], folder: &[u8]) -> Vec<Entry> {
    let below = [folder, b"/"].concat();
    let path = |entry: &Entry| Some(entry.path.strip_prefix(&below[..])?.to_vec());
    entries.iter().filter_map(|entry| Some(Entry { path: path(entry)?, ..entry.clone() })).collect()
}

fn opened<'a>(blobs: &'a mut Option<Blobs>, snapshot: &Snapshot) -> Result<&'a mut Blobs, GitError> {
    Ok(match blobs {
        Some(blobs) => blobs,
        None => blobs.insert(snapshot.blobs()?),
    })
}

struct Writer<'a> {
    out: &'a mpsc::Sender<Frame<Bytes>>,
    buffer: BytesMut,
}

impl Writer<'_> {
    async fn put(&mut self, r#type: Type, id: u32, data: Bytes) -> Result<(), Status> {
        grpc::put(&mut self.buffer, &Packet { r#type: r#type.into(), stat: None, id, data });
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Status> {
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(BUFFER));
        self.out.send(Frame::data(full.freeze())).await.map_err(|_| Status::unavailable("the engine has gone"))
    }
}

/// The patterns that travel as headers. With `<key>-encoded`, values are query-escaped.
fn wanted(headers: &HeaderMap) -> Wanted {
    let list = |key: &str| {
        let encoded = headers.get(format!("{key}-encoded")).is_some_and(|v| matches!(v.as_bytes(), b"1" | b"true"));
        let values = headers.get_all(key).iter().map(|value| value.as_bytes());
        values.map(|value| if encoded { query_unescape(value) } else { value.to_vec() }).collect()
    };
    Wanted { includes: list("include-patterns"), excludes: list("exclude-patterns"), follow: list("followpaths") }
}

fn query_unescape(text: &[u8]) -> Vec<u8> {
    let digit = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_read_from_headers() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b%2F+c", "%zz%"] {
            headers.append("exclude-patterns", value.parse().unwrap());
        }
        headers.append("followpaths", "x%20y".parse().unwrap());
        let read = |list: Vec<Vec<u8>>| list.into_iter().map(|p| String::from_utf8(p).unwrap()).collect::<Vec<_>>();
        assert_eq!(read(wanted(&headers).excludes), ["a", "b%2F+c", "%zz%"]);
        headers.append("exclude-patterns-encoded", "1".parse().unwrap());
        assert_eq!(read(wanted(&headers).excludes), ["a", "b/ c", "%zz%"]);
        assert_eq!(read(wanted(&headers).follow), ["x%20y"]);
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let escaped: String = form_urlencoded::byte_serialize(&bytes).collect();
            prop_assert_eq!(query_unescape(escaped.as_bytes()), bytes);
        }
    }
}
