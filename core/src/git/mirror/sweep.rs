//! Removes folders, and the files that a killed Git left in a mirror.

use std::path::Path;
use std::{fs, io};

pub(in crate::git) async fn remove(dir: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a killed Git left behind: lock files, which block the next Git, and incomplete packs and objects.
pub(in crate::git) fn sweep(dir: &Path) -> io::Result<()> {
    remove_files(dir, &|name| name.ends_with(b".lock"))?;
    // Such files are removed only below `objects`, because a branch may be called tmp_x.
    remove_files(&dir.join("objects"), &|name| name.starts_with(b"tmp_") || name.starts_with(b".tmp-"))
}

fn remove_files(dir: &Path, is_left: &impl Fn(&[u8]) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_files(&entry.path(), is_left)?;
        } else if is_left(entry.file_name().as_encoded_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
