use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::{Algorithm, HashAlg, PublicKey};

use super::SecretsError;

/// The first line of the file that is written for an sshd.
pub const HEADER: &str = "# Written by image-factory: what is changed here is overwritten.\n";

const MAX_TROUBLE: usize = 10;

/// The end of the text about a line that is no key, if others are keys.
const LEFT_OUT: &str = "; it is left out";

/// The longest name of a kind of key, in bytes (RFC 4251, 6).
const MAX_KIND: usize = 64;

/// Options that let a key do less than `restrict,pty`. Without them it would do more than whoever stored it meant.
const NARROW: &[&str] = &["command=", "from=", "expiry-time=", "principals="];

/// Valid lines of an `authorized_keys` file (sshd(8)): `[options] type base64 [comment]`. A line is bytes, because a
/// comment may be in any encoding.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AuthorizedKeys(Vec<Vec<u8>>);

impl AuthorizedKeys {
    /// Returns the lines that have the form of a key, and one line of text for each that has not. Empty lines and comments
    /// are dropped; an empty text is an empty list.
    ///
    /// # Errors
    /// There are lines, and none of them is a key.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<String>), SecretsError> {
        if text.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(SecretsError::new(
                "this is no list of public keys but the file of a private one: keep it secret",
            ));
        }
        let (mut keys, mut trouble) = (Vec::new(), Vec::new());
        for (i, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = line.trim_ascii();
            match check(line) {
                _ if line.is_empty() || line.starts_with(b"#") => {}
                Ok(()) => keys.push(line.to_owned()),
                Err(why) => trouble.push(format!("line {} of the authorized keys {why}{LEFT_OUT}", i + 1)),
            }
        }
        // Faults above the limit are only counted, because a file of another kind has a fault in every line.
        let more = trouble.len().saturating_sub(MAX_TROUBLE);
        if more > 0 {
            trouble.truncate(MAX_TROUBLE);
            trouble.push(format!("{more} more lines of the authorized keys are not public keys"));
        }
        match keys.is_empty() && !trouble.is_empty() {
            true => Err(SecretsError(without_consequence(&trouble))),
            false => Ok((Self(keys), trouble)),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the file for an sshd.
    pub fn to_file(&self) -> Vec<u8> {
        let lines = self.0.iter().flat_map(|line| [line.as_slice(), b"\n"]);
        [HEADER.as_bytes()].into_iter().chain(lines).collect::<Vec<_>>().concat()
    }
}

/// Returns the faults of lines in one text, for a list of which no line is used.
pub fn without_consequence(faults: &[String]) -> String {
    faults.iter().map(|fault| fault.strip_suffix(LEFT_OUT).unwrap_or(fault)).collect::<Vec<_>>().join("; ")
}

/// A public key whose holder may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// `SHA256:…`, as ssh-keygen shows it.
    pub fingerprint: String,
    /// The comment, without characters that could change a terminal or a line.
    pub comment: String,
    /// `type base64`
    pub key: String,
}

impl AuthorizedKeys {
    /// Returns the keys of the kinds that the daemon knows, without their options and each once, and one line of text for
    /// each fault. A certificate authority is left out, because without its option it would be a key of a person.
    pub fn holders(&self) -> (Vec<KeyHolder>, Vec<String>) {
        let (mut holders, mut trouble) = (Vec::<KeyHolder>::new(), Vec::new());
        for line in &self.0 {
            let (options, rest) = match is_key(line) {
                true => (&b""[..], line.as_slice()),
                false => {
                    let rest = after_options(line).unwrap_or_default();
                    (&line[..line.len() - rest.len()], rest)
                }
            };
            let text = String::from_utf8_lossy(rest);
            let mut words = text.split_ascii_whitespace();
            let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let comment = words.collect::<Vec<_>>().join(" ").escape_debug().to_string();
            let known = matches!(kind, "ssh-ed25519" | "ssh-rsa") || kind.starts_with("ecdsa-sha2-nistp");
            let parsed = PublicKey::from_openssh(&format!("{kind} {body}")).ok().filter(|_| known);
            let options = String::from_utf8_lossy(options).to_ascii_lowercase();
            let Some(parsed) = parsed else {
                trouble
                    .push(format!("a key of kind {} ({comment}) is left out: it is unknown here", kind.escape_debug()));
                continue;
            };
            if options.contains("cert-authority") {
                trouble.push(format!("the certificate authority ({comment}) is left out: add the keys of its users"));
                continue;
            }
            if let Some(narrow) = NARROW.iter().find(|narrow| options.contains(*narrow)) {
                trouble
                    .push(format!("the key ({comment}) is left out, because its {narrow} would not hold: remove it"));
                continue;
            }
            if !options.trim().is_empty() {
                trouble.push(format!("the options of the key ({comment}) are not used: each key gets restrict,pty"));
            }
            let fingerprint = parsed.fingerprint(HashAlg::Sha256).to_string();
            if holders.iter().all(|other| other.fingerprint != fingerprint) {
                holders.push(KeyHolder { fingerprint, comment, key: format!("{kind} {body}") });
            }
        }
        (holders, trouble)
    }
}

/// Checks a line as sshd does: it must be a key, or options followed by a key.
fn check(line: &[u8]) -> Result<(), &'static str> {
    if String::from_utf8_lossy(line).contains(|c: char| c.is_control() && c != '\t') {
        return Err("has a control character");
    }
    if is_key(line) {
        return Ok(());
    }
    let rest = after_options(line).ok_or("has a quotation mark that is not closed")?;
    if is_key(rest) { Ok(()) } else { Err("is not a public key: it must be `[options] type base64 [comment]`") }
}

/// Returns true if a line begins with a public key, `type base64`. The crate ssh-key checks the kinds that it knows. Any
/// other kind is left to the sshd that will use it, because that sshd may be newer than the daemon: its form is right if
/// the base64 begins with the kind's name, as each public key does (RFC 4253, 6.6).
pub fn is_key(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(std::str::from_utf8);
    let (Some(Ok(kind)), Some(Ok(body))) = (words.next(), words.next()) else { return false };
    match kind.parse::<Algorithm>() {
        Ok(Algorithm::Other(_)) | Err(_) => {
            let is_name = kind.len() <= MAX_KIND && kind.bytes().all(|b| b.is_ascii_graphic() && !b"\",".contains(&b));
            let name = [&(kind.len() as u32).to_be_bytes(), kind.as_bytes()].concat();
            is_name && STANDARD.decode(body).is_ok_and(|blob| blob.len() > name.len() && blob.starts_with(&name))
        }
        Ok(_) => PublicKey::from_openssh(&format!("{kind} {body}")).is_ok(),
    }
}

/// Returns the text after the first white space outside quotation marks, where `\"` is a character. Returns `None` if a
/// quotation mark is not closed.
fn after_options(line: &[u8]) -> Option<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, &b) in line.iter().enumerate() {
        match b {
            b'"' if !escaped => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(&line[i..]),
            _ => {}
        }
        escaped = b == b'\\' && !escaped;
    }
    (!quoted).then_some(b"")
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
        assert_eq!(keys.0, good.each_ref().map(|line| line.as_bytes().to_vec()));
        assert_eq!(trouble.len(), bad.len());
        assert!(trouble[0].starts_with("line 8 of the authorized keys"), "{trouble:?}");
        assert_eq!(keys.to_file(), format!("{HEADER}{}\n", good.join("\n")).into_bytes());
        assert!(AuthorizedKeys::parse(bad.join("\n").as_bytes()).is_err());
        assert_eq!(AuthorizedKeys::parse(b" \n# nobody\n").unwrap().0.len(), 0);
        assert!(AuthorizedKeys::parse(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA").is_err());
        let many = "x\n".repeat(1000) + KEY;
        let (keys, trouble) = AuthorizedKeys::parse(many.as_bytes()).unwrap();
        assert_eq!((keys.len(), trouble.len()), (1, MAX_TROUBLE + 1));
        assert!(trouble[MAX_TROUBLE].starts_with("990 more lines"));
    }

    /// Returns a public key of any kind, also of one that does not exist yet.
    fn public_key(kind: &str, rest: &[u8]) -> String {
        let blob = [&(kind.len() as u32).to_be_bytes(), kind.as_bytes(), rest].concat();
        format!("{kind} {}", STANDARD.encode(blob))
    }

    #[test]
    fn an_unknown_kind_is_left_to_sshd() {
        let new = public_key("ssh-mldsa44-ed25519", &[7; 1400]);
        let sk = public_key("sk-ssh-ed25519-cert-v01@openssh.com", &[7; 200]);
        let mut latin1 = format!("{new} ").into_bytes();
        latin1.extend(b"J\xfcrgen");
        let good = [
            new.clone().into_bytes(),
            format!("{new} me@example.com").into_bytes(),
            format!("restrict,command=\"a \\\" b\" {new} me").into_bytes(),
            format!("cert-authority,principals=\"a,b\" {sk}").into_bytes(),
            public_key("ssh-ed25519-cert-v01@openssh.com", &[7; 300]).into_bytes(),
            latin1,
        ];
        let (keys, trouble) = AuthorizedKeys::parse(&good.join(&b'\n')).unwrap();
        assert!(keys.0 == good && trouble.is_empty(), "{trouble:?}");
        let body = new.split(' ').nth(1).unwrap();
        for bad in [
            format!("ssh-mldsa65-ed25519 {body}"), // the base64 names another kind
            format!("ssh-mldsa44-ed25519 {}", &body[..body.len() - 1]),
            format!("ssh-mldsa44-ed25519 {}!", &body[..body.len() - 1]),
            "ssh-mldsa44-ed25519".into(),
            format!("ssh-mldsa44-ed25519 me@example.com {body}"),
            public_key("ssh-mldsa44-ed25519", b""),
            public_key(&"k".repeat(MAX_KIND + 1), b"x"),
            public_key("a,b", b"x"),
            public_key("ssh-ed25519", &[7; 5]), // a known kind with a wrong body
        ] {
            assert!(AuthorizedKeys::parse(bad.as_bytes()).is_err(), "{bad}");
        }
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

    #[test]
    fn holders_have_known_keys_once_and_no_options() {
        let new = public_key("ssh-mldsa44-ed25519", &[7; 1400]);
        let lines = [
            format!("port-forwarding,environment=\"A=B\" {KEY} me \u{202e}too"),
            format!("{KEY} again"),
            format!("no-pty,COMMAND=\"id\" {KEY} backup"),
            format!("{new} new"),
            format!("cert-authority {KEY} ca"),
        ];
        let (keys, _) = AuthorizedKeys::parse(lines.join("\n").as_bytes()).unwrap();
        let (holders, trouble) = keys.holders();
        let fingerprint = PublicKey::from_openssh(KEY).unwrap().fingerprint(HashAlg::Sha256).to_string();
        assert_eq!(holders, [KeyHolder { fingerprint, comment: "me \\u{202e}too".into(), key: KEY.into() }]);
        assert_eq!(
            trouble,
            [
                "the options of the key (me \\u{202e}too) are not used: each key gets restrict,pty",
                "the key (backup) is left out, because its command= would not hold: remove it",
                "a key of kind ssh-mldsa44-ed25519 (new) is left out: it is unknown here",
                "the certificate authority (ca) is left out: add the keys of its users",
            ]
        );
    }

    proptest! {
        #[test]
        fn no_input_panics_and_each_key_is_one_line(text in "(\\PC|[\n\r\t\"\\\\ ]){0,80}") {
            let text = format!("{text}\n{KEY}");
            let (keys, _) = AuthorizedKeys::parse(text.as_bytes()).unwrap();
            prop_assert!(keys.0.iter().all(|line| !line.contains(&b'\n') && line.windows(4).any(|part| part == b"AAAA")));
        }
    }
}
