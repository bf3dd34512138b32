//! Files that are replaced as a whole and survive a power failure.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Replaces the content of a file, or creates the file. A reader, and a start after a kill or a power failure, sees the
/// old content or the new one. The file gets this mode, less the umask, whatever it had before.
///
/// # Errors
/// The folder cannot be written to; the old file is unchanged then.
pub fn replace_file(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    // Two writers of one file take turns. A file system without locks has one writer at most.
    let _ = flock(&folder, FlockOperation::LockExclusive);
    let draft = draft(path)?;
    let replaced = write_draft(&draft, mode, content).and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        let _ = fs::remove_file(&draft);
    }
    // The rename is durable once the folder is.
    replaced.and_then(|()| folder.sync_all())
}

/// `.NAME.new` beside the file: readers of the secrets folder ignore names that begin with a dot, and the next
/// replacement removes the draft of one that was killed.
fn draft(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn write_draft(draft: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(dir.path().join(".token.new"), "of a replacement that was killed").unwrap();
        for content in ["first", "2"] {
            replace_file(&path, 0o600, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace_file(&dir.path().join("none/token"), 0o600, b"").is_err());
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(replace_file(&folder, 0o600, b"").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a draft is left");
    }

    #[test]
    fn writers_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let content = |writer: u8| vec![writer; 100_000];
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || replace_file(path, 0o600, &content(writer)).unwrap());
            }
        });
        let found = fs::read(&path).unwrap();
        assert!((0..4).any(|writer| found == content(writer)));
    }
}
