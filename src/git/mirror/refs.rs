//! Counts the refs of a mirror, because a server may name any number of them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Returns true if a mirror has more refs than `most`, packed and loose. A ref that is both counts twice.
pub(super) fn are_more(dir: &Path, most: u64) -> io::Result<bool> {
    let mut count = 0;
    match File::open(dir.join("packed-refs")) {
        Ok(packed) => {
            for line in BufReader::new(packed).split(b'\n') {
                // `#` begins a comment, and `^` the object of the annotated tag above it.
                count += u64::from(!line?.first().is_some_and(|byte| b"#^".contains(byte)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    count_files(&dir.join("refs"), most, &mut count)?;
    Ok(count > most)
}

fn count_files(dir: &Path, most: u64, count: &mut u64) -> io::Result<()> {
    if *count > most {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => count_files(&entry.path(), most, count)?,
            false => *count += 1,
        }
        if *count > most {
            break;
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
        fs::write(dir.path().join("packed-refs"), "# pack-refs with: peeled\n1 refs/heads/c\n2 refs/tags/d\n^3\n").unwrap();
        assert!(!are_more(dir.path(), 3).unwrap() && are_more(dir.path(), 2).unwrap());
    }
}
