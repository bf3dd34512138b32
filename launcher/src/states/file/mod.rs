//! The states of files: contents, folders, links, owners and rights.

mod append;
mod directory;
mod managed;
mod symlink;

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use super::accounts::Owner;
use super::chunk::Chunk;
use super::dry_run::DryRun;
use super::run::Undone;
use crate::whole_file::{self, Attributes};

pub use append::Append;
pub use directory::Directory;
pub use managed::Managed;
pub use symlink::Symlink;

/// The file system that states change.
pub struct Files<'a> {
    /// Folder that stands for `/`. A path below it is taken as it is.
    pub root: &'a Path,
    /// Given if nothing is to be changed.
    pub dry_run: Option<&'a DryRun>,
}

impl Files<'_> {
    /// Returns the path of a state.
    ///
    /// # Errors
    /// The path is relative.
    fn path(&self, chunk: &Chunk) -> Result<PathBuf, Undone> {
        let path = match chunk.name.strip_prefix("~/") {
            Some(rest) => super::accounts::home(self.root, "0").join(rest),
            None => PathBuf::from(&chunk.name),
        };
        match path.strip_prefix("/") {
            Ok(rest) if !path.starts_with(self.root) => Ok(self.root.join(rest)),
            Ok(_) => Ok(path),
            Err(_) => Err(Undone::Failed("the path is relative; write it from `/` on".into())),
        }
    }

    /// Gives a file or folder an owner and rights. Returns true if something differed.
    fn set(&self, path: &Path, owner: Owner, mode: Option<u32>) -> io::Result<bool> {
        let now = fs::metadata(path)?;
        let owner = differing(owner, &now);
        let mode = mode.filter(|mode| *mode != now.mode() & 0o7777);
        if self.dry_run.is_none() {
            if owner != Owner::default() {
                chown(path, owner.user, owner.group)?;
            }
            // A new owner takes away the bits that lend rights.
            if mode.is_some() || owner != Owner::default() {
                fs::set_permissions(path, Permissions::from_mode(mode.unwrap_or(now.mode() & 0o7777)))?;
            }
        }
        Ok(owner != Owner::default() || mode.is_some())
    }

    /// Gives a link an owner. Returns true if it had another one.
    fn set_link(&self, path: &Path, owner: Owner) -> io::Result<bool> {
        let owner = differing(owner, &fs::symlink_metadata(path)?);
        if owner != Owner::default() && self.dry_run.is_none() {
            lchown(path, owner.user, owner.group)?;
        }
        Ok(owner != Owner::default())
    }

    /// Makes the folders above a path that are missing.
    fn make_parents(&self, path: &Path, owner: Owner, mode: Option<u32>) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| !folder.is_dir()).collect();
        missing.into_iter().rev().try_for_each(|folder| self.make_folder(folder, owner, mode))
    }

    fn make_folder(&self, path: &Path, owner: Owner, mode: Option<u32>) -> io::Result<()> {
        if let Some(dry_run) = self.dry_run {
            dry_run.add_folder(path);
            return Ok(());
        }
        DirBuilder::new().mode(0o777).create(path)?;
        self.set(path, owner, mode).map(drop)
    }

    /// Checks that the folder of a path is there, or will be.
    fn check_parent(&self, path: &Path, makedirs: bool) -> Result<(), Undone> {
        match path.parent() {
            Some(folder)
                if !folder.is_dir() && !makedirs && !self.dry_run.is_some_and(|dry| dry.may_have_folder(folder)) =>
            {
                Err(Undone::Failed(format!("the folder {} is missing; write `makedirs: True`", folder.display())))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file as a whole. A former one's owner and rights stay where none are given.
    fn write(&self, path: &Path, owner: Owner, mode: Option<u32>, content: &[u8]) -> io::Result<()> {
        if self.dry_run.is_some() {
            return Ok(());
        }
        let old = fs::metadata(path).ok();
        let attributes = Attributes {
            mode: mode.or(old.as_ref().map(|old| old.mode() & 0o7777)).unwrap_or_else(|| 0o666 & !umask()),
            user: owner.user.or(old.as_ref().map(MetadataExt::uid)),
            group: owner.group.or(old.as_ref().map(MetadataExt::gid)),
        };
        whole_file::write_with(path, attributes, content)
    }
}

/// Returns the part of an owner that a file does not have.
fn differing(owner: Owner, now: &Metadata) -> Owner {
    Owner { user: owner.user.filter(|user| *user != now.uid()), group: owner.group.filter(|group| *group != now.gid()) }
}

fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// Returns the file that a path means, behind links.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| match fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or(Path::new("/")).join(target),
        Err(_) => path.into(),
    })
}

/// Returns the rights of the folders above a file: who may read the file may enter them.
fn folder_mode(mode: u32) -> u32 {
    [0o7, 0o70, 0o700]
        .into_iter()
        .filter(|digit| mode & digit != 0)
        .fold(mode & 0o777, |all, digit| all | (0o111 & digit))
}
