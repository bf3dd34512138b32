//! The store of LFS objects: `lfs/ab/cd/SHA256`, shared by all repositories. Beside each object is an empty file
//! `SHA256.ACCESS-sent` for every server and key that sent its bytes (see [`access`](crate::git::mirror::access)), because
//! knowing an object's hash gives no right to its content. Converted files are kept in the same folders without such a
//! mark, so no pointer opens one.
//!
//! All of it is a cache: any file in it may be removed and is then fetched again. A snapshot sets the modification time
//! of every file that it uses, so a file that is older than all running jobs is unused.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncReadExt;

use crate::git::{CHUNK, Fault, GitError, Oid};

const PARTIAL: &str = "half-";

#[derive(Debug)]
pub struct LfsStore {
    dir: PathBuf,
}

impl LfsStore {
    /// Makes the folder, and removes incomplete files of a former process.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes()) {
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
        }
        Ok(Self { dir: dir.into() })
    }

    /// Returns true if the complete object is in the store, whoever it was given to. Records the use.
    pub fn has(&self, oid: &Oid, size: u64) -> bool {
        let path = self.path(oid);
        touch(&path) && fs::metadata(&path).is_ok_and(|file| file.len() == size)
    }

    /// Returns true if the object's bytes came by this access. Records the use.
    pub fn is_granted(&self, oid: &Oid, access: &str) -> bool {
        touch(&granted(&self.path(oid), access))
    }

    pub async fn read(&self, oid: &Oid, size: u64) -> Result<StoredObject, GitError> {
        let path = self.path(oid);
        match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(StoredObject { file, path, oid: *oid, left: size, hash: Sha256::new() }),
            Err(error) => Err(GitError::io(format_args!("the stored file {oid}"), error)),
        }
    }

    /// Makes a file to be filled and then [kept](Self::keep).
    pub fn new_file(&self) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PARTIAL).permissions(Permissions::from_mode(0o600)).tempfile_in(&self.dir)
    }

    /// Puts a complete file, whose hash was checked, in its place atomically. A crash of the machine may lose its
    /// content again, which its size and, when it is read, its hash reveal.
    pub fn keep(&self, file: NamedTempFile, oid: &Oid) -> io::Result<()> {
        let path = self.path(oid);
        fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }

    /// Makes a folder for files that may then be [imported](Self::import).
    pub fn new_folder(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(PARTIAL).permissions(Permissions::from_mode(0o700)).tempdir_in(&self.dir)
    }

    /// Moves a file of such a folder to its place in the store, and returns its SHA-256 and its size.
    pub fn import(&self, file: &Path) -> io::Result<(Oid, u64)> {
        let (mut hash, mut size, mut content) = (Sha256::new(), 0, File::open(file)?);
        let mut buffer = vec![0; CHUNK];
        loop {
            match content.read(&mut buffer)? {
                0 => break,
                got => {
                    hash.update(&buffer[..got]);
                    size += got as u64;
                }
            }
        }
        let oid = Oid::from_bytes(&hash.finalize()).ok_or(io::ErrorKind::InvalidData)?;
        let path = self.path(&oid);
        fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
        fs::rename(file, path)?;
        Ok((oid, size))
    }

    /// Records that the object's bytes came by this access.
    pub fn grant(&self, oid: &Oid, access: &str) -> io::Result<()> {
        File::create(granted(&self.path(oid), access)).map(drop)
    }

    fn path(&self, oid: &Oid) -> PathBuf {
        let name = oid.to_string();
        self.dir.join(&name[..2]).join(&name[2..4]).join(name)
    }
}

/// Returns true if the file exists. Sets its time to now.
fn touch(path: &Path) -> bool {
    // A file whose time cannot be set is removed a little early.
    File::open(path).map(|file| drop(file.set_modified(SystemTime::now()))).is_ok()
}

fn granted(path: &Path, access: &str) -> PathBuf {
    // Marks without `-sent` are of a former version, which also made them for an object that a server merely named.
    path.with_extension(format!("{access}-sent"))
}

/// An object that is being read.
#[derive(Debug)]
pub struct StoredObject {
    file: tokio::fs::File,
    path: PathBuf,
    oid: Oid,
    left: u64,
    hash: Sha256,
}

impl StoredObject {
    /// Returns the next 1 to `most` bytes, fewer only at the end. Returns `None` at the end if size and hash are right.
    pub async fn chunk(&mut self, most: usize) -> Result<Option<Vec<u8>>, GitError> {
        let wanted = self.left.min(most as u64);
        let mut chunk = Vec::with_capacity(wanted as usize);
        while (chunk.len() as u64) < wanted {
            let missing = wanted - chunk.len() as u64;
            match (&mut self.file).take(missing).read_buf(&mut chunk).await {
                Ok(got) if got > 0 => {}
                Ok(_) => return Err(self.damaged("it breaks off")),
                Err(error) => return Err(self.damaged(&error.to_string())),
            }
        }
        self.hash.update(&chunk);
        self.left -= wanted;
        if wanted > 0 && self.left == 0 && std::mem::take(&mut self.hash).finalize()[..] != *self.oid.as_bytes() {
            return Err(self.damaged("its content is another one"));
        }
        Ok((wanted > 0).then_some(chunk))
    }

    fn damaged(&self, what: &str) -> GitError {
        // A failed removal is ignored, because a broken disk causes other errors soon.
        let _ = fs::remove_file(&self.path);
        let message = format!("the stored file {} is damaged ({what}): try again, it is then made anew", self.oid);
        GitError { exit_code: 128, message, fault: Fault::Host }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn stored(store: &LfsStore, content: &[u8]) -> Oid {
        let oid = Oid::from_bytes(&Sha256::digest(content)).unwrap();
        let mut file = store.new_file().unwrap();
        file.write_all(content).unwrap();
        store.keep(file, &oid).unwrap();
        oid
    }

    #[test]
    fn an_object_opens_only_for_the_access_that_it_was_given_to() {
        let dir = tempfile::tempdir().unwrap();
        let store = LfsStore::open(dir.path()).unwrap();
        let oid = stored(&store, b"hello");
        assert!(store.has(&oid, 5) && !store.has(&oid, 4) && !store.is_granted(&oid, "a"));
        store.grant(&oid, "a").unwrap();
        assert!(store.is_granted(&oid, "a") && !store.is_granted(&oid, "b"));
        // The use of the object is recorded.
        let path = store.path(&oid);
        let used = || fs::metadata(&path).unwrap().modified().unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(used(), SystemTime::UNIX_EPOCH);
        assert!(store.has(&oid, 5) && used() > SystemTime::UNIX_EPOCH);
    }

    #[tokio::test]
    async fn damage_is_noticed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = LfsStore::open(dir.path()).unwrap();
        for damage in [&b"hallo"[..], b"hell"] {
            let oid = stored(&store, b"hello");
            let mut object = store.read(&oid, 5).await.unwrap();
            assert_eq!(object.chunk(3).await.unwrap().unwrap(), b"hel");
            assert_eq!(object.chunk(3).await.unwrap().unwrap(), b"lo");
            assert_eq!(object.chunk(3).await.unwrap(), None);
            fs::write(store.path(&oid), damage).unwrap();
            let error = store.read(&oid, 5).await.unwrap().chunk(9).await.unwrap_err();
            assert!(error.is_transient() && error.message.contains("is damaged"), "{error}");
            assert!(!store.path(&oid).exists());
        }
    }

    #[tokio::test]
    async fn a_file_is_taken_in_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let store = LfsStore::open(dir.path()).unwrap();
        let folder = store.new_folder().unwrap();
        let file = folder.path().join("x");
        fs::write(&file, "hello").unwrap();
        let (oid, size) = store.import(&file).unwrap();
        assert!(size == 5 && store.has(&oid, 5) && !store.is_granted(&oid, "a") && !file.exists());
        assert_eq!(store.read(&oid, 5).await.unwrap().chunk(9).await.unwrap().unwrap(), b"hello");
    }

    #[test]
    fn incomplete_files_are_removed_when_the_store_opens() {
        let dir = tempfile::tempdir().unwrap();
        let store = LfsStore::open(dir.path()).unwrap();
        store.new_file().unwrap().keep().unwrap();
        let folder = store.new_folder().unwrap().keep();
        fs::write(folder.join("x"), "x").unwrap();
        let oid = stored(&store, b"x");
        let store = LfsStore::open(dir.path()).unwrap();
        assert!(store.has(&oid, 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
