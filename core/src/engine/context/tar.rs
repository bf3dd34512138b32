//! Sends the build context as a tar (POSIX.1-2001: ustar with pax records) to an engine that does not use FileSync.

use std::error::Error;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::filter::{ChoiceError, PathFilter, choose};
use super::pattern::{BadPattern, Matcher, read_ignore_file};
use super::tree::Tree;
use crate::engine::api::connect::RequestBody;
use crate::engine::api::errors::EngineError;
use crate::engine::api::kind::ErrorKind;
use crate::git::{Blobs, Entry, EntryKind, GitError, PathEnd, compute};

const IGNORE_FILE: &str = ".dockerignore";
/// File that Podman reads in the place of the other one.
const PODMANS_IGNORE_FILE: &str = ".containerignore";
const BLOCK: usize = 512;
/// Size of a piece of the tar. Two pieces are read ahead of the engine, besides the sockets' buffers.
const CHUNK: usize = 64 << 10;

/// A context that is ready to be sent.
pub(in crate::engine) struct ContextUpload {
    pub body: RequestBody,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
}

/// Makes a body that reads the context while the engine takes it. `.dockerignore` is applied here, because no builder
/// applies it to an uploaded tar. Like Docker's client, this keeps the Dockerfile (resolved through links) and
/// `.dockerignore` itself, which the engine reads, and then removes if they are excluded.
///
/// A Dockerfile outside of the context gets a name of its own in the context, like with Docker's client. An additional
/// line in `.dockerignore` makes the engine remove it before the first step.
///
/// Podman applies `.dockerignore` to what it is sent, by other rules than Docker's: it loses files that an exception
/// brings back into an excluded folder. It gets a `.containerignore` that leaves out no more than the files above.
pub(in crate::engine) async fn upload(
    tree: Arc<Tree>,
    dockerfile: &str,
    context: &[u8],
    is_podman: bool,
) -> Result<ContextUpload, EngineError> {
    let git = |e: GitError| tree.fail(&e);
    let pattern = |e: BadPattern| EngineError::new(ErrorKind::Build, e.to_string());
    let (entries, all) = (tree.context(), &tree.snapshot.entries);
    let mut blobs = tree.snapshot.blobs().map_err(git)?;
    let (mut excludes, mut more) = (Vec::new(), Vec::new());
    let own = file(tree.find(format!("{dockerfile}.dockerignore").as_bytes()).await.map_err(git)?, all);
    let ignore_file = file(tree.find_among(entries, IGNORE_FILE.as_bytes()).await.map_err(git)?, entries);
    if let Some(entry) = own.or(ignore_file) {
        excludes = read_ignore_file(&blobs.read(entry).await.map_err(git)?);
    }
    tree.note_excludes(&excludes);
    let resolved = tree.resolved(dockerfile).await;
    let of_dockerfile = tree.snapshot.entry(resolved.as_bytes());
    let mut left_out = vec![PODMANS_IGNORE_FILE.to_owned()];
    let dockerfile = match (path_below(&resolved, context), of_dockerfile) {
        (Some(path), _) => path.to_owned(),
        // The engine reports that the file does not exist.
        (None, None) => resolved,
        (None, Some(entry)) => {
            let name = format!(".dockerfile.{}", hex::encode(&Sha256::digest(&resolved)[..8]));
            let mut ignored = match ignore_file {
                Some(entry) => blobs.read(entry).await.map_err(git)?,
                None => IGNORE_FILE.into(),
            };
            ignored.extend(format!("\n{name}\n").into_bytes());
            more.push((renamed(entry, &name), blobs.read(entry).await.map_err(git)?));
            more.push((renamed(ignore_file.unwrap_or(entry), IGNORE_FILE), ignored));
            left_out.push(name.clone());
            if ignore_file.is_none() {
                left_out.push(IGNORE_FILE.to_owned());
            }
            name
        }
    };
    for kept in [IGNORE_FILE, &dockerfile] {
        let (path, bounds) = (kept.as_bytes().to_vec(), tree.bounds);
        let is_excluded;
        (is_excluded, excludes) =
            compute(move || (Matcher::within(&excludes, bounds).and_then(|m| m.matches_alone(&path)), excludes)).await;
        if is_excluded.map_err(pattern)? {
            excludes.push([b"!", kept.as_bytes()].concat());
            left_out.push(kept.to_owned());
            // The engine gets the file in place of a link to it, because it would leave the link to an excluded file
            // behind.
            if kept == IGNORE_FILE
                && more.is_empty()
                && let Some(entry) = ignore_file.filter(|entry| entry.path != IGNORE_FILE.as_bytes())
            {
                more.push((renamed(entry, IGNORE_FILE), blobs.read(entry).await.map_err(git)?));
            }
        }
    }
    if let Some(entry) = of_dockerfile.filter(|_| is_podman) {
        more.push((renamed(entry, PODMANS_IGNORE_FILE), left_out.join("\n").into_bytes()));
    }
    let filter = PathFilter { excludes, ..PathFilter::default() };
    let mut chosen = choose(&tree, Tree::context, filter).await.map_err(|error| match error {
        ChoiceError::Git(error) => git(error),
        ChoiceError::Pattern(error) => pattern(error),
    })?;
    chosen.retain(|&index| more.iter().all(|(entry, _)| entry.path != entries[index as usize].path));

    let (out, frames) = mpsc::channel(1);
    // The task ends with the body, because it cannot send any more then.
    tokio::spawn(async move {
        if let Err(e) = write(&tree, &chosen, &more, &mut blobs, TarRoot::default(), &out).await {
            let _ = out.send(Err(e)).await;
        }
    });
    Ok(ContextUpload { body: StreamBody::new(ReceiverStream::new(frames)).boxed_unsync(), dockerfile })
}

/// The user and the group that own what a tar has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine) struct Owner {
    pub user: u32,
    pub group: u32,
}

/// The folder of a tar that has a tree.
#[derive(Clone, Copy, Default)]
pub(in crate::engine) struct TarRoot<'a> {
    /// Path that ends with `/`; empty for the root of the tar.
    pub path: &'a str,
    pub owner: Owner,
}

/// Returns the frames of a tar of small files and of the whole tree, which is below a folder of its own. The tree is read
/// while the tar is sent.
pub(in crate::engine) fn whole_tree(
    tree: Arc<Tree>,
    folder: String,
    owner: Owner,
    files: &[SmallFile<'_>],
) -> Result<ReceiverStream<TarFrame>, EngineError> {
    let mut blobs = tree.snapshot.blobs().map_err(|e| tree.fail(&e))?;
    let all: Vec<u32> = (0..).take(tree.context().len()).collect();
    let (out, frames) = mpsc::channel(2);
    // The channel has room for it.
    let _ = out.try_send(Ok(Frame::data(small_entries(files, owner).freeze())));
    tokio::spawn(async move {
        let root = TarRoot { path: &folder, owner };
        if let Err(e) = write(&tree, &all, &[], &mut blobs, root, &out).await {
            let _ = out.send(Err(e)).await;
        }
    });
    Ok(ReceiverStream::new(frames))
}

/// A file of a [`small_tar`], or with a path that ends with `/` a folder.
pub(in crate::engine) struct SmallFile<'a> {
    pub path: &'a str,
    pub mode: u32,
    pub content: &'a [u8],
}

/// Makes a tar of small files. Their paths have 100 bytes at most.
pub(in crate::engine) fn small_tar(files: &[SmallFile<'_>], owner: Owner) -> Bytes {
    let mut buffer = small_entries(files, owner);
    buffer.put_bytes(0, 2 * BLOCK);
    buffer.freeze()
}

fn small_entries(files: &[SmallFile<'_>], owner: Owner) -> BytesMut {
    let mut buffer = BytesMut::new();
    for SmallFile { path, mode, content } in files {
        let (r#type, size) = (if path.ends_with('/') { b'5' } else { b'0' }, content.len() as u64);
        ustar(path.as_bytes(), &[], r#type, *mode, size, 0, owner, &mut buffer);
        buffer.extend_from_slice(content);
        buffer.put_bytes(0, padding(size));
    }
    buffer
}

/// Reads the beginning of a tar of one file. Returns where the content of the file begins and its size, or `None` if more
/// of the tar is needed to tell.
pub(in crate::engine) fn file_size(tar: &[u8]) -> Option<(usize, u64)> {
    let (mut at, mut large) = (0, None);
    loop {
        let header = tar.get(at..at + BLOCK)?;
        let digits = std::str::from_utf8(&header[124..136]).ok()?.trim_matches(['\0', ' ']);
        let size = u64::from_str_radix(digits, 8).ok();
        at += BLOCK;
        match header[156] {
            // A pax header has the size of a file from 8 GiB on.
            b'x' | b'g' => {
                let size = usize::try_from(size?).ok()?;
                let records = std::str::from_utf8(tar.get(at..at + size)?).unwrap_or_default();
                let written = records.lines().find_map(|line| line.split_once(" size=")?.1.parse().ok());
                large = written.or(large);
                at += size.next_multiple_of(BLOCK);
            }
            _ => return Some((at, large.or(size)?)),
        }
    }
}

/// Returns the entry of a file that was found among these entries.
fn file(found: PathEnd, entries: &[Entry]) -> Option<&Entry> {
    match found {
        PathEnd::File { at, .. } => entries.get(at),
        _ => None,
    }
}

/// Returns the path in the context, or `None` if the file is outside of it.
fn path_below<'a>(path: &'a str, context: &[u8]) -> Option<&'a str> {
    match context {
        [] => Some(path),
        context => path.strip_prefix(std::str::from_utf8(context).ok()?)?.strip_prefix('/'),
    }
}

fn renamed(entry: &Entry, path: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::File, ..entry.clone() }
}

pub(in crate::engine) type TarFrame = Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>;

/// Writes the tar. `more` are files besides the chosen entries.
async fn write(
    tree: &Tree,
    chosen: &[u32],
    more: &[(Entry, Vec<u8>)],
    blobs: &mut Blobs,
    root: TarRoot<'_>,
    out: &mpsc::Sender<TarFrame>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let links = tree.links().await.map_err(|e| tree.fail(&e))?;
    let mut buffer = BytesMut::with_capacity(2 * CHUNK);
    // The engine makes the folder of a longer path by itself.
    if (1..=100).contains(&root.path.len()) {
        ustar(root.path.as_bytes(), &[], b'5', 0o755, 0, 0, root.owner, &mut buffer);
    }
    for (entry, content) in more {
        let size = content.len() as u64;
        header(&Entry { size, ..entry.clone() }, &[], root, &mut buffer);
        buffer.extend(content);
        buffer.put_bytes(0, padding(size));
    }
    for &index in chosen {
        let entry = &tree.context()[index as usize];
        header(entry, links.get(&entry.oid).map_or(&[], Vec::as_slice), root, &mut buffer);
        if matches!(entry.kind, EntryKind::File | EntryKind::Exec) {
            let mut blob = blobs.open(entry).await.map_err(|e| tree.fail(&e))?;
            while let Some(chunk) = blob.chunk().await.map_err(|e| tree.fail(&e))? {
                tree.count_bytes(chunk.len());
                buffer.extend(chunk);
                if buffer.len() >= CHUNK {
                    out.send(Ok(Frame::data(buffer.split().freeze()))).await?;
                }
            }
            buffer.put_bytes(0, padding(entry.size));
        }
        if buffer.len() >= CHUNK {
            out.send(Ok(Frame::data(buffer.split().freeze()))).await?;
        }
    }
    buffer.put_bytes(0, 2 * BLOCK);
    Ok(out.send(Ok(Frame::data(buffer.freeze()))).await?)
}

fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Writes an entry's header, and before it pax records for values that do not fit: names over 100 bytes and sizes from
/// 8 GiB.
fn header(entry: &Entry, target: &[u8], root: TarRoot<'_>, buffer: &mut BytesMut) {
    let mut path = [root.path.as_bytes(), &entry.path].concat();
    let (r#type, mode, size) = match entry.kind {
        EntryKind::File => (b'0', 0o644, entry.size),
        EntryKind::Exec => (b'0', 0o755, entry.size),
        EntryKind::Symlink => (b'2', 0o777, 0),
        EntryKind::Dir | EntryKind::Gitlink => {
            path.push(b'/');
            (b'5', 0o755, 0)
        }
    };
    let target = if r#type == b'2' { target } else { &[] };
    let mtime = entry.mtime.max(0) as u64 / 1_000_000_000;
    let mut records = Vec::new();
    if path.len() > 100 {
        record("path", &path, &mut records);
    }
    if target.len() > 100 {
        record("linkpath", target, &mut records);
    }
    if size > MAX_OCTAL {
        record("size", size.to_string().as_bytes(), &mut records);
    }
    if !records.is_empty() {
        ustar(b"pax", &[], b'x', 0o644, records.len() as u64, mtime, root.owner, buffer);
        let padding = padding(records.len() as u64);
        buffer.extend(records);
        buffer.put_bytes(0, padding);
    }
    ustar(&path, target, r#type, mode, size, mtime, root.owner, buffer);
}

/// Largest number in a field of 12 bytes, which has 11 octal digits.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// Largest number in a field of 8 bytes, which has 7 octal digits.
const MAX_ID: u32 = (1 << 21) - 1;

/// Appends a record `LENGTH KEY=VALUE\n`, where LENGTH includes its own digits.
fn record(key: &str, value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").into_bytes());
    records.extend(value);
    records.push(b'\n');
}

#[allow(clippy::too_many_arguments, reason = "they are the fields of the format")]
fn ustar(
    path: &[u8],
    target: &[u8],
    r#type: u8,
    mode: u32,
    size: u64,
    mtime: u64,
    Owner { user, group }: Owner,
    buffer: &mut BytesMut,
) {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(100)]);
    put(100, format!("{mode:07o}\0{:07o}\0{:07o}\0", user.min(MAX_ID), group.min(MAX_ID)).as_bytes());
    put(124, format!("{:011o}\0{:011o}\0", size.min(MAX_OCTAL), mtime.min(MAX_OCTAL)).as_bytes());
    put(148, b"        ");
    put(156, &[r#type]);
    put(157, &target[..target.len().min(100)]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    buffer.extend(block);
}

#[cfg(test)]
#[path = "tar/tests.rs"]
mod tests;
