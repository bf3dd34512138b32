//! Tarballs as `git archive` writes them, and such as no commit has. Their contents are harmless.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use super::unpack::{UnpackError, Unpacked, unpack};
use crate::git::GitBounds;

const COMMIT: &str = "5df99b9b0f2b4e4a9cf7c1e7f9a8c6d5e4f3a2b1";
const TOP: &str = "acme-hello-5df99b9";

/// A tar that is being written, without any check.
struct Tar(Vec<u8>);

impl Tar {
    /// Begins with the global header of this commit and the top folder.
    fn of(commit: &str) -> Self {
        let comment = record("comment", commit.as_bytes());
        Self(Vec::new()).entry(b'g', "pax_global_header", &comment).entry(b'5', &format!("{TOP}/"), b"")
    }

    fn entry(self, kind: u8, name: &str, content: &[u8]) -> Self {
        self.sized(kind, name, content.len() as u64, content)
    }

    /// Adds a file below the top folder.
    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(b'0', &format!("{TOP}/{name}"), content)
    }

    fn sized(mut self, kind: u8, name: &str, size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_size(size);
        header.set_mode(if name.ends_with(".sh") { 0o775 } else { 0o664 });
        header.set_mtime(1_700_000_000);
        self.push(header, content);
        self
    }

    fn link(mut self, kind: u8, name: &str, target: &str) -> Self {
        let mut header = Header::new_ustar();
        let name = format!("{TOP}/{name}");
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_size(0);
        self.push(header, b"");
        self
    }

    fn push(&mut self, mut header: Header, content: &[u8]) {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        packed(&self.0)
    }
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(tar).unwrap();
    packed.finish().unwrap()
}

/// Returns a record of a pax header, which has its own length in front.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let len = (1..).find(|len| len.to_string().len() + rest.len() == *len).unwrap();
    [len.to_string().as_bytes(), &rest].concat()
}

/// Passes a tarball through, and returns the commands for Git.
fn pass(tarball: &[u8], bounds: GitBounds) -> (Result<Unpacked, UnpackError>, String) {
    let (pieces, packed) = mpsc::channel(1 << 16);
    for piece in tarball.chunks(1000) {
        pieces.try_send(piece.to_vec().into()).unwrap();
    }
    drop(pieces);
    let (commands, mut received) = mpsc::channel(1 << 16);
    let unpacked = unpack(packed, commands, &COMMIT[..7], bounds);
    let mut text = Vec::new();
    while let Ok(piece) = received.try_recv() {
        text.extend_from_slice(&piece);
    }
    (unpacked, String::from_utf8_lossy(&text).into_owned())
}

fn bounds() -> GitBounds {
    GitBounds { files: 20, bytes: 1 << 20, ..GitBounds::default() }
}

fn refusal(tarball: &[u8]) -> String {
    match pass(tarball, bounds()) {
        (Err(UnpackError::Unsafe(what)), commands) => {
            assert!(!commands.contains("\ndone\n"));
            what
        }
        (Err(UnpackError::Bound(error)), commands) => {
            assert!(!commands.contains("\ndone\n"));
            error.to_string()
        }
        (Err(UnpackError::Broken(why)), commands) => {
            assert!(!commands.contains("\ndone\n"));
            format!("damaged: {why}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tarball_becomes_the_commands_of_a_commit() {
    let long = format!("{TOP}/{}/{}", "d".repeat(120), "f".repeat(120));
    let header =
        [record("path", long.as_bytes()), record("mtime", b"1"), record("SCHILY.acl.access", b"u::rw")].concat();
    let tar = Tar::of(COMMIT)
        .file("Dockerfile", b"FROM x\n")
        .file("run.sh", b"")
        .entry(b'5', &format!("{TOP}/empty/"), b"")
        .file("a \"b\\\n", b"quoted")
        .entry(b'x', "pax", &header)
        .file("short", b"long\n")
        .link(b'2', "link", "../elsewhere");
    let (unpacked, commands) = pass(&tar.end(), bounds());
    let unpacked = unpacked.unwrap();
    assert_eq!((unpacked.commit.as_str(), unpacked.files, unpacked.bytes), (COMMIT, 5, 18));
    assert_eq!(unpacked.with_attributes.as_deref(), long.strip_prefix(&format!("{TOP}/")));
    let (d, f) = ("d".repeat(120), "f".repeat(120));
    let expected = format!(
        "commit refs/tarballs/{COMMIT}\ncommitter Image Factory <image-factory@localhost> 1700000000 +0000\ndata 0\n\
         \nM 100644 inline \"Dockerfile\"\ndata 7\nFROM x\n\
         \nM 100755 inline \"run.sh\"\ndata 0\n\
         \nM 100644 inline \"a \\\"b\\\\\\n\"\ndata 6\nquoted\
         \nM 100644 inline \"{d}/{f}\"\ndata 5\nlong\n\
         \nM 120000 inline \"link\"\ndata 12\n../elsewhere\ndone\n"
    );
    assert_eq!(commands, expected);
}

#[test]
fn what_no_commit_has_is_refused() {
    let good = || Tar::of(COMMIT).file("a", b"1");
    let with_pax = |key: &str, value: &[u8]| {
        good().entry(b'x', "pax", &record(key, value)).sized(b'0', &format!("{TOP}/b"), 4, b"1234").end()
    };
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (good().file("../b", b"1").end(), "which no commit has"),
        (good().file("x/../../b", b"1").end(), "which no commit has"),
        (good().file("./b", b"1").end(), "which no commit has"),
        (good().file("x//b", b"1").end(), "which no commit has"),
        (good().file(".Git/config", b"1").end(), "which no commit has"),
        (good().entry(b'0', "/etc/motd", b"1").end(), "which no commit has"),
        (good().entry(b'0', "other/b", b"1").end(), "outside of one folder"),
        (good().entry(b'0', "b", b"1").end(), "outside of one folder"),
        (good().entry(b'0', TOP, b"1").end(), "a file in the place of its folder"),
        (with_pax("path", b"../b"), "which no commit has"),
        (with_pax("path", &[TOP.as_bytes(), b"/a\0b"].concat()), "which no commit has"),
        (with_pax("path", format!("{TOP}/{}", "x/".repeat(300)).as_bytes()), "which no commit has"),
        (with_pax("size", b"1024"), "two sizes"),
        (with_pax("size", b"x"), "a size that is no number"),
        (with_pax("GNU.sparse.major", b"1"), "a file with holes"),
        (good().link(b'2', "link", "/tmp").file("link/b", b"1").end(), "two entries"),
        (good().file("x/b", b"1").link(b'2', "x", "/tmp").end(), "two entries"),
        (good().file("a", b"2").end(), "two entries"),
        (good().entry(b'5', &format!("{TOP}/a/"), b"").end(), "two entries"),
        (good().link(b'1', "hard", "/etc/passwd").end(), "type '1'"),
        (good().link(b'3', "device", "").end(), "type '3'"),
        (good().link(b'6', "pipe", "").end(), "type '6'"),
        (good().entry(b'L', "long", b"name").end(), "outside of one folder"),
        (good().entry(b'L', &format!("{TOP}/b"), b"name").end(), "type 'L'"),
        (good().link(b'2', "link", "").end(), "a link with an unusable target"),
        (good().entry(b'g', &format!("{TOP}/g"), &record("path", b"x")).end(), "type 'g'"),
        (good().entry(b'x', "pax", &[b'x'; 70_000]).end(), "a header of more than"),
        (good().entry(b'x', "pax", b"nonsense").end(), "a header that cannot be read"),
        (good().sized(b'0', &format!("{TOP}/b"), 1 << 40, b"1").end(), "more than 1048576 bytes"),
        ((0..30).fold(good(), |tar, n| tar.file(&format!("f{n}"), b"")).end(), "more than 20 files"),
        (Tar::of(&"1".repeat(40)).end(), "another commit, 111"),
        (Tar(Vec::new()).file("a", b"1").end(), "no global header"),
        (Tar(Vec::new()).entry(b'g', "g", &record("comment", b"main")).end(), "no global header"),
        (Tar(Vec::new()).end(), "no entry"),
        (packed(&[b'x'; 2000]), "damaged"),
        (b"no gzip".to_vec(), "damaged"),
        (packed(&[&good().0[..], &[0; 1024], &vec![7; 2 << 20]].concat()), "more data behind its end"),
    ];
    for (tarball, expected) in rows {
        let what = refusal(&tarball);
        assert!(what.contains(expected), "{what:?} instead of {expected:?}");
    }
    let other_top = Tar(Vec::new()).entry(b'g', "g", &record("comment", COMMIT.as_bytes())).entry(
        b'0',
        "acme-hello-1234567/a",
        b"1",
    );
    assert!(refusal(&other_top.end()).contains("outside of one folder"));
    // A file of many zeros is small when it is packed.
    let bomb = good().file("b", &vec![0; (1 << 20) + 1]).end();
    assert!(bomb.len() < 20_000 && refusal(&bomb).contains("more than 1048576 bytes"));
    let mut damaged = good().end();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    assert!(refusal(&damaged).starts_with("damaged"));
    let whole = good().file("b", &[b'x'; 5000]).end();
    for len in 0..whole.len() {
        assert!(refusal(&whole[..len]).starts_with("damaged"), "{len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_passed_on(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in 0..3000usize, b: u8) {
        let _ = pass(&packed(&bytes), bounds());
        let mut tar = Tar::of(COMMIT).file("a", b"1").entry(b'x', "pax", &record("path", b"y")).file("b", b"2").0;
        let at = at % tar.len();
        tar[at] = b;
        let _ = pass(&packed(&tar), bounds());
    }
}
