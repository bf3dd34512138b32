#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::{Command, Stdio};

use ssh_key::Kdf;

use super::*;

mod damage;
mod matrix;
mod refusals;

fn keygen(args: &[&str], file: &Path) {
    let out = Command::new("ssh-keygen").args(args).arg("-f").arg(file).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn make(dir: &Path, name: &str, args: &[&str]) -> Vec<u8> {
    let file = dir.join(name);
    keygen(&[&["-q", "-C", "a comment"], args].concat(), &file);
    std::fs::read(file).unwrap()
}

#[test]
fn rsa_with_sha1_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = DeployKey::parse(&make(dir.path(), "k", &["-t", "rsa", "-b", "2048", "-N", ""]), None).unwrap();
    assert!(key.sign(b"data", 0).unwrap_err().to_string().contains("SHA-1"));
    assert_eq!(format!("{key:?}"), format!("DeployKey({})", key.fingerprint()));
}

#[test]
fn a_pasted_key_is_read_and_a_cut_key_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let text = make(dir.path(), "k", &["-t", "ed25519", "-N", "passphrase", "-a", "1"]);
    let text = String::from_utf8(text).unwrap();
    for pasted in [
        text.trim().to_owned(),
        text.replace('\n', "\r\n"),
        format!("\n\n{}\n\n", text.replace('\n', "\n    ")),
        text.replace('\n', " \n"),
    ] {
        DeployKey::parse(pasted.as_bytes(), Some("passphrase")).unwrap();
    }
    let cut: Vec<_> = text.lines().enumerate().filter(|(i, _)| *i != 3).map(|(_, l)| l).collect();
    for broken in [cut.join("\n"), text[..150].to_owned(), text.replacen("b3Bl", "b3B!", 1)] {
        let e = DeployKey::parse(broken.as_bytes(), Some("passphrase")).unwrap_err().to_string();
        assert!(e.starts_with("the key is damaged"), "{e}");
    }
}

#[test]
fn many_rounds_are_refused_before_they_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let text = make(dir.path(), "k", &["-t", "ed25519", "-N", ""]);
    let key = PrivateKey::from_openssh(text).unwrap();
    // The key is encrypted with one round. The count is then changed in the container, where nothing protects it.
    let kdf = Kdf::Bcrypt { salt: vec![7; 16], rounds: 1 };
    let mut bytes =
        key.encrypt_with(ssh_key::Cipher::Aes256Ctr, kdf, 1, "passphrase").unwrap().to_bytes().unwrap().to_vec();
    let at = bytes.windows(16).position(|w| w == [7; 16]).unwrap() + 16;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    let text = PrivateKey::from_bytes(&bytes).unwrap().to_openssh(LineEnding::LF).unwrap();
    let e = DeployKey::parse(text.as_bytes(), Some("passphrase")).unwrap_err().to_string();
    assert!(e.contains("4294967295 rounds"), "{e}");
}

#[test]
fn seal_encrypts_so_that_ssh_keygen_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let plain = make(dir.path(), "k", &["-t", "ecdsa", "-N", ""]);
    assert!(!is_encrypted(&plain));
    let sealed = seal(&plain, "pass phrase").unwrap();
    assert!(is_encrypted(sealed.as_bytes()));
    let file = dir.path().join("sealed");
    std::fs::write(&file, sealed.as_bytes()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let out = Command::new("ssh-keygen").args(["-y", "-P", "pass phrase", "-f"]).arg(&file).output().unwrap();
    let public = PublicKey::from_openssh(String::from_utf8_lossy(&out.stdout).trim()).unwrap();
    let key = DeployKey::parse(&plain, None).unwrap();
    assert_eq!(public.fingerprint(HashAlg::Sha256).to_string(), key.fingerprint());
    assert_eq!(DeployKey::parse(sealed.as_bytes(), Some("pass phrase")).unwrap().fingerprint(), key.fingerprint());
    assert_eq!(*seal(sealed.as_bytes(), "any").unwrap(), *sealed, "what is encrypted is kept");
}

/// A discarded key of ssh-keygen, whose private number begins with a zero byte, as one in 256 does.
#[test]
fn a_p256_key_with_a_short_number_is_read_sealed_and_signs() {
    let plain = include_bytes!("testdata/short_p256");
    let encrypted = include_bytes!("testdata/short_p256_encrypted");
    let public = include_str!("testdata/short_p256.pub").trim();
    let sealed = seal(plain, "passphrase").unwrap();
    for (text, passphrase) in
        [(&plain[..], None), (encrypted, Some("passphrase")), (sealed.as_bytes(), Some("passphrase"))]
    {
        let key = DeployKey::parse(text, passphrase).unwrap();
        let mut shown = key.public_key().clone();
        shown.set_comment("");
        assert_eq!(shown.to_openssh().unwrap().trim(), public);
        let signature = Signature::try_from(key.sign(b"data", 0).unwrap().as_slice()).unwrap();
        signature::Verifier::verify(key.public_key().key_data(), b"data", &signature).unwrap();
    }
    let wrong = DeployKey::parse(encrypted, Some("wrong")).unwrap_err().to_string();
    assert!(wrong.contains("is not the passphrase"), "{wrong}");
}
