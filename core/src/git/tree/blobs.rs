//! Contents of files. Git's objects come from one `git cat-file --batch` for each repository, which reads
//! `OID<newline>` and writes `OID TYPE SIZE<newline>`, the content and a newline. LFS files and converted files come
//! from their store, files of `.git` from the disk, and a file that came with the job's request from memory.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::git::command::{broken_off, local};
use crate::git::errors::RepoError;
use crate::git::gitdir::GitDir;
use crate::git::lfs::{LfsStore, StoredObject};
use crate::git::tree::INLINE;
use crate::git::{CHUNK, Entry, GitConfig, GitError, Mirror, Oid, RepoSource};
use crate::process::Running;

/// A reader of a snapshot's files.
#[derive(Debug)]
pub struct Blobs {
    config: GitConfig,
    mirrors: Vec<Mirror>,
    /// One reader for each mirror, started at its first use.
    readers: Vec<Option<ObjectReader>>,
    objects: Arc<LfsStore>,
    git_dir: Option<Arc<GitDir>>,
    /// Content of the file that came with the job's request.
    inline: Bytes,
}

/// A file's content, which is read in chunks. It may be dropped before its end.
#[derive(Debug)]
pub struct Blob<'a> {
    content: Content<'a>,
    size: u64,
}

#[derive(Debug)]
enum Content<'a> {
    Git {
        reader: &'a mut ObjectReader,
        left: u64,
    },
    StoredTable(Box<StoredObject>),
    /// A file of `.git`.
    Disk {
        file: Box<tokio::fs::File>,
        left: u64,
    },
    Memory(Bytes),
    Empty,
}

impl Blobs {
    pub(in crate::git) fn start(
        config: &GitConfig,
        mirrors: Vec<Mirror>,
        objects: Arc<LfsStore>,
        git_dir: Option<Arc<GitDir>>,
        inline: Bytes,
    ) -> Result<Self, GitError> {
        let mut readers: Vec<_> = mirrors.iter().map(|_| None).collect();
        // The first reader is started at once, because most files are in the first mirror.
        if let Some((mirror, reader)) = mirrors.first().zip(readers.first_mut()) {
            *reader = Some(ObjectReader::start(config, mirror)?);
        }
        Ok(Self { config: config.clone(), mirrors, readers, objects, git_dir, inline })
    }

    /// Opens a file or a symlink, whose content is its target.
    pub async fn open(&mut self, entry: &Entry) -> Result<Blob<'_>, GitError> {
        if entry.lfs && entry.size == 0 {
            return Ok(Blob { content: Content::Empty, size: 0 });
        }
        if entry.lfs {
            let object = self.objects.read(&entry.oid, entry.size).await?;
            return Ok(Blob { content: Content::StoredTable(Box::new(object)), size: entry.size });
        }
        if entry.is_of_git_dir()
            && let Some(git_dir) = &self.git_dir
        {
            let path = git_dir.file(&entry.path);
            let file = tokio::fs::File::open(&path).await.map_err(|error| GitError::io(path.display(), error))?;
            let content = Content::Disk { file: Box::new(file), left: entry.size };
            return Ok(Blob { content, size: entry.size });
        }
        if entry.origin == INLINE {
            return Ok(Blob { content: Content::Memory(self.inline.clone()), size: entry.size });
        }
        let at = entry.origin as usize;
        let (Some(mirror), Some(reader)) = (self.mirrors.get(at), self.readers.get_mut(at)) else {
            return Err(GitError::refused(format!("{} is not in this snapshot", entry.oid)));
        };
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(ObjectReader::start(&self.config, mirror)?),
        };
        let size = reader.open(&entry.oid).await?;
        Ok(Blob { content: Content::Git { reader, left: size }, size })
    }

    /// Reads a small file at once.
    pub async fn read(&mut self, entry: &Entry) -> Result<Vec<u8>, GitError> {
        let mut blob = self.open(entry).await?;
        let mut content = Vec::new();
        while let Some(chunk) = blob.chunk().await? {
            content.extend(chunk);
        }
        Ok(content)
    }
}

impl Blob<'_> {
    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next 1 to [`CHUNK`] bytes, fewer only at the end; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        match &mut self.content {
            Content::Git { reader, left } => {
                let chunk = reader.chunk((*left).min(CHUNK as u64) as usize).await?;
                *left -= chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
            Content::StoredTable(object) => object.chunk(CHUNK).await,
            Content::Disk { file, left } => {
                let mut chunk = vec![0; (*left).min(CHUNK as u64) as usize];
                file.read_exact(&mut chunk).await.map_err(|error| GitError::io("a file of .git", error))?;
                *left -= chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
            Content::Memory(rest) => {
                let chunk = rest.split_to(rest.len().min(CHUNK));
                Ok((!chunk.is_empty()).then(|| chunk.into()))
            }
            Content::Empty => Ok(None),
        }
    }
}

/// Reader of one repository's objects.
#[derive(Debug)]
pub(in crate::git) struct ObjectReader {
    mirror: Mirror,
    /// The program, until it has broken off.
    git: Option<Running>,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Bytes of the last answer that were not read yet.
    unread: u64,
}

impl ObjectReader {
    pub fn start(config: &GitConfig, mirror: &Mirror) -> Result<Self, GitError> {
        let mut git = local(config, &mirror.path).args(["cat-file", "--batch"]).start()?;
        let (Some(requests), Some(answers)) = (git.stdin(), git.stdout()) else {
            return Err(GitError::io("git cat-file", "its streams are not there"));
        };
        let answers = BufReader::with_capacity(CHUNK, answers);
        Ok(Self { mirror: mirror.clone(), git: Some(git), requests, answers, unread: 0 })
    }

    /// Reads a small blob at once.
    pub async fn read(&mut self, oid: &Oid) -> Result<Vec<u8>, GitError> {
        let mut left = self.open(oid).await?;
        let mut content = Vec::new();
        while left > 0 {
            let chunk = self.chunk(left.min(CHUNK as u64) as usize).await?;
            left -= chunk.len() as u64;
            content.extend(chunk);
        }
        Ok(content)
    }

    /// Returns the size of a blob in bytes. Its content is read next.
    pub async fn open(&mut self, oid: &Oid) -> Result<u64, GitError> {
        match self.request(oid).await {
            Ok(Header::Blob(size)) => Ok(size),
            Ok(Header::Other(kind)) => Err(wrong_type(oid, &format!("a {kind}"), "file", &self.mirror.source)),
            Ok(Header::Missing) => Err(self.damaged(&format!("object {oid} is missing"))),
            Err(error) => Err(self.broken_off(format!("object {oid}: {error}")).await),
        }
    }

    async fn request(&mut self, oid: &Oid) -> std::io::Result<Header> {
        while self.unread > 0 {
            let got = self.answers.fill_buf().await?.len().min(usize::try_from(self.unread).unwrap_or(usize::MAX));
            if got == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.answers.consume(got);
            self.unread -= got as u64;
        }
        self.requests.write_all(format!("{oid}\n").as_bytes()).await?;
        let mut header = String::new();
        if self.answers.read_line(&mut header).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (header, size) = parse(&header);
        self.unread = size.map_or(0, |size| size.saturating_add(1));
        Ok(header)
    }

    /// Returns the next `wanted` bytes of the blob that was opened last.
    pub async fn chunk(&mut self, wanted: usize) -> Result<Vec<u8>, GitError> {
        let mut chunk = Vec::with_capacity(wanted);
        while chunk.len() < wanted {
            let missing = (wanted - chunk.len()) as u64;
            let got = match (&mut self.answers).take(missing).read_buf(&mut chunk).await {
                Ok(got) if got > 0 => got as u64,
                Ok(_) => return Err(self.broken_off("an object breaks off".into()).await),
                Err(error) => return Err(self.broken_off(error.to_string()).await),
            };
            self.unread -= got;
        }
        Ok(chunk)
    }

    /// Returns the error of an answer that is not whole.
    async fn broken_off(&mut self, what: String) -> GitError {
        let failed = match self.git.take() {
            Some(git) => broken_off(git, what).await,
            None => RepoError::Damaged(what),
        };
        match failed {
            RepoError::Damaged(what) => self.damaged(&what),
            failed => failed.into_error(&self.mirror.source),
        }
    }

    fn damaged(&self, what: &str) -> GitError {
        self.mirror.distrust();
        GitError::damaged(what, &self.mirror.source)
    }
}

/// The first line of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Header {
    /// Size in bytes.
    Blob(u64),
    /// An object of this type.
    Other(String),
    Missing,
}

/// Parses `OID TYPE SIZE`. The size says how many bytes follow, whatever the type.
fn parse(header: &str) -> (Header, Option<u64>) {
    let mut words = header.strip_suffix('\n').unwrap_or_default().split(' ').skip(1);
    let (kind, size) = (words.next(), words.next().and_then(|size| size.parse().ok()));
    match (kind, size, words.next()) {
        (Some("blob"), Some(size), None) => (Header::Blob(size), Some(size)),
        (Some(kind @ ("tree" | "commit" | "tag")), Some(size), None) => (Header::Other(kind.into()), Some(size)),
        _ => (Header::Missing, None),
    }
}

/// Makes the error of a tree that names an object as another type than it has. The committer made it so, and no fetch
/// would repair it.
pub(in crate::git) fn wrong_type(oid: &Oid, kind: &str, named: &str, source: &RepoSource) -> GitError {
    let repo = &source.repo;
    let message = format!("a tree of {repo} names the object {oid} as a {named}, and it is {kind}");
    GitError::refused(format!("{message}: make the commit anew with Git's own commands"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_has_type_and_size() {
        assert_eq!(parse("0123 blob 42\n"), (Header::Blob(42), Some(42)));
        // The tree's content follows, and is skipped.
        assert_eq!(parse("0123 tree 42\n"), (Header::Other("tree".into()), Some(42)));
        for header in ["", "0123 missing\n", "0123 blob 42", "0123 blob x\n", "0123 blob 4 2\n", "0123 x 4\n"] {
            assert_eq!(parse(header), (Header::Missing, None), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived(header: String) {
            let _ = parse(&header);
        }
    }
}
