//! Files and folders that the daemon keeps in its data folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::durable::replace_file;
use crate::engine::Instance;
use crate::logs::Logs;

/// Longest path of the folder for sockets. A socket's path has at most 107 bytes, of which `git` takes up to 31.
const LONGEST_RUN_DIR: usize = 76;

/// Opens the folder of the jobs' logs.
pub fn logs(data_dir: &Path) -> anyhow::Result<Logs> {
    let dir = data_dir.join("logs");
    Logs::open(dir.clone()).with_context(|| format!("cannot use {}", dir.display()))
}

/// Returns the id by which engines distinguish this data folder's daemon from others. The first start makes it.
pub fn instance(data_dir: &Path) -> anyhow::Result<Instance> {
    let path = data_dir.join("instance");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 32 && text.trim().bytes().all(|b| b.is_ascii_hexdigit()) => {
            return Ok(Instance::new(text.trim()));
        }
        Ok(_) => anyhow::bail!("{} is damaged: remove it, and the next start makes one", path.display()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
    let instance = uuid::Uuid::now_v7().simple().to_string();
    replace_file(&path, 0o644, instance.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Instance::new(instance))
}

/// Makes an empty folder for sockets, without those that a killed daemon left: `run`, or if that is too long a folder
/// elsewhere, to which `run` is a link. Its name cannot be known before, because others may write where it is.
pub fn fresh_run_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let run = data_dir.join("run");
    clear(&run).with_context(|| format!("cannot clear {}", run.display()))?;
    let make = || {
        if run.as_os_str().len() <= LONGEST_RUN_DIR {
            fs::DirBuilder::new().mode(0o700).create(&run)?;
            return Ok(run.clone());
        }
        let dir = temporary_dir()?.keep();
        symlink(&dir, &run)?;
        Ok::<_, io::Error>(dir)
    };
    make().with_context(|| format!("cannot make {}", run.display()))
}

/// Makes a folder for this user alone, which is removed when it is dropped: in XDG_RUNTIME_DIR if there is one.
pub fn temporary_dir() -> io::Result<TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let parent = runtime.unwrap_or_else(std::env::temp_dir);
    tempfile::Builder::new().prefix("if-").permissions(fs::Permissions::from_mode(0o700)).tempdir_in(parent)
}

/// Removes a folder, or a link and the folder that it leads to.
fn clear(run: &Path) -> io::Result<()> {
    let removed = match fs::read_link(run) {
        Err(_) => fs::remove_dir_all(run),
        Ok(target) => {
            let is_own = |file: fs::Metadata| file.is_dir() && file.uid() == rustix::process::geteuid().as_raw();
            // A folder of that name may be somebody else's since a restart of the machine.
            if fs::symlink_metadata(&target).is_ok_and(is_own) {
                fs::remove_dir_all(target)?;
            }
            fs::remove_file(run)
        }
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_sockets_is_fresh_and_private_and_its_path_short() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(90));
        fs::create_dir(&deep).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
        for data in [dir.path(), &deep] {
            let first = fresh_run_dir(data).unwrap();
            fs::write(first.join("left"), "").unwrap();
            let again = fresh_run_dir(data).unwrap();
            assert_eq!((fs::read_dir(&again).unwrap().count(), mode(&again)), (0, 0o700));
            assert!(again.as_os_str().len() <= LONGEST_RUN_DIR);
            assert_eq!(fs::canonicalize(data.join("run")).unwrap(), fs::canonicalize(&again).unwrap());
            assert_eq!((first == again, first.exists()), (data == dir.path(), data == dir.path()));
            clear(&data.join("run")).unwrap();
            assert!(!again.exists());
        }
    }
}
