#![allow(clippy::disallowed_methods, reason = "tests run programs")]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn entry(path: &[u8], kind: EntryKind, size: u64) -> Entry {
    let oid = "0123456789012345678901234567890123456789".parse().unwrap();
    Entry { path: path.into(), kind, oid, size, mtime: 1_500_000_000_123_456_789, origin: 0, lfs: false }
}

fn unpack(tar: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("tar").args(["-x", "-C"]).arg(dir.path()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(tar).unwrap();
    assert!(child.wait().unwrap().success());
    dir
}

#[test]
fn tar_reads_names_of_any_length_and_bytes() {
    let long = [b"d/".as_slice(), &[b'x'; 200]].concat();
    let odd = b"d/\xff\xfe \n\\".to_vec();
    let target = [b't'; 150];
    let mut tar = BytesMut::new();
    header(&entry(b"d", EntryKind::Dir, 0), &[], TarRoot::default(), &mut tar);
    for (path, kind) in [(&long, EntryKind::File), (&odd, EntryKind::Exec)] {
        header(&entry(path, kind, 3), b"of another entry", TarRoot::default(), &mut tar);
        tar.extend(b"abc");
        tar.put_bytes(0, padding(3));
    }
    header(&entry(b"d/link", EntryKind::Symlink, 150), &target, TarRoot::default(), &mut tar);
    header(&entry(b"module", EntryKind::Gitlink, 0), &[], TarRoot::default(), &mut tar);
    header(&entry(b"empty", EntryKind::File, 0), &[], TarRoot::default(), &mut tar);
    tar.put_bytes(0, 2 * BLOCK);

    let dir = unpack(&tar);
    let at = |path: &[u8]| dir.path().join(OsStr::from_bytes(path));
    assert_eq!(std::fs::read(at(&long)).unwrap(), b"abc");
    assert_eq!(std::fs::read(at(&odd)).unwrap(), b"abc");
    assert_eq!(std::fs::metadata(at(&odd)).unwrap().permissions().mode() & 0o100, 0o100);
    assert_eq!(std::fs::metadata(at(&long)).unwrap().permissions().mode() & 0o100, 0);
    assert_eq!(std::fs::read_link(at(b"d/link")).unwrap().as_os_str().as_bytes(), target);
    assert!(at(b"module").is_dir());
    let modified = std::fs::metadata(at(b"empty")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_500_000_000);
}

#[test]
fn a_size_over_8_gib_is_a_record() {
    let mut tar = BytesMut::new();
    header(&entry(b"big", EntryKind::File, 1 << 33), &[], TarRoot::default(), &mut tar);
    assert_eq!(&tar[BLOCK..BLOCK + 19], b"19 size=8589934592\n");
}

proptest! {
    #[test]
    fn a_record_counts_itself(value in prop::collection::vec(1u8.., 0..1100)) {
        let mut records = Vec::new();
        record("path", &value, &mut records);
        let length = records.split(|&b| b == b' ').next().unwrap();
        prop_assert_eq!(std::str::from_utf8(length).unwrap().parse::<usize>().unwrap(), records.len());
    }
}

#[test]
fn the_one_file_of_a_tar_is_found_behind_its_headers() {
    let long = [b"d/".as_slice(), &[b'x'; 200]].concat();
    for (path, size, begin) in [(b"short".as_slice(), 5, 512), (&long, 7, 1536), (b"big", 1 << 33, 1536)] {
        let mut tar = BytesMut::new();
        header(&entry(path, EntryKind::File, size), &[], TarRoot::default(), &mut tar);
        assert_eq!(file_size(&tar), Some((begin, size)));
        assert_eq!(file_size(&tar[..tar.len() - 1]), None);
    }
    assert_eq!(file_size(b""), None);
}

#[test]
fn small_files_have_their_modes() {
    let files = [
        SmallFile { path: "in/", mode: 0o700, content: b"" },
        SmallFile { path: "in/side", mode: 0o600, content: b"content\n" },
    ];
    let dir = unpack(&small_tar(&files, Owner::default()));
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("in"), mode("in/side")), (0o700, 0o600));
    assert_eq!(std::fs::read(dir.path().join("in/side")).unwrap(), b"content\n");
}
