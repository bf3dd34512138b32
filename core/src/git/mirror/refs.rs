//! Counts the refs of a mirror, because a server may name any number of them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Returns true if a mirror has more refs than `most`, packed and loose.
pub(super) fn are_more(dir: &Path, most: u64) -> io::Result<bool> {
    let mut loose = HashSet::new();
    find_loose(dir, Path::new("refs"), most, &mut loose)?;
    let mut count = loose.len() as u64;
    match File::open(dir.join("packed-refs")) {
        Ok(packed) => {
            for line in BufReader::new(packed).split(b'\n') {
                // A line is `ID NAME`. `#` begins a comment, and `^` the object of the annotated tag above it.
                let line = line?;
                let name = line.iter().position(|&byte| byte == b' ').filter(|_| line[0] != b'#');
                let name = name.map(|at| Path::new(OsStr::from_bytes(&line[at + 1..])));
                count += u64::from(name.is_some_and(|name| !loose.contains(name)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(count > most)
}

fn find_loose(dir: &Path, below: &Path, most: u64, found: &mut HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            _ if found.len() as u64 > most => break,
            true => find_loose(dir, &name, most, found)?,
            false => drop(found.insert(name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_loose_refs_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("refs/heads/a")).unwrap();
        assert!(!are_more(dir.path(), 0).unwrap());
        fs::write(dir.path().join("refs/heads/a/b"), "").unwrap();
        fs::write(
            dir.path().join("packed-refs"),
            "# pack-refs with: peeled\n1 refs/heads/a/b\n1 refs/heads/c\n2 refs/tags/d\n^3\n",
        )
        .unwrap();
        assert!(!are_more(dir.path(), 3).unwrap() && are_more(dir.path(), 2).unwrap());
    }
}
