use std::io::Write as _;

use tokio::sync::mpsc;

use super::unpack::unpack;
use crate::git::GitBounds;

const COMMIT: &str = "5df99b9b0f2b4e4a9cf7c1e7f9a8c6d5e4f3a2b1";

/// Unpacks a tarball of these entries, each as a type, the lengths of its name and of its content, and both. The checksums
/// of headers are made here, because no random byte would hit one.
pub fn tarball(mut entries: &[u8]) {
    let mut tar = Vec::new();
    let mut add = |kind, name: &[u8], content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        let (fields, length) = (header.as_old_mut(), name.len().min(100));
        fields.name[..length].copy_from_slice(&name[..length]);
        fields.linkname[..length].copy_from_slice(&name[..length]);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o664);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    };
    add(b'g', b"pax_global_header", format!("52 comment={COMMIT}\n").as_bytes());
    add(b'5', b"acme-hello-5df99b9/", b"");
    while let [kind, name, content, rest @ ..] = entries {
        let (name, content) = (usize::from(*name).min(rest.len()), usize::from(*content));
        let (name, rest) = rest.split_at(name);
        let (content, rest) = rest.split_at(content.min(rest.len()));
        add(*kind, &[b"acme-hello-5df99b9/", name].concat(), content);
        entries = rest;
    }
    tar.resize(tar.len() + 1024, 0);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let Ok(packed) = packed.write_all(&tar).and_then(|()| packed.finish()) else { return };
    let (pieces, received) = mpsc::channel(1);
    let (commands, mut written) = mpsc::channel(1024);
    let _ = pieces.try_send(packed.into());
    drop(pieces);
    let bounds = GitBounds { files: 20, bytes: 1 << 20, ..GitBounds::default() };
    let unpacked = unpack(received, commands, COMMIT, bounds);
    let mut text = Vec::new();
    while let Ok(piece) = written.try_recv() {
        text.extend_from_slice(&piece);
    }
    // Git takes a commit only at this word.
    assert_eq!(unpacked.is_ok(), text.ends_with(b"\ndone\n"), "{unpacked:?}");
}
