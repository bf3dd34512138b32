//! Files that are written as a whole or stay as they are.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// The rights and the owner of a file. An owner that is `None` is the launcher's own user or group.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    pub mode: u32,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// Writes a file of the launcher's own user with this mode, as `write_with` does, and waits for the disk to have it.
///
/// # Errors
/// The folder is missing, full or read-only.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    write_with(path, Attributes { mode, user: None, group: None }, content)?;
    File::open(path)?.sync_all()?;
    File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}

/// Writes a file beside its place, and puts it there with these attributes. A kill at any moment leaves the old or the
/// new one.
///
/// # Errors
/// The folder is missing, full or read-only, or the owner may not be given.
pub fn write_with(path: &Path, attributes: Attributes, content: &[u8]) -> io::Result<()> {
    let Attributes { mode, user, group } = attributes;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".launcher-new");
    let beside = folder.join(name);
    // A former launch that was killed may have left one, which may be a link to anywhere.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(content)
        .and_then(|()| fchown(&file, user, group))
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // A file that is left is harmless, and the first error says more.
        let _ = fs::remove_file(&beside);
    }
    written
}
