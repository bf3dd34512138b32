//! What a launch with `test=True` takes to be there, because a state before would have made it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders and accounts that states would make. A command may make anything, so behind one nothing is taken to be missing.
#[derive(Debug, Default)]
pub struct DryRun {
    folders: RefCell<BTreeSet<PathBuf>>,
    /// Each with its kind, `user` or `group`.
    accounts: RefCell<BTreeSet<(String, String)>>,
    has_command: Cell<bool>,
}

impl DryRun {
    pub fn add_folder(&self, path: &Path) {
        self.folders.borrow_mut().insert(path.into());
    }

    pub fn add_account(&self, kind: &str, name: &str) {
        self.accounts.borrow_mut().insert((kind.into(), name.into()));
    }

    pub fn add_command(&self) {
        self.has_command.set(true);
    }

    /// Returns true if the folder may be there by then.
    pub fn may_have_folder(&self, path: &Path) -> bool {
        self.has_command.get() || self.folders.borrow().contains(path)
    }

    /// Returns true if the image may have the user or group by then.
    pub fn may_have_account(&self, kind: &str, name: &str) -> bool {
        self.has_command.get() || self.accounts.borrow().contains(&(kind.into(), name.into()))
    }
}
