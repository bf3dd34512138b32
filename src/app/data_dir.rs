//! Files and folders that the daemon keeps in its data folder.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

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

/// Makes an empty folder for sockets, without those that a killed daemon left.
pub fn fresh_run_dir(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let mut dir = data_dir.join("run");
    if dir.as_os_str().len() > LONGEST_RUN_DIR {
        // The name has the inode of the data folder, so that the next start finds and clears the folder.
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(data_dir)?);
        dir = std::env::temp_dir().join(format!("image-factory-{inode}"));
    }
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("cannot clear {}", dir.display()));
        }
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
