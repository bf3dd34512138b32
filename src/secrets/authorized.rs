use ssh_key::PublicKey;

use super::SecretsError;

/// The first line of the file that is written for an sshd.
pub const HEADER: &str = "# Written by image-factory: what is changed here is overwritten.\n";

const MAX_TROUBLE: usize = 10;

/// The valid lines of an `authorized_keys` file (sshd(8)): `[options] type base64 [comment]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys(Vec<String>);

impl AuthorizedKeys {
    /// Returns one line for each that sshd would not use; when none is left, an error. Empty lines and comments are
    /// dropped; an empty text is an empty list.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<String>), SecretsError> {
        let text =
            std::str::from_utf8(text).map_err(|_| SecretsError::new("the authorized keys are not UTF-8 text"))?;
        if text.trim_start().starts_with("-----BEGIN") {
            return Err(SecretsError::new(
                "this is no list of public keys but the file of a private one: keep it secret",
            ));
        }
        let (mut keys, mut trouble) = (Vec::new(), Vec::new());
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            match check(line) {
                _ if line.is_empty() || line.starts_with('#') => {}
                Ok(()) => keys.push(line.to_owned()),
                Err(why) => trouble.push(format!("line {} of the authorized keys {why}", i + 1)),
            }
        }
        // What is no such file at all need not be told line by line.
        let more = trouble.len().saturating_sub(MAX_TROUBLE);
        if more > 0 {
            trouble.truncate(MAX_TROUBLE);
            trouble.push(format!("{more} more lines of the authorized keys are not public keys"));
        }
        match keys.is_empty() && !trouble.is_empty() {
            true => Err(SecretsError(trouble.join("; "))),
            false => Ok((Self(keys), trouble)),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The file for an sshd.
    pub fn to_file(&self) -> String {
        self.0.iter().fold(HEADER.into(), |file, line| file + line + "\n")
    }
}

/// As sshd does: a line is a key, or options and then a key.
fn check(line: &str) -> Result<(), &'static str> {
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err("has a control character");
    }
    if is_key(line) {
        return Ok(());
    }
    let rest = after_options(line).ok_or("has a quotation mark that is not closed")?;
    if is_key(rest) { Ok(()) } else { Err("is not a public key: it must be `[options] type base64 [comment]`") }
}

fn is_key(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else { return false };
    PublicKey::from_openssh(&format!("{kind} {body}")).is_ok()
}

/// What follows the first white space outside quotation marks; `\"` inside them is a character. None: not closed.
fn after_options(line: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return Some(&line[i..]),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    (!quoted).then_some("")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn good_lines_are_used_and_bad_ones_are_named() {
        let good = [
            KEY.to_owned(),
            format!("{KEY} me@example.com with words"),
            format!("no-pty,from=\"10.0.0.0/8,!10.1.*\" {KEY} me"),
            format!("command=\"echo \\\"a b\\\" # c\",no-pty\t{KEY}"),
            format!("cert-authority {KEY}"),
        ];
        let bad = [
            "ssh-ed25519 AAAA".to_owned(),
            "hello".into(),
            format!("command=\"open {KEY}"),
            format!("no-pty, from=\"x\" {KEY}"),
            format!("{KEY} \u{7}"),
        ];
        let text = format!("# comment\n\n{}\r\n{}\n", good.join("\r\n"), bad.join("\n"));
        let (keys, trouble) = AuthorizedKeys::parse(text.as_bytes()).unwrap();
        assert_eq!(keys.0, good);
        assert_eq!(trouble.len(), bad.len());
        assert!(trouble[0].starts_with("line 8 of the authorized keys"), "{trouble:?}");
        assert_eq!(keys.to_file(), format!("{HEADER}{}\n", good.join("\n")));
        assert!(AuthorizedKeys::parse(bad.join("\n").as_bytes()).is_err());
        assert_eq!(AuthorizedKeys::parse(b" \n# nobody\n").unwrap().0.len(), 0);
        assert!(AuthorizedKeys::parse(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA").is_err());
        let many = "x\n".repeat(1000) + KEY;
        let (keys, trouble) = AuthorizedKeys::parse(many.as_bytes()).unwrap();
        assert_eq!((keys.len(), trouble.len()), (1, MAX_TROUBLE + 1));
        assert!(trouble[MAX_TROUBLE].starts_with("990 more lines"));
    }

    #[test]
    fn ssh_keygen_reads_every_line_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for kind in ["rsa", "ed25519", "ecdsa"] {
            let file = dir.path().join(kind);
            let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file).status().unwrap();
            assert!(made.success());
            text += "restrict,command=\"a \\\" b\" ";
            text += &std::fs::read_to_string(file.with_extension("pub")).unwrap();
        }
        let (keys, trouble) = AuthorizedKeys::parse(text.as_bytes()).unwrap();
        assert!(trouble.is_empty(), "{trouble:?}");
        let file = dir.path().join("authorized_keys");
        std::fs::write(&file, keys.to_file()).unwrap();
        let out = Command::new("ssh-keygen").args(["-l", "-f"]).arg(&file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 3);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_kept_is_one_line(text in "(\\PC|[\n\r\t\"\\\\ ]){0,80}") {
            let text = format!("{text}\n{KEY}");
            let (keys, _) = AuthorizedKeys::parse(text.as_bytes()).unwrap();
            prop_assert!(keys.0.iter().all(|line| !line.contains(['\n', '\r']) && line.contains("AAAA")));
        }
    }
}
