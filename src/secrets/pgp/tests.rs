#![allow(clippy::disallowed_methods)]

use std::process::{Command, Stdio};

use base64::engine::general_purpose;
use proptest::prelude::*;

use super::*;

const PLAIN: &[u8] = br#"{"https://quay.io":{"auth":"dG90ZW06c2VjcmV0","email":""}}"#;

/// PLAIN by `gpg -c --s2k-mode 1 --compress-algo none` with the passphrase `passphrase`: quick to open.
const MESSAGE: &str = "jAwECQEC0Kd5TNETX/7SbQHJC6mO2JqfBhO6sHz7KyD+dyMAY4MnDbMPZ3w0w77eKTEltM6kL7NhLLJMsi7Rwv+m\
                       1cGA1kV3j35F7kYX1/WsHm3OaZbCQ2LJUk4S+EuMwDPUt1Wav+UltOGis0acY3sq4NyLWhOpixaYAQk=";

/// A home for gpg of its own; the short path fits its agent's socket (107 bytes).
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap())
    }

    /// Runs gpg with `passphrase` on a pipe and returns its standard output.
    fn run(&self, args: &[&str], passphrase: &str, input: &[u8]) -> Vec<u8> {
        let file = self.0.path().join("input");
        std::fs::write(&file, input).unwrap();
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", self.0.path())
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "-o", "-"])
            .args(args)
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(passphrase.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.0.path()).args(["--kill", "gpg-agent"]).status();
    }
}

fn error(message: &[u8]) -> String {
    let e = decrypt(message, "pässphrase").unwrap_err().to_string();
    assert!(!e.contains('\n'), "{e}");
    e
}

#[test]
fn what_gpg_writes_is_read() {
    let gpg = Gpg::new();
    // gpg iterates its hash over 65 MB, which is slow in a debug build: once as it is, then without.
    for options in [
        &["-c"][..],
        &["-c", "--s2k-mode", "1", "-a"],
        &["-c", "--s2k-mode", "1", "--compress-algo", "none"],
        &["-c", "--s2k-mode", "1", "--compress-algo", "bzip2"],
        &["-c", "--s2k-mode", "1", "--compress-algo", "zip", "-a"],
        &["-c", "--s2k-mode", "1", "--compress-algo", "zlib"],
        &["-c", "--s2k-mode", "1", "--cipher-algo", "AES128"],
        &["-c", "--s2k-mode", "1", "--cipher-algo", "BLOWFISH"],
        &["-c", "--s2k-mode", "1", "--cipher-algo", "CAST5"],
        &["-c", "--s2k-mode", "1", "--cipher-algo", "3DES", "--s2k-digest-algo", "SHA1"],
    ] {
        let message = gpg.run(options, "pässphrase", PLAIN);
        assert_eq!(*decrypt(&message, "pässphrase").unwrap(), PLAIN, "{options:?}");
        let base64 = general_purpose::STANDARD.encode(&message);
        let lines: Vec<_> = base64.as_bytes().chunks(60).map(|l| std::str::from_utf8(l).unwrap()).collect();
        let wrapped = format!("  {}\r\n", lines.join("\r\n  "));
        assert_eq!(*decrypt(wrapped.as_bytes(), "pässphrase").unwrap(), PLAIN, "{options:?}");
        let wrong = decrypt(&message, "wrong").unwrap_err().to_string();
        assert!(wrong.contains("is not the passphrase"), "{options:?}: {wrong}");
    }
    let armoured = String::from_utf8(gpg.run(&["-c", "--s2k-mode", "1", "-a"], "pässphrase", PLAIN)).unwrap();
    for pasted in
        [armoured.trim().to_owned(), armoured.replace('\n', "\r\n"), format!("\n  {}", armoured.replace('\n', "\n  "))]
    {
        assert_eq!(*decrypt(pasted.as_bytes(), "pässphrase").unwrap(), PLAIN);
    }
}

#[test]
fn what_we_write_gpg_reads() {
    let armoured = encrypt(PLAIN, "pässphrase").unwrap();
    assert_eq!(Gpg::new().run(&["-d"], "pässphrase", armoured.as_bytes()), PLAIN);
    assert_eq!(*decrypt(armoured.as_bytes(), "pässphrase").unwrap(), PLAIN);
    assert!(decrypt(armoured.as_bytes(), "wrong").unwrap_err().to_string().contains("is not the passphrase"));
}

#[test]
fn each_fault_has_its_own_message() {
    let gpg = Gpg::new();
    let message = gpg.run(&["-c", "--s2k-mode", "1", "--compress-algo", "none"], "pässphrase", PLAIN);
    for at in [message.len() - 30, message.len() - 1, message.len() - 60] {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert!(error(&changed).contains("was changed or damaged"), "{at}: {}", error(&changed));
    }
    assert!(error(&message[..message.len() - 10]).contains("cut short"));
    let armoured = String::from_utf8(gpg.run(&["-c", "--s2k-mode", "1", "-a"], "pässphrase", PLAIN)).unwrap();
    let short: Vec<_> = armoured.lines().take(4).collect();
    assert!(error(short.join("\n").as_bytes()).contains("cut short"));
    // gpg 2.2 no longer writes packets of kind 9; in place of 18 it is also how protection would be stripped.
    let mut old = message.clone();
    let seip = 2 + usize::from(old[1]);
    assert_eq!(old[seip], 0xc0 | 18);
    old[seip] = 0xc0 | 9;
    assert!(error(&old).contains("secrets put dockercfg"), "{}", error(&old));
    let idea = gpg.run(&["-c", "--cipher-algo", "IDEA"], "pässphrase", PLAIN);
    assert!(error(&idea).contains("IDEA, which is not accepted"), "{}", error(&idea));
    for other in [
        &b"hello world"[..],
        b"",
        b"{}",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n",
        "äöü".as_bytes(),
        b"aGVsbG8=",
    ] {
        assert!(error(other).contains("not a gpg message"), "{other:?}: {}", error(other));
    }
    let packed = gpg.run(&["--store"], "", PLAIN);
    assert!(error(&packed).contains("not encrypted"), "{}", error(&packed));
    let bomb = gpg.run(&["-c", "--s2k-mode", "1", "-z", "9"], "pässphrase", &vec![0; 40 << 20]);
    assert!(bomb.len() < 100 << 10 && error(&bomb).contains("1 MiB"), "{}: {}", bomb.len(), error(&bomb));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decrypt(&bytes, "x").is_err());
        let base64 = general_purpose::STANDARD.encode([&[0xd2, 0xc0, 1][..], &bytes].concat());
        prop_assert!(decrypt(base64.as_bytes(), "x").is_err());
    }

    #[test]
    fn what_was_changed_is_never_accepted(at in any::<prop::sample::Index>(), bit in 0u32..8, cut in 0usize..3) {
        let mut message = general_purpose::STANDARD.decode(MESSAGE).unwrap();
        prop_assert!(decrypt(&message, "passphrase").is_ok());
        let at = at.index(message.len());
        message[at] ^= 1 << bit;
        message.truncate(message.len() - cut);
        prop_assert!(decrypt(&message, "passphrase").is_err());
    }
}
