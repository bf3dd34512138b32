//! Contents of files: of Git's objects by one `git cat-file --batch` a repository, which reads `OID<newline>` and writes
//! `OID TYPE SIZE<newline>`, the content and a newline; of LFS files from their store; and of `.git` from the disk.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::command::local;
use super::gitdir::GitDir;
use super::lfs::{Object, Store};
use super::{Entry, GitConfig, GitError, Mirror, Oid};
use crate::process::Running;

/// The most that [`Blob::chunk`] gives at once.
pub const CHUNK: usize = 128 << 10;

/// A reader of a snapshot's files.
#[derive(Debug)]
pub struct Blobs {
    config: GitConfig,
    mirrors: Vec<Mirror>,
    /// One a mirror, started when it is first asked.
    readers: Vec<Option<Reader>>,
    objects: Arc<Store>,
    git_dir: Option<Arc<GitDir>>,
}

/// A file's content, read in chunks. It may be dropped before its end.
#[derive(Debug)]
pub struct Blob<'a> {
    content: Content<'a>,
    size: u64,
}

#[derive(Debug)]
enum Content<'a> {
    Git {
        reader: &'a mut Reader,
        left: u64,
    },
    Lfs(Box<Object>),
    /// A file of `.git`.
    Disk {
        file: Box<tokio::fs::File>,
        left: u64,
    },
}

impl Blobs {
    pub(super) fn start(
        config: &GitConfig,
        mirrors: Vec<Mirror>,
        objects: Arc<Store>,
        git_dir: Option<Arc<GitDir>>,
    ) -> Result<Self, GitError> {
        let mut readers: Vec<_> = mirrors.iter().map(|_| None).collect();
        // Most files are in the first.
        if let Some((mirror, reader)) = mirrors.first().zip(readers.first_mut()) {
            *reader = Some(Reader::start(config, mirror)?);
        }
        Ok(Self { config: config.clone(), mirrors, readers, objects, git_dir })
    }

    /// Asks for a file or a symlink (whose content is its target).
    pub async fn open(&mut self, entry: &Entry) -> Result<Blob<'_>, GitError> {
        if entry.lfs {
            let object = self.objects.read(&entry.oid, entry.size).await?;
            return Ok(Blob { content: Content::Lfs(Box::new(object)), size: entry.size });
        }
        if entry.is_of_git_dir()
            && let Some(git_dir) = &self.git_dir
        {
            let path = git_dir.file(&entry.path);
            let file = tokio::fs::File::open(&path).await.map_err(|error| GitError::io(path.display(), error))?;
            let content = Content::Disk { file: Box::new(file), left: entry.size };
            return Ok(Blob { content, size: entry.size });
        }
        let at = entry.origin as usize;
        let (Some(mirror), Some(reader)) = (self.mirrors.get(at), self.readers.get_mut(at)) else {
            return Err(GitError::refused(format!("{} is not in this snapshot", entry.oid)));
        };
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(Reader::start(&self.config, mirror)?),
        };
        let size = reader.open(&entry.oid).await?;
        Ok(Blob { content: Content::Git { reader, left: size }, size })
    }

    /// All of a small file.
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
    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next 1 to [`CHUNK`] bytes, less only at the end; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        match &mut self.content {
            Content::Git { reader, left } => {
                let chunk = reader.chunk((*left).min(CHUNK as u64) as usize).await?;
                *left -= chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
            Content::Lfs(object) => object.chunk(CHUNK).await,
            Content::Disk { file, left } => {
                let mut chunk = vec![0; (*left).min(CHUNK as u64) as usize];
                file.read_exact(&mut chunk).await.map_err(|error| GitError::io("a file of .git", error))?;
                *left -= chunk.len() as u64;
                Ok((!chunk.is_empty()).then_some(chunk))
            }
        }
    }
}

/// One repository's objects.
#[derive(Debug)]
pub(super) struct Reader {
    mirror: Mirror,
    _git: Running,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Bytes of the last answer that nobody read yet.
    unread: u64,
}

impl Reader {
    pub fn start(config: &GitConfig, mirror: &Mirror) -> Result<Self, GitError> {
        let mut git = local(config, &mirror.path).args(["cat-file", "--batch"]).start()?;
        let (Some(requests), Some(answers)) = (git.stdin(), git.stdout()) else {
            return Err(GitError::io("git cat-file", "its streams are not there"));
        };
        let answers = BufReader::with_capacity(CHUNK, answers);
        Ok(Self { mirror: mirror.clone(), _git: git, requests, answers, unread: 0 })
    }

    /// All of a small blob.
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

    /// Its size in bytes, which can then be read.
    async fn open(&mut self, oid: &Oid) -> Result<u64, GitError> {
        match self.request(oid).await {
            Ok(Answer::Blob(size)) => Ok(size),
            // The commit has it so, and a mirror that is fetched anew has it so, too.
            Ok(Answer::Other(kind)) => {
                let repo = &self.mirror.source.repo;
                Err(GitError::refused(format!(
                    "object {oid} of {repo} is a {kind} where a file is meant: commit a file"
                )))
            }
            Ok(Answer::Missing) => Err(self.damaged(&format!("object {oid} is missing"))),
            Err(error) => Err(self.damaged(&format!("object {oid}: {error}"))),
        }
    }

    async fn request(&mut self, oid: &Oid) -> std::io::Result<Answer> {
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
        self.answers.read_line(&mut header).await?;
        let (answer, size) = answer(&header);
        self.unread = size.map_or(0, |size| size.saturating_add(1));
        Ok(answer)
    }

    /// The next `wanted` bytes of what was opened.
    async fn chunk(&mut self, wanted: usize) -> Result<Vec<u8>, GitError> {
        let mut chunk = Vec::with_capacity(wanted);
        while chunk.len() < wanted {
            let missing = (wanted - chunk.len()) as u64;
            let got = match (&mut self.answers).take(missing).read_buf(&mut chunk).await {
                Ok(got) if got > 0 => got as u64,
                Ok(_) => return Err(self.damaged("an object breaks off")),
                Err(error) => return Err(self.damaged(&error.to_string())),
            };
            self.unread -= got;
        }
        Ok(chunk)
    }

    fn damaged(&self, what: &str) -> GitError {
        self.mirror.distrust();
        GitError::damaged(what, &self.mirror.source)
    }
}

/// What the line before an object says.
#[derive(Debug, PartialEq)]
enum Answer {
    /// A blob of so many bytes.
    Blob(u64),
    /// An object of this other type.
    Other(String),
    Missing,
}

/// From `OID TYPE SIZE`; and how many bytes follow, with the newline behind them one more.
fn answer(header: &str) -> (Answer, Option<u64>) {
    let mut words = header.strip_suffix('\n').unwrap_or_default().split(' ').skip(1);
    let (kind, size, end) = (words.next(), words.next().and_then(|size| size.parse().ok()), words.next());
    match (kind, size, end) {
        (Some("blob"), Some(size), None) => (Answer::Blob(size), Some(size)),
        (Some(kind @ ("tree" | "commit" | "tag")), Some(size), None) => (Answer::Other(kind.into()), Some(size)),
        _ => (Answer::Missing, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_object_of_another_type_is_told_from_a_missing_one() {
        assert_eq!(answer("0123 blob 42\n"), (Answer::Blob(42), Some(42)));
        assert_eq!(answer("0123 tree 42\n"), (Answer::Other("tree".into()), Some(42)));
        for header in ["", "0123 missing\n", "0123 blob 42", "0123 blob x\n", "0123 blob 4 2\n", "0123 tree\n"] {
            assert_eq!(answer(header), (Answer::Missing, None), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived(header: String) {
            let _ = answer(&header);
        }
    }
}
