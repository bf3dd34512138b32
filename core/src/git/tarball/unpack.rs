//! Reads a tarball as `git archive` writes it (git's `archive-tar.c`): POSIX.1-2001, with the commit's id in a global pax
//! header, one top folder, files, folders and symbolic links. Whatever else a tar may have is refused, because programs
//! differ in how they read it. The crate `tar` reads headers and pax records, and nothing of it that writes files is used.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use flate2::read::GzDecoder;
use tar::{Archive, EntryType, PaxExtensions};
use tokio::sync::mpsc::{Receiver, Sender};

use super::names::{LONGEST, TarballNames, ref_of};
use super::stream::{ImportStopped, ImportStream};
use crate::git::errors::{BROKEN_TARBALL, UNSAFE_TARBALL};
use crate::git::tree::TreeError;
use crate::git::{GitBounds, GitError};
use crate::model::{CommitId, RepoName, is_attribute};

/// Longest pax header, in bytes. It has a path, a link's target, or a commit's id.
const LONGEST_PAX: u64 = 64 << 10;
/// The most that may follow the last entry, in bytes. Git fills the last 10 KiB with zeros.
const LONGEST_END: u64 = 1 << 20;
/// The last second of a commit, in the year 2255.
const LAST_SECOND: u64 = 9_000_000_000;

/// The facts about a tarball that was passed to Git as a whole.
#[derive(Debug)]
pub struct Unpacked {
    pub commit: CommitId,
    pub files: u64,
    pub bytes: u64,
    /// Path of the first file with an ACL or an extended attribute, which no commit has.
    pub with_attributes: Option<String>,
}

#[derive(Debug)]
pub enum UnpackError {
    /// The tarball is cut off or damaged.
    Broken(String),
    /// Something that no archive of a commit has.
    Unsafe(String),
    /// More than a commit may have.
    Bound(TreeError),
    /// Git takes no more.
    Stopped,
}

impl UnpackError {
    pub fn into_error(self, repo: &RepoName, commit: &str) -> GitError {
        match self {
            Self::Unsafe(what) => UNSAFE_TARBALL.error(&[&commit, repo, &what]),
            Self::Bound(error) => GitError::refused(format!("the tarball of {repo} at {commit}: {error}")),
            Self::Broken(why) => BROKEN_TARBALL.error(&[&commit, repo, &why]),
            Self::Stopped => BROKEN_TARBALL.error(&[&commit, repo, &"Git took no more of it"]),
        }
    }
}

impl From<io::Error> for UnpackError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<ImportStopped> for UnpackError {
    fn from(_: ImportStopped) -> Self {
        Self::Stopped
    }
}

/// Turns a packed tarball into commands for Git. It blocks, and ends when either side is gone. `wanted` is the id of the
/// commit that was asked for, or its beginning.
pub fn unpack(
    packed: Receiver<Bytes>,
    commands: Sender<Bytes>,
    wanted: &str,
    bounds: GitBounds,
) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(GzDecoder::new(Pieces { packed, piece: Bytes::new() }));
    let mut entries = archive.entries()?.raw(true);
    let first = entries.next().ok_or_else(|| unsafe_("no entry"))??;
    let commit = commit_of(first)?;
    if !commit.as_str().starts_with(wanted) {
        return Err(unsafe_(format!("the files of another commit, {commit}")));
    }
    let (mut names, mut commands, mut import) = (TarballNames::default(), Some(commands), None);
    let (mut count, mut files, mut bytes) = (0, 0, 0);
    let (mut pax, mut with_attributes) = (PaxRecord::default(), None);
    for entry in entries {
        let mut entry = entry?;
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size()?);
        count += 1;
        // An entry may have a pax header before it.
        if count > bounds.files.saturating_mul(2) {
            return Err(UnpackError::Bound(TreeError::TooMany(bounds.files)));
        }
        if kind == EntryType::XHeader {
            pax = PaxRecord::read(&mut entry, size)?;
            continue;
        }
        let PaxRecord { path, link, size: other_size, has_attributes } = std::mem::take(&mut pax);
        if other_size.is_some_and(|other| other != size) {
            return Err(unsafe_("an entry with two sizes"));
        }
        let path = path.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let path = names.take(&path, kind == EntryType::Directory, &commit).map_err(UnpackError::Unsafe)?;
        if has_attributes {
            with_attributes.get_or_insert_with(|| String::from_utf8_lossy(path).into_owned());
        }
        let import = match &mut import {
            Some(import) => import,
            None => {
                let seconds = entry.header().mtime()?.min(LAST_SECOND);
                let commands = commands.take().ok_or(ImportStopped)?;
                import.insert(ImportStream::begin(commands, &ref_of(commit.as_str()), seconds)?)
            }
        };
        match kind {
            EntryType::Directory if size == 0 => continue,
            EntryType::Symlink if size == 0 => {
                let target = link.or_else(|| entry.header().link_name_bytes().map(|name| name.into_owned()));
                let target = target.filter(|name| (1..=LONGEST).contains(&name.len()) && !name.contains(&0));
                let target = target.ok_or_else(|| unsafe_("a link with an unusable target"))?;
                import.file("120000", path, target.len() as u64)?;
                import.write(&target)?;
            }
            EntryType::Regular => {
                bytes += size;
                if bytes > bounds.bytes {
                    return Err(UnpackError::Bound(TreeError::TooLarge(bounds.bytes)));
                }
                let is_program = entry.header().mode()? & 0o100 != 0;
                import.file(if is_program { "100755" } else { "100644" }, path, size)?;
                if import.copy(&mut entry)?? != size {
                    return Err(UnpackError::Broken("a file in it is cut off".into()));
                }
            }
            kind => return Err(unsafe_(format!("an entry of the type {:?}", char::from(kind.as_byte())))),
        }
        files += 1;
        if files > bounds.files {
            return Err(UnpackError::Bound(TreeError::TooMany(bounds.files)));
        }
    }
    let import = import.ok_or_else(|| unsafe_("no entry"))?;
    // The rest has the checksum of the whole.
    if io::copy(&mut archive.into_inner().take(LONGEST_END), &mut io::sink())? == LONGEST_END {
        return Err(unsafe_("more data behind its end"));
    }
    import.end()?;
    Ok(Unpacked { commit, files, bytes, with_attributes })
}

fn unsafe_(what: impl Into<String>) -> UnpackError {
    UnpackError::Unsafe(what.into())
}

/// Reads the commit's id in the global header, which is the first entry.
fn commit_of(mut entry: tar::Entry<impl Read>) -> Result<CommitId, UnpackError> {
    let none = || unsafe_("no global header with a commit's id");
    let size = entry.header().entry_size()?;
    if entry.header().entry_type() != EntryType::XGlobalHeader {
        return Err(none());
    }
    let mut commit = None;
    for (key, value) in records(&mut entry, size)? {
        match key.as_str() {
            "comment" => commit = std::str::from_utf8(&value).ok().and_then(|id| CommitId::parse(id).ok()),
            "path" | "linkpath" | "size" => return Err(unsafe_(format!("a {key} for all of its entries"))),
            _ => {}
        }
    }
    commit.ok_or_else(none)
}

/// The records of a pax header that say something of the entry behind it.
#[derive(Default)]
struct PaxRecord {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    has_attributes: bool,
}

impl PaxRecord {
    fn read(entry: &mut impl Read, size: u64) -> Result<Self, UnpackError> {
        let mut record = Self::default();
        for (key, value) in records(entry, size)? {
            match key.as_str() {
                "path" => record.path = Some(value),
                "linkpath" => record.link = Some(value),
                "size" => {
                    let size = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                    record.size = Some(size.ok_or_else(|| unsafe_("a size that is no number"))?);
                }
                key if key.starts_with("GNU.sparse") => return Err(unsafe_("a file with holes")),
                key if is_attribute(key) => record.has_attributes = true,
                _ => {}
            }
        }
        Ok(record)
    }
}

fn records(entry: &mut impl Read, size: u64) -> Result<Vec<(String, Vec<u8>)>, UnpackError> {
    if size > LONGEST_PAX {
        return Err(unsafe_(format!("a header of more than {LONGEST_PAX} bytes")));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text)?;
    let records = PaxExtensions::new(&text).map(|record| {
        let record = record?;
        let key = record.key().map_err(io::Error::other)?;
        Ok((key.to_owned(), record.value_bytes().to_vec()))
    });
    records.collect::<io::Result<_>>().map_err(|error| unsafe_(format!("a header that cannot be read ({error})")))
}

/// Reads the pieces that another task sends.
struct Pieces {
    packed: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.packed.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let len = self.piece.len().min(out.len());
        self.piece.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}
