//! Measures the disk space of mirrors and LFS files.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::git::mirror::ORIGIN;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CacheSize {
    /// Bytes on the disk.
    pub bytes: u64,
    pub files: usize,
}

#[derive(Debug)]
pub(super) struct CacheItem {
    pub path: PathBuf,
    pub used: SystemTime,
    pub size: CacheSize,
}

#[derive(Debug, Default)]
pub(super) struct DiskInventory {
    pub mirrors: Vec<CacheItem>,
    /// The LFS files.
    pub objects: Vec<CacheItem>,
    /// Folders of mirrors that are being fetched anew, or were when the daemon was killed.
    pub partial: Vec<CacheItem>,
}

/// Lists the mirrors (`mirrors/OWNER/NAME.git`) and the LFS files (anywhere below `lfs`). A mirror in `known` is not
/// measured again.
pub(super) fn measure(dir: &Path, known: &HashMap<PathBuf, CacheSize>) -> io::Result<DiskInventory> {
    let mut found = DiskInventory::default();
    for owner in folders(&dir.join("mirrors"))? {
        for path in folders(&owner)? {
            let used = fs::metadata(path.join(ORIGIN)).or_else(|_| fs::metadata(&path));
            let used = used.and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let size = known.get(&path).copied();
            let size = size.map_or_else(|| size_of(&path), Ok)?;
            let is_complete = path.extension().is_some_and(|extension| extension == "git");
            let list = if is_complete { &mut found.mirrors } else { &mut found.partial };
            list.push(CacheItem { path, used, size });
        }
    }
    for_each_file(&dir.join("lfs"), &mut |path, file| {
        let size = CacheSize { bytes: file.blocks() * 512, files: 1 };
        found.objects.push(CacheItem { path, used: file.modified()?, size });
        Ok(())
    })?;
    Ok(found)
}

/// Measures a folder. A file that disappears meanwhile counts as nothing.
pub(super) fn size_of(dir: &Path) -> io::Result<CacheSize> {
    let mut size = CacheSize::default();
    for_each_file(dir, &mut |_, file| {
        size.bytes += file.blocks() * 512;
        size.files += 1;
        Ok(())
    })?;
    Ok(size)
}

fn for_each_file(dir: &Path, visit: &mut impl FnMut(PathBuf, fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    for entry in if_exists(fs::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        let Some(file) = if_exists(entry.metadata())? else { continue };
        match file.is_dir() {
            true => for_each_file(&entry.path(), visit)?,
            false => visit(entry.path(), file)?,
        }
    }
    Ok(())
}

fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in if_exists(fs::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
