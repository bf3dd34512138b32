//! Contents of files, by one `git cat-file --batch`: it reads `OID<newline>` and writes `OID TYPE SIZE<newline>`, the
//! content and a newline.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::command::local;
use super::{Entry, GitConfig, GitError, Mirror, Oid};
use crate::process::Running;

/// The most that [`Blob::chunk`] gives at once.
pub const CHUNK: usize = 128 << 10;

/// A reader of objects.
#[derive(Debug)]
pub struct Blobs {
    mirror: Mirror,
    _git: Running,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Bytes of the last answer that nobody read yet.
    unread: u64,
}

/// An object's content, read in chunks. It may be dropped before its end.
#[derive(Debug)]
pub struct Blob<'a> {
    blobs: &'a mut Blobs,
    size: u64,
    left: u64,
}

impl Blobs {
    pub(super) fn start(config: &GitConfig, mirror: &Mirror) -> Result<Self, GitError> {
        let mut git = local(config, &mirror.path).args(["cat-file", "--batch"]).start()?;
        let (Some(requests), Some(answers)) = (git.stdin(), git.stdout()) else {
            return Err(GitError::io("git cat-file", "its streams are not there"));
        };
        let answers = BufReader::with_capacity(CHUNK, answers);
        Ok(Self { mirror: mirror.clone(), _git: git, requests, answers, unread: 0 })
    }

    /// Asks for a file or a symlink (whose content is its target).
    pub async fn open(&mut self, entry: &Entry) -> Result<Blob<'_>, GitError> {
        let oid = &entry.oid;
        match self.request(oid).await {
            Ok(Some(size)) => Ok(Blob { blobs: self, size, left: size }),
            Ok(None) => Err(self.damaged(&format!("object {oid} is missing"))),
            Err(error) => Err(self.damaged(&format!("object {oid}: {error}"))),
        }
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

    async fn request(&mut self, oid: &Oid) -> std::io::Result<Option<u64>> {
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
        let size = blob_size(&header);
        self.unread = size.map_or(0, |size| size.saturating_add(1));
        Ok(size)
    }

    fn damaged(&self, what: &str) -> GitError {
        self.mirror.distrust();
        GitError::damaged(what, &self.mirror.source)
    }
}

impl Blob<'_> {
    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next 1 to [`CHUNK`] bytes, less only at the end; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, GitError> {
        let wanted = self.left.min(CHUNK as u64) as usize;
        if wanted == 0 {
            return Ok(None);
        }
        let mut chunk = Vec::with_capacity(wanted);
        while chunk.len() < wanted {
            let missing = (wanted - chunk.len()) as u64;
            let got = match (&mut self.blobs.answers).take(missing).read_buf(&mut chunk).await {
                Ok(got) if got > 0 => got as u64,
                Ok(_) => return Err(self.blobs.damaged("an object breaks off")),
                Err(error) => return Err(self.blobs.damaged(&error.to_string())),
            };
            self.left -= got;
            self.blobs.unread -= got;
        }
        Ok(Some(chunk))
    }
}

/// From `OID blob SIZE`.
fn blob_size(header: &str) -> Option<u64> {
    let mut words = header.strip_suffix('\n')?.split(' ').skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some("blob"), Some(size), None) => size.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_blob_has_a_size() {
        assert_eq!(blob_size("0123 blob 42\n"), Some(42));
        for header in ["", "0123 missing\n", "0123 tree 42\n", "0123 blob 42", "0123 blob x\n", "0123 blob 4 2\n"] {
            assert_eq!(blob_size(header), None, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived(header: String) {
            let _ = blob_size(&header);
        }
    }
}
