//! The rules for names in a tarball.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::model::CommitId;

/// Longest path or link's target, in bytes, as Linux has it.
pub const LONGEST: usize = 4096;
/// Deepest path, in folders.
const DEEPEST: usize = 256;

/// Returns the name of the ref of a tarball's files.
pub fn ref_of(commit: &str) -> String {
    format!("refs/tarballs/{commit}")
}

/// The names that a tarball has had so far. Each is kept as a hash, because a million long paths would take gigabytes.
#[derive(Default)]
pub struct TarballNames {
    top: Option<Vec<u8>>,
    folders: HashSet<[u8; 16]>,
    files: HashSet<[u8; 16]>,
}

impl TarballNames {
    /// Returns an entry's path without the tarball's one top folder, which must be named after the commit; empty for that
    /// folder itself.
    ///
    /// # Errors
    /// The name leads out of the folder, has another top folder, or is an earlier entry's.
    pub fn take<'a>(&mut self, path: &'a [u8], is_folder: bool, commit: &CommitId) -> Result<&'a [u8], String> {
        let shown = || String::from_utf8_lossy(&path[..path.len().min(200)]).escape_debug().to_string();
        let path = if is_folder { path.strip_suffix(b"/").unwrap_or(path) } else { path };
        let parts: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
        let is_odd = |part: &&[u8]| matches!(*part, b"" | b"." | b"..") || part.eq_ignore_ascii_case(b".git");
        if path.len() > LONGEST || parts.len() > DEEPEST || parts.iter().any(is_odd) || path.contains(&0) {
            return Err(format!("the path {} in it, which no commit has", shown()));
        }
        let (top, rest) = path.split_at(parts[0].len());
        match &self.top {
            Some(known) if known == top => {}
            None if is_of(top, commit) => self.top = Some(top.to_vec()),
            _ => return Err(format!("{} outside of one folder that is named after the commit", shown())),
        }
        let Some(rest) = rest.strip_prefix(b"/") else {
            return if is_folder { Ok(b"") } else { Err("a file in the place of its folder".into()) };
        };
        let mut is_new = true;
        for (end, _) in rest.iter().enumerate().filter(|(_, b)| **b == b'/') {
            let folder = hash(&rest[..end]);
            is_new &= !self.files.contains(&folder);
            self.folders.insert(folder);
        }
        let own = hash(rest);
        is_new &= match is_folder {
            true => {
                let is_free = !self.files.contains(&own);
                self.folders.insert(own);
                is_free
            }
            false => !self.folders.contains(&own) && self.files.insert(own),
        };
        if is_new { Ok(rest) } else { Err(format!("two entries for {}, or for what contains it", shown())) }
    }
}

/// Returns true for `OWNER-REPO-DIGITS` with the first digits of the commit's id.
fn is_of(top: &[u8], commit: &CommitId) -> bool {
    let digits = top.rsplit(|&b| b == b'-').next().unwrap_or_default();
    (7..=40).contains(&digits.len()) && commit.as_str().as_bytes().starts_with(digits)
}

fn hash(path: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(path)[..16]);
    short
}
