//! The folders in which `salt://` looks.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Problem;

/// Largest template, pillar or file of states. A configuration has a few kilobytes.
const LARGEST: u64 = 4 << 20;

/// Folders, the first of which has precedence.
#[derive(Debug, Clone)]
pub struct Roots(Vec<Root>);

#[derive(Debug, Clone)]
struct Root {
    /// Begin of the names that the folder has, such as `makina-projects/hello/`.
    prefix: String,
    folder: PathBuf,
}

impl Roots {
    pub fn new(folders: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self(folders.into_iter().map(|(prefix, folder)| Root { prefix, folder }).collect())
    }

    /// Returns the file of a name such as `salt://files/nginx.conf`, or the same without `salt://`.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let name = name.strip_prefix("salt://").unwrap_or(name);
        let (name, _) = name.split_once('?').unwrap_or((name, ""));
        if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return None;
        }
        let files = self.0.iter().filter_map(|root| Some(root.folder.join(name.strip_prefix(&root.prefix)?)));
        files.into_iter().find(|file| file.is_file())
    }

    /// Returns the name and the file of the states or the pillar `a.b`: `a/b.sls` or `a/b/init.sls`.
    pub fn find_sls(&self, sls: &str) -> Option<(String, PathBuf)> {
        let base = sls.replace('.', "/");
        let names = [format!("{base}.sls"), format!("{base}/init.sls")];
        names.into_iter().find_map(|name| self.find(&name).map(|file| (name, file)))
    }
}

/// Reads a text.
///
/// # Errors
/// The file cannot be read, is too large, or is no UTF-8.
pub fn read(file: &Path) -> Result<String, Problem> {
    let bytes = read_bytes(file)?;
    String::from_utf8(bytes).map_err(|_| Problem::with(file, "The file is no text in UTF-8. Convert it."))
}

/// Reads a file up to the largest size that one may have.
///
/// # Errors
/// The file cannot be read, or is too large.
pub fn read_bytes(file: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|opened| opened.take(LARGEST + 1).read_to_end(&mut bytes));
    opened.map_err(|error| Problem::with(file, error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Problem::with(file, format!("The file has more than {} MiB. Make it smaller.", LARGEST >> 20)));
    }
    Ok(bytes)
}
