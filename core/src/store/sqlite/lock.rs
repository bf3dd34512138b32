use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::store::StoreError;

/// Makes the data folder (mode 0700; a folder that exists keeps its mode) and takes its lock. The lock lasts until the
/// returned file is closed, and so until a killed daemon is gone.
pub(in crate::store) fn lock(folder: &Path) -> Result<File, StoreError> {
    let unusable = |e: std::io::Error| StoreError::folder(folder, &e);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = open.open(folder.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let holder = match pid.trim() {
                "" => "another process".to_owned(),
                pid => format!("the process {pid}"),
            };
            return Err(StoreError::Locked { folder: folder.display().to_string(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(unusable(e)),
    }
    // The pid is only for people, because on a full disk the lock holds without it.
    let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
    let _ = write!(file, "{}", std::process::id());
    Ok(file)
}
