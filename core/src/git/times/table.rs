//! The file-time table as it is stored (numbers are big-endian):
//!
//! ```text
//! image-factory file times 1<newline>
//! GENERATION<newline>
//! latest time (8 bytes)
//! for each entry, in path_order: kind (1 byte), time (8), length of the id (1), the id, the path, NUL (1)
//! SHA-256 of all the above (32)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::durable::replace_file;
use crate::git::Oid;
use crate::git::tree::{Entry, EntryKind, path_order};

const HEADER: &[u8] = b"image-factory file times 1\n";
/// Bytes of a row besides the id and the path, and bytes of the digest.
const ROW: usize = 11;
const DIGEST: usize = 32;

/// A table in its stored form, because its rows are as many as a commit has files. They are read one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Name of this generation of the table. Files that were synced with the times of another generation are synced in
    /// full.
    pub generation: String,
    /// Latest time that the table has ever had.
    pub latest: i64,
    /// The whole file.
    bytes: Vec<u8>,
    /// Place of the first row.
    first: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub path: &'a [u8],
    pub kind: EntryKind,
    pub oid: Oid,
    pub mtime: i64,
}

/// The file in the place of a table.
#[derive(Debug)]
pub(super) enum StoredTable {
    Nothing,
    /// The file cannot be read, or was changed since it was written.
    Damaged,
    Table(Table),
}

impl Table {
    /// Makes a table of the present `entries`.
    pub fn of(entries: &[Entry], generation: String, latest: i64) -> Self {
        let rows: usize = entries.iter().map(|entry| ROW + entry.oid.as_bytes().len() + entry.path.len()).sum();
        let mut bytes = Vec::with_capacity(HEADER.len() + generation.len() + 1 + 8 + rows + DIGEST);
        bytes.extend([HEADER, generation.as_bytes(), b"\n", &latest.to_be_bytes()].concat());
        let first = bytes.len();
        for Entry { path, kind, oid, mtime, .. } in entries {
            bytes.push(letter(*kind));
            bytes.extend(mtime.to_be_bytes());
            bytes.push(oid.as_bytes().len() as u8);
            bytes.extend(oid.as_bytes());
            bytes.extend(path);
            bytes.push(0);
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend(digest);
        Self { generation, latest, bytes, first }
    }

    /// Returns the rows in [`path_order`].
    pub fn rows(&self) -> Rows<'_> {
        Rows(&self.bytes[self.first..self.bytes.len() - DIGEST])
    }

    pub fn new_generation() -> String {
        Uuid::now_v7().simple().to_string()
    }

    /// Makes one table of those that spellings of one repository's name had. A single one is kept; of several nothing is
    /// kept but the latest time, because what one of them calls unchanged may be older than an artefact of another.
    pub fn merge(path: &Path, mut spelled: Vec<PathBuf>) -> io::Result<()> {
        spelled.retain(|other| other != path && other.exists());
        match &spelled[..] {
            [] => return Ok(()),
            [only] if !path.exists() => return fs::rename(only, path),
            _ => {}
        }
        let latest = |path: &Path| match Self::load(path) {
            StoredTable::Table(table) => table.latest,
            StoredTable::Nothing | StoredTable::Damaged => 0,
        };
        let latest = spelled.iter().map(|other| latest(other)).fold(latest(path), i64::max);
        Self::of(&[], Self::new_generation(), latest).save(path)?;
        // A kill before the last one is gone makes another generation, which is no harm.
        spelled.iter().try_for_each(fs::remove_file)
    }

    pub fn load(path: &Path) -> StoredTable {
        match fs::read(path) {
            Ok(bytes) => Self::parse(bytes).map_or(StoredTable::Damaged, StoredTable::Table),
            Err(error) if error.kind() == io::ErrorKind::NotFound => StoredTable::Nothing,
            Err(_) => StoredTable::Damaged,
        }
    }

    /// Replaces the file completely or not at all.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        replace_file(path, 0o644, &self.bytes)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<DIGEST>()?;
        if Sha256::digest(body)[..] != digest[..] {
            return None;
        }
        let (generation, latest, first) = Self::parse_body(body)?;
        Some(Self { generation, latest, bytes, first })
    }

    /// Returns the generation, the latest time and the place of the first row, if all of the rows are sound.
    fn parse_body(body: &[u8]) -> Option<(String, i64, usize)> {
        let after_header = body.strip_prefix(HEADER)?;
        let (generation, rest) = after_header.split_at(after_header.iter().position(|&b| b == b'\n')?);
        let (latest, mut rest) = rest[1..].split_first_chunk()?;
        let (generation, latest) = (String::from_utf8(generation.into()).ok()?, i64::from_be_bytes(*latest));
        let (first, mut before) = (body.len() - rest.len(), None);
        while !rest.is_empty() {
            let (row, after) = row(rest)?;
            let is_behind = before.is_none_or(|before| path_order(before, row.path).is_lt());
            if !is_behind || row.mtime > latest {
                return None;
            }
            (before, rest) = (Some(row.path), after);
        }
        (!generation.is_empty()).then_some((generation, latest, first))
    }
}

/// The rows of a table that are still to be read.
pub(super) struct Rows<'a>(&'a [u8]);

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        // All rows were read when the table was loaded, or written by us.
        let (row, rest) = row(self.0)?;
        self.0 = rest;
        Some(row)
    }
}

fn row(bytes: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (mtime, rest) = rest.split_first_chunk()?;
    let (&length, rest) = rest.split_first()?;
    let (oid, rest) = rest.split_at_checked(length.into())?;
    let (path, rest) = rest.split_at(rest.iter().position(|&b| b == 0)?);
    let row = Row { path, kind: kind(found)?, oid: Oid::from_bytes(oid)?, mtime: i64::from_be_bytes(*mtime) };
    Some((row, &rest[1..]))
}

fn letter(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Dir => b'd',
        EntryKind::File => b'f',
        EntryKind::Exec => b'x',
        EntryKind::Symlink => b'l',
        EntryKind::Gitlink => b'g',
    }
}

fn kind(found: u8) -> Option<EntryKind> {
    [EntryKind::Dir, EntryKind::File, EntryKind::Exec, EntryKind::Symlink, EntryKind::Gitlink]
        .into_iter()
        .find(|kind| letter(*kind) == found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> Vec<Entry> {
        let entry = |path: &str, kind, n: u8, mtime| Entry {
            path: path.into(),
            kind,
            oid: Oid::from_hex(format!("{n:040x}").as_bytes()).unwrap(),
            size: 0,
            mtime,
            origin: 0,
            lfs: false,
        };
        vec![
            entry("a", EntryKind::Dir, 1, 5),
            entry("a/b c\n", EntryKind::File, 2, 4),
            entry("a.x", EntryKind::Exec, 3, -7),
            entry("l", EntryKind::Symlink, 4, 0),
            entry("m", EntryKind::Gitlink, 5, 9),
        ]
    }

    fn table() -> Table {
        Table::of(&entries(), "g".into(), 9)
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        assert!(matches!(Table::load(&path), StoredTable::Nothing));
        table().save(&path).unwrap();
        assert!(matches!(Table::load(&path), StoredTable::Table(loaded) if loaded == table()));
        let of = |entry: &Entry| (entry.path.clone(), entry.kind, entry.oid, entry.mtime);
        let rows: Vec<_> = table().rows().map(|row| (row.path.to_vec(), row.kind, row.oid, row.mtime)).collect();
        assert_eq!(rows, entries().iter().map(of).collect::<Vec<_>>());
        fs::write(&path, b"").unwrap();
        assert!(matches!(Table::load(&path), StoredTable::Damaged));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_single_table_of_another_spelling_is_kept_and_several_become_a_new_generation() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["key", "Acme", "ACME"].map(|name| dir.path().join(name));
        let merge = || Table::merge(&paths[0], paths.clone().into()).unwrap();
        let load = || match Table::load(&paths[0]) {
            StoredTable::Table(table) => Some(table),
            _ => None,
        };
        merge();
        assert_eq!(load(), None);
        table().save(&paths[1]).unwrap();
        merge();
        assert_eq!(load(), Some(table()));
        merge();
        assert_eq!(load(), Some(table()));
        Table::of(&entries(), "g".into(), 77).save(&paths[1]).unwrap();
        fs::write(&paths[2], b"damaged").unwrap();
        merge();
        let merged = load().unwrap();
        assert_eq!((merged.latest, merged.rows().count()), (77, 0));
        assert_ne!(merged.generation, table().generation);
        merge();
        assert_eq!(load(), Some(merged));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn any_damage_is_noticed(at in 0..1000usize, cut: bool, flip in 1..255u8) {
            let mut bytes = table().bytes;
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert_eq!(Table::parse(bytes), None);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, rest: Vec<u8>) {
            prop_assert_eq!(Table::parse(bytes), None);
            let body = [HEADER, b"g\n\0\0\0\0\0\0\0\x01", &rest].concat();
            if let Some((_, latest, first)) = Table::parse_body(&body) {
                prop_assert!(Rows(&body[first..]).all(|row| row.mtime <= latest));
            }
        }

        /// After a change of any byte, a table that can still be read is sound.
        #[test]
        fn a_row_is_read_or_not(at in 0..200usize, byte: u8) {
            let mut bytes = table().bytes;
            bytes.truncate(bytes.len() - DIGEST);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some((_, latest, first)) = Table::parse_body(&bytes) {
                prop_assert!(Rows(&bytes[first..]).all(|row| row.mtime <= latest && !row.path.contains(&0)));
            }
        }
    }
}
