//! `file.directory`: a folder with this owner and these rights, and on demand all that is in it.

use std::fs;
use std::path::Path;

use super::Files;
use crate::Problem;
use crate::states::accounts::Owner;
use crate::states::chunk::Chunk;
use crate::states::run::{Outcome, Undone};

/// What `recurse` may name.
const RECURSE: [&str; 6] = ["user", "group", "mode", "ignore_files", "ignore_dirs", "silent"];

/// The options of a folder.
pub struct Directory {
    mode: Option<u32>,
    file_mode: Option<u32>,
    recurse: Vec<String>,
    makedirs: bool,
}

impl Directory {
    /// Reads the options.
    ///
    /// # Errors
    /// An option has a value that means nothing.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        let mode = chunk.mode("dir_mode")?.or(chunk.mode("mode")?);
        let recurse = chunk.texts("recurse")?;
        if recurse.iter().any(|word| !RECURSE.contains(&word.as_str())) {
            let text = format!("`recurse` is wrong. Write some of {}.", RECURSE.join(", "));
            return Err(chunk.problem(text));
        }
        for (word, is_given) in [("user", chunk.arg("user").is_some()), ("group", chunk.arg("group").is_some())] {
            if recurse.iter().any(|other| other == word) && !is_given {
                return Err(chunk.problem(format!("`recurse` names {word}, which is missing. Write `{word}: NAME`.")));
            }
        }
        // Salt gives files the folders' rights unless they have their own.
        Ok(Self {
            mode,
            file_mode: chunk.mode("file_mode")?.or(mode),
            recurse,
            makedirs: chunk.boolean("makedirs", false)?,
        })
    }

    /// Makes the folder, or changes what differs.
    ///
    /// # Errors
    /// A file is in its place, the folder above is missing, or the user is unknown.
    pub fn apply(&self, chunk: &Chunk, files: &Files<'_>) -> Result<Outcome, Undone> {
        let path = files.path(chunk)?;
        let owner = Owner::of(files, chunk)?;
        if !path.is_dir() {
            if fs::symlink_metadata(&path).is_ok() {
                return Err(Undone::Failed("a file is in the place of the folder".into()));
            }
            files.check_parent(&path, self.makedirs)?;
            files.make_parents(&path, owner, self.mode)?;
            files.make_folder(&path, owner, self.mode)?;
            return Ok(Outcome::changed());
        }
        let mut changed = files.set(&path, owner, self.mode)?;
        if !self.recurse.is_empty() {
            let has = |word: &str| self.recurse.iter().any(|other| other == word);
            let owner = Owner { user: owner.user.filter(|_| has("user")), group: owner.group.filter(|_| has("group")) };
            changed |= self.below(&path, owner, has("mode"), files)?;
        }
        Ok(Outcome::new(changed))
    }

    /// Changes what is in a folder, without following links.
    fn below(&self, folder: &Path, owner: Owner, has_mode: bool, files: &Files<'_>) -> Result<bool, Undone> {
        let mut changed = false;
        let is_left_out = |word: &str| self.recurse.iter().any(|other| other == word);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_symlink() {
                changed |= files.set_link(&path, owner)?;
            } else if kind.is_dir() {
                if !is_left_out("ignore_dirs") {
                    changed |= files.set(&path, owner, self.mode.filter(|_| has_mode))?;
                }
                changed |= self.below(&path, owner, has_mode, files)?;
            } else if !is_left_out("ignore_files") {
                changed |= files.set(&path, owner, self.file_mode.filter(|_| has_mode))?;
            }
        }
        Ok(changed)
    }
}
