//! Lets the volume's public keys log in as root.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::layout::Layout;
use crate::{Place, Problem, whole_file};

/// Lines around the keys of the volume. The image's own keys stand outside, and stay.
const BEGIN: &str = "# Keys of the volume, written by the launcher at each start:";
const END: &str = "# End of the volume's keys.";
/// Writes root's `authorized_keys`, and returns the number of the volume's keys in it. A key that is no longer in the
/// volume is no longer in the file.
///
/// # Errors
/// A file cannot be read or written, or one of its lines is no public key. The old file stays then.
pub fn install(layout: &Layout) -> Result<usize, Problem> {
    let mut keys = Vec::new();
    for file in layout.keys().iter().map(|folder| public_keys(folder)).collect::<Result<Vec<_>, _>>()?.concat() {
        let text = fs::read_to_string(&file).map_err(|error| Problem::with(&file, error))?;
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !is_key(line) {
                return Err(Place::new(&file, number + 1).problem(
                    "The line is no public key of OpenSSH, or not all of one. Copy the .pub file once more.",
                ));
            }
            if !keys.iter().any(|known| known == line) {
                keys.push(line.to_owned());
            }
        }
    }
    let target = layout.authorized_keys();
    let old = match fs::read_to_string(&target) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Problem::with(&target, error)),
    };
    let new = with_block(&old, &keys);
    if new != old {
        let folder = target.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| Problem::with(folder, error))?;
        whole_file::write(&target, 0o600, new.as_bytes()).map_err(|error| Problem::with(&target, error))?;
    }
    Ok(keys.len())
}

/// Returns the `*.pub` of a folder in the order of their names. A folder that is missing has none.
fn public_keys(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Problem::with(folder, error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = paths.map_err(|error| Problem::with(folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    if let Some(link) = paths.iter().find(|path| path.is_symlink() && !path.exists()) {
        return Err(Problem::lost_link(link));
    }
    paths.retain(|path| path.is_file());
    Ok(paths)
}

/// True for a key, before which options may stand (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    if has_key(words.next(), words.next()) {
        return true;
    }
    // Options are one word, in which blanks stand between quotes alone.
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c: char| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        c.is_whitespace() && !quoted
    });
    let mut words = line[end.unwrap_or(line.len())..].split_whitespace();
    has_key(words.next(), words.next())
}

/// True if the second word is a key whose type is the first one: fields behind their lengths, the type first (RFC 4253,
/// section 6.6). What the key is worth is for sshd to judge, which knows types that are younger than this program.
fn has_key(name: Option<&str>, key: Option<&str>) -> bool {
    let (Some(name), Some(key)) = (name, key) else { return false };
    let Ok(bytes) = STANDARD.decode(key) else { return false };
    let (mut rest, mut fields) = (&bytes[..], Vec::new());
    while let Some((length, behind)) = rest.split_at_checked(4) {
        let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        let Some((field, behind)) = behind.split_at_checked(length) else { return false };
        fields.push(field);
        rest = behind;
    }
    rest.is_empty() && fields.len() > 1 && fields[0] == name.as_bytes()
}

/// Returns the text with these keys in the place of those between the two lines.
fn with_block(old: &str, keys: &[String]) -> String {
    let mut inside = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in old.lines() {
        inside |= line == BEGIN;
        if !inside {
            lines.push(line);
        }
        inside &= line != END;
    }
    if !keys.is_empty() {
        lines.push(BEGIN);
        lines.extend(keys.iter().map(String::as_str));
        lines.push(END);
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_image_stay_and_those_of_the_volume_are_replaced() {
        let one = with_block("ssh-rsa AAAA1 image\n", &["ssh-rsa AAAA2 x".into()]);
        assert_eq!(one, format!("ssh-rsa AAAA1 image\n{BEGIN}\nssh-rsa AAAA2 x\n{END}\n"));
        assert_eq!(with_block(&one, &["k".into()]), format!("ssh-rsa AAAA1 image\n{BEGIN}\nk\n{END}\n"));
        assert_eq!(with_block(&one, &[]), "ssh-rsa AAAA1 image\n");
    }

    #[test]
    fn what_is_no_public_key_is_told_from_one() {
        let ed25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc";
        let line = |before: &str, kind: &str, after: &str| format!("{before}{kind} {ed25519}{after}");
        for (line, expected) in [
            (line("", "ssh-ed25519", " me@example.com"), true),
            (line("from=\"10.*, a b\",command=\"echo \\\"x y\\\"\" ", "ssh-ed25519", ""), true),
            (line("", "ssh-rsa", ""), false),
            (line("no option ", "ssh-ed25519", ""), false),
            (line("from=\"10.* ", "ssh-ed25519", ""), false),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPyT me".into(), false),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5".into(), false),
            ("ssh-rsa AAAA".into(), false),
            ("ssh-rsa".into(), false),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), false),
        ] {
            assert_eq!(is_key(&line), expected, "{line}");
        }
    }
}
