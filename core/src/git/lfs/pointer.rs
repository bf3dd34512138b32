//! The pointer file (`docs/spec.md`): lines `KEY VALUE`, first the version, then the others in the order of their keys.

use std::ops::Range;

use crate::git::Oid;

/// Sizes of files that may be pointers, in bytes.
pub const SIZES: Range<u64> = 1..1024;

/// The present version, and the older ones that git-lfs reads too.
const VERSIONS: [&str; 3] =
    ["https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the content.
    pub oid: Oid,
    pub size: u64,
}

/// Parses a pointer. Returns `None` for a file that is no pointer and stands for itself, and an error for a pointer
/// that only the committer's own programs can resolve.
pub fn parse(content: &[u8]) -> Option<Result<Pointer, &'static str>> {
    let mut lines = std::str::from_utf8(content).ok()?.lines().filter(|line| !line.is_empty());
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    VERSIONS.contains(&value("version")?).then_some(())?;
    let text = std::str::from_utf8(content).ok()?;
    if text.lines().skip(1).any(|line| line.starts_with("ext-")) {
        return Some(Err("uses an extension (`ext-…`), a program that is not here: commit it without"));
    }
    let oid = value("oid")?.strip_prefix("sha256:").filter(|hex| hex.len() == 64)?.parse().ok()?;
    let size = value("size")?.parse().ok()?;
    lines.next().is_none().then_some(Ok(Pointer { oid, size }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OID: &str = "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4";

    #[test]
    fn a_pointer_is_told_from_a_text() {
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 3\n");
        let pointer = Pointer { oid: OID.parse().unwrap(), size: 3 };
        for text in [text.clone(), text.replace('\n', "\r\n"), text.replace("git-lfs.", "hawser.")] {
            assert_eq!(parse(text.as_bytes()), Some(Ok(pointer)), "{text}");
        }
        for (old, new) in [
            ("version", "Version"),
            ("v1", "v2"),
            ("sha256:", "sha1:"),
            (&OID[..1], ""),
            ("size 3", "size -3"),
            ("size 3", "size 3\nmore 1"),
            ("size 3", ""),
            ("oid", "\0"),
        ] {
            assert_eq!(parse(text.replacen(old, new, 1).as_bytes()), None, "{old} → {new}");
        }
        let extended = text.replace("oid", &format!("ext-0-case sha256:{OID}\noid"));
        assert!(parse(extended.as_bytes()).unwrap().unwrap_err().contains("extension"));
    }

    proptest! {
        #[test]
        fn any_file_is_survived(content: Vec<u8>) {
            prop_assert_eq!(parse(&content), None);
        }
    }
}
