//! `file.symlink`: a link to this target.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Files;
use crate::Problem;
use crate::states::accounts::Owner;
use crate::states::chunk::Chunk;
use crate::states::run::{Outcome, Undone};

/// The options of a link.
pub struct Symlink {
    target: PathBuf,
    force: bool,
    makedirs: bool,
    mode: Option<u32>,
}

impl Symlink {
    /// Reads the options.
    ///
    /// # Errors
    /// The target is missing, or an option has a value that means nothing.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        let missing = || chunk.problem("The link has no `target`. Write the path that it leads to.");
        Ok(Self {
            target: chunk.text("target")?.ok_or_else(missing)?.into(),
            force: chunk.boolean("force", false)?,
            makedirs: chunk.boolean("makedirs", false)?,
            mode: chunk.mode("mode")?,
        })
    }

    /// Makes the link, or lets it lead elsewhere. A link is replaced at once, without a moment in which it is missing.
    ///
    /// # Errors
    /// Something else is in its place, the folder is missing, or the user is unknown.
    pub fn apply(&self, chunk: &Chunk, files: &Files<'_>) -> Result<Outcome, Undone> {
        let path = files.path(chunk)?;
        let given = Owner::of(files, chunk)?;
        // Salt makes links root's unless they are given to somebody.
        let owner = Owner { user: given.user.or(Some(0)), group: given.group.or(Some(0)) };
        if let Ok(old) = fs::read_link(&path) {
            if old == self.target {
                return Ok(Outcome::new(files.set_link(&path, owner)?));
            }
        } else if let Ok(old) = fs::symlink_metadata(&path) {
            if !self.force {
                return Err(Undone::Failed("a file or folder is in the place of the link; write `force: True`".into()));
            }
            if old.is_dir() && files.dry_run.is_none() {
                fs::remove_dir_all(&path)?;
            }
        }
        files.check_parent(&path, self.makedirs)?;
        files.make_parents(&path, given, self.mode)?;
        if files.dry_run.is_none() {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".launcher-new");
            let beside = path.parent().unwrap_or(Path::new("/")).join(name);
            let _ = fs::remove_file(&beside);
            symlink(&self.target, &beside)?;
            files.set_link(&beside, owner)?;
            fs::rename(&beside, &path)?;
        }
        Ok(Outcome::changed())
    }
}
