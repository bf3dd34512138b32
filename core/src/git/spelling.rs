//! The spellings of repositories' names, where their host ignores case.
//!
//! The first spelling that is seen names the mirror's folder and makes the URL, so that jobs with other spellings fetch
//! into the same mirror. The folders that a former process left are the first spellings after a start; of several that
//! are one repository, as versions before this rule made them, the mirror that was used last stays and the others are
//! removed by the upkeep.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::mirror::ORIGIN;
use crate::model::{RepoCase, RepoName};

/// Spellings of one repository that are remembered. A sender can make thousands of them.
const MOST: usize = 16;

#[derive(Debug)]
pub(super) struct Spellings {
    case: RepoCase,
    /// The spellings by [`RepoName::key`], the first seen first.
    known: Mutex<HashMap<String, Vec<RepoName>>>,
}

impl Spellings {
    /// Reads the mirrors `OWNER/NAME.git` in a folder. A folder that cannot be read has none: it is about to be made.
    pub fn scan(case: RepoCase, mirrors: &Path) -> Self {
        let spellings = Self { case, known: Mutex::default() };
        let folders = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<(SystemTime, RepoName)> = folders(mirrors)
            .flat_map(|owner| folders(&owner))
            .filter_map(|path| Some((used(&path), name(&path)?)))
            .collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        for (_, repo) in found {
            spellings.first(&repo);
        }
        spellings
    }

    /// Returns the spelling of this repository that was seen first, which is this one if there was none.
    pub fn first(&self, repo: &RepoName) -> RepoName {
        if self.case == RepoCase::Keep {
            return repo.clone();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let spellings = known.entry(repo.key(self.case)).or_default();
        if !spellings.contains(repo) && spellings.len() < MOST {
            spellings.push(repo.clone());
        }
        spellings[0].clone()
    }

    /// Returns the spellings of the repository that has this key.
    pub fn all(&self, key: &str) -> Vec<RepoName> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    /// Returns true if the folder is the mirror of a spelling that another one came before.
    pub fn is_left_over(&self, mirror: &Path) -> bool {
        name(mirror).is_some_and(|repo| self.first(&repo) != repo)
    }
}

/// Returns the folder of a repository's mirror, below the folder of all mirrors.
pub(super) fn folder(repo: &RepoName) -> PathBuf {
    Path::new(repo.owner()).join(format!("{}.git", repo.name()))
}

fn name(mirror: &Path) -> Option<RepoName> {
    let owner = mirror.parent()?.file_name()?.to_str()?;
    RepoName::new(owner, mirror.file_name()?.to_str()?.strip_suffix(".git")?).ok()
}

fn used(mirror: &Path) -> SystemTime {
    fs::metadata(mirror.join(ORIGIN)).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(name: &str) -> RepoName {
        RepoName::parse(name).unwrap()
    }

    #[test]
    fn the_first_spelling_stays_the_first() {
        let spellings = Spellings::scan(RepoCase::Ignore, Path::new("/nonexistent"));
        for spelling in ["Acme/Hello", "acme/hello", "ACME/Hello", "Acme/Hello"] {
            assert_eq!(spellings.first(&repo(spelling)), repo("Acme/Hello"));
        }
        assert_eq!(spellings.first(&repo("acme/other")), repo("acme/other"));
        assert_eq!(spellings.all("acme/hello"), ["Acme/Hello", "acme/hello", "ACME/Hello"].map(repo));
        let spellings = Spellings::scan(RepoCase::Keep, Path::new("/nonexistent"));
        for spelling in ["Acme/Hello", "acme/hello"] {
            assert_eq!(spellings.first(&repo(spelling)), repo(spelling));
        }
    }

    #[test]
    fn the_mirror_that_was_used_last_is_the_one_that_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        for (minute, mirror) in
            ["acme/hello.git", "Acme/Hello.git", "ACME/HELLO.git", "@submodules/12.git"].iter().enumerate()
        {
            let path = dir.path().join(mirror);
            fs::create_dir_all(&path).unwrap();
            if minute < 2 {
                let origin = fs::File::create(path.join(ORIGIN)).unwrap();
                origin
                    .set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60 * minute as u64 + 60))
                    .unwrap();
            }
        }
        let spellings = Spellings::scan(RepoCase::Ignore, dir.path());
        assert_eq!(spellings.first(&repo("acme/hello")), repo("Acme/Hello"));
        let left_over = |mirror: &str| spellings.is_left_over(&dir.path().join(mirror));
        assert!(left_over("acme/hello.git") && left_over("ACME/HELLO.git"));
        assert!(!left_over("Acme/Hello.git") && !left_over("@submodules/12.git") && !left_over("acme/new.git"));
    }
}
