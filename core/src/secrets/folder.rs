use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::contents::{Contents, MAX_SIZE};
use super::name::{OWNER, SCOPED};
use super::{SecretName, SecretsError, digest};
use crate::durable::replace_file;

/// Interval at which the folder is read. Reading a handful of small files costs 0.1 ms, and unlike inotify it sees every
/// kind of change on every file system (a Kubernetes volume swaps a symbolic link).
const POLL: Duration = Duration::from_secs(1);

/// A folder of secrets, with the paths of [`SecretName`]. A folder that does not exist counts as empty.
pub struct Folder {
    root: PathBuf,
    /// Digest of the result of the last read, contents or failure.
    last_read: Option<[u8; 32]>,
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.into(), last_read: None }
    }

    /// Returns the contents: at once the first time, then when they have changed.
    pub async fn next(&mut self) -> Result<Contents, SecretsError> {
        loop {
            if self.last_read.is_some() {
                sleep(POLL).await;
            }
            let root = self.root.clone();
            let read = spawn_blocking(move || read(&root)).await.unwrap_or_else(|e| Err(SecretsError(e.to_string())));
            let digest = Some(digest_of(&read));
            if digest != self.last_read {
                self.last_read = digest;
                return read;
            }
        }
    }

    /// Deletes a secret, and returns the paths that it had.
    pub async fn delete(&self, name: &SecretName) -> Result<Vec<String>, SecretsError> {
        let (root, name) = (self.root.clone(), name.clone());
        spawn_blocking(move || delete(&root, &name)).await.unwrap_or_else(|e| Err(SecretsError(e.to_string())))
    }

    /// Stores a secret in a file of mode 0600, and returns the path. New folders have mode 0700.
    pub async fn put(&self, name: &SecretName, value: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
        let (root, name) = (self.root.clone(), name.clone());
        spawn_blocking(move || put(&root, &name, &value)).await.unwrap_or_else(|e| Err(SecretsError(e.to_string())))
    }
}

/// Deletes the file of a secret, or the owner's secret in the owner's folder.
fn delete(root: &Path, name: &SecretName) -> Result<Vec<String>, SecretsError> {
    let mut paths = vec![root.join(name.to_string())];
    if name.is_of_owner() {
        paths.push(root.join(format!("{name}/{OWNER}")));
    }
    let mut deleted = Vec::new();
    for path in paths {
        // A link to a folder is no owner's folder, so it is deleted as a file.
        let is_file = fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir());
        let parent = path.parent().filter(|_| is_file);
        if let Some(parent) = parent {
            fs::remove_file(&path)
                .and_then(|()| fs::File::open(parent)?.sync_all())
                .map_err(|e| SecretsError(format!("{} cannot be deleted: {e}", path.display())))?;
            deleted.push(path.display().to_string());
        }
    }
    Ok(deleted)
}

fn put(root: &Path, name: &SecretName, value: &[u8]) -> Result<String, SecretsError> {
    let path = match name {
        name if name.is_of_owner() && !root.join(name.to_string()).is_file() => root.join(format!("{name}/{OWNER}")),
        name => root.join(name.to_string()),
    };
    let folder = path.parent().unwrap_or(root);
    if folder.is_file() {
        return Err(SecretsError(format!(
            "{} is a file with the owner's secret, and a folder is needed there: rename it to {OWNER} and put it into a new folder {0}",
            folder.display()
        )));
    }
    match write(&path, folder, value) {
        Ok(()) => Ok(path.display().to_string()),
        Err(e) => Err(SecretsError(format!("{} cannot be written: {e}", path.display()))),
    }
}

fn write(path: &Path, folder: &Path, value: &[u8]) -> io::Result<()> {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let owner = fs::metadata(existing)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    replace_file(path, 0o600, value)?;
    // Files that root stores get the folder's owner, because the service must be able to read them.
    if rustix::process::geteuid().is_root() {
        for made in path.ancestors().take_while(|made| *made != existing) {
            chown(made, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

fn read(root: &Path) -> Result<Contents, SecretsError> {
    let mut contents = Contents::default();
    for name in SecretName::SINGLE {
        add(root, &name.to_string(), &name.to_string(), &mut contents);
    }
    for scoped in SCOPED {
        for owner in list(&root.join(scoped))? {
            let path = format!("{scoped}/{owner}");
            if !root.join(&path).is_dir() {
                add(root, &path, &path, &mut contents);
                continue;
            }
            for repo in list(&root.join(&path))? {
                let file = format!("{path}/{repo}");
                add(root, &file, if repo == OWNER { &path } else { &file }, &mut contents);
            }
        }
    }
    Ok(contents)
}

/// Reads one file into the contents as what `path` names.
fn add(root: &Path, file: &str, path: &str, contents: &mut Contents) {
    let file = root.join(file);
    let mut value = Zeroizing::new(Vec::with_capacity(8 << 10));
    match fs::File::open(&file).and_then(|f| f.take(MAX_SIZE + 1).read_to_end(&mut value)) {
        Ok(_) => contents.add(path, Ok(value)),
        // A symbolic link to nothing counts as a secret that is stored and cannot be read.
        Err(e) if e.kind() == ErrorKind::NotFound && fs::symlink_metadata(&file).is_err() => {}
        Err(e) => contents.add(path, Err(SecretsError(format!("{} cannot be read: {e}", file.display())))),
    }
}

/// Returns the names in a folder, without the hidden ones of an editor or of a Kubernetes volume.
fn list(folder: &Path) -> Result<Vec<String>, SecretsError> {
    let names = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>, _>>()
    });
    match names {
        Ok(names) => Ok(names.into_iter().filter(|n| !n.starts_with('.')).collect()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(SecretsError(format!("the folder {} cannot be read: {e}", folder.display()))),
    }
}

/// Returns a digest by which two reads are compared.
fn digest_of(read: &Result<Contents, SecretsError>) -> [u8; 32] {
    let text = match read {
        Ok(contents) => {
            let values: BTreeMap<_, _> = contents.values.iter().map(|(name, v)| (name, digest(v))).collect();
            format!("{values:?} {:?}", contents.trouble)
        }
        Err(e) => e.to_string(),
    };
    digest(&Ok(Zeroizing::new(text.into_bytes())))
}

#[cfg(test)]
mod tests;
