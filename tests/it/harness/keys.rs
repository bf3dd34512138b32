use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::folder;

#[derive(Debug, Clone, Copy)]
pub enum KeyType {
    Ed25519,
    Ecdsa,
    Rsa,
    /// RSA in the format of before 2018: `Proc-Type: 4,ENCRYPTED`.
    RsaPem,
}

/// A deploy key as ssh-keygen writes it. (On its command line the passphrase is seen by every
/// user of the machine: right only for a test's.)
#[derive(Debug, Clone)]
pub struct DeployKey {
    /// Encrypted if there is a passphrase.
    pub private: String,
    /// One line as in authorized_keys.
    pub public: String,
}

impl DeployKey {
    pub fn generate(kind: KeyType, passphrase: &str) -> Self {
        let dir = folder();
        let file = dir.path().join("key");
        let kind: &[&str] = match kind {
            KeyType::Ed25519 => &["ed25519"],
            KeyType::Ecdsa => &["ecdsa", "-b", "256"],
            KeyType::Rsa => &["rsa", "-b", "2048"],
            KeyType::RsaPem => &["rsa", "-b", "2048", "-m", "PEM"],
        };
        let mut command = Command::new("ssh-keygen");
        // One round of the key derivation: the strength of a test's key does not matter.
        command.args(["-q", "-a", "1", "-C", "deploy@test", "-N", passphrase, "-f"]).arg(&file).arg("-t").args(kind);
        succeed(&mut command, b"");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        Self { private: read(&file), public: read(&file.with_extension("pub")).trim().to_string() }
    }
}

/// Encrypts `plain` with `gpg --symmetric --armor`.
pub fn gpg_encrypt(plain: &str, passphrase: &str) -> String {
    let home = folder();
    let input = home.path().join("plain");
    std::fs::write(&input, plain).unwrap();
    let mut gpg = Command::new("gpg");
    gpg.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-fd", "0"])
        .args(["--s2k-count", "65536", "--symmetric", "--armor", "--output", "-"])
        .arg(input)
        .env("GNUPGHOME", home.path());
    let encrypted = succeed(&mut gpg, passphrase.as_bytes());
    // The agent that gpg started would outlive its folder.
    succeed(Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", home.path()), b"");
    String::from_utf8(encrypted.stdout).unwrap()
}

/// Encrypts `plain` as gpg 1.4 does by default: CAST5, SHA-1, ZIP.
pub fn gpg1_encrypt(plain: &str, passphrase: &str) -> String {
    let home = folder();
    let input = home.path().join("plain");
    std::fs::write(&input, plain).unwrap();
    let mut gpg = Command::new("gpg1");
    gpg.args(["--batch", "--quiet", "--passphrase-fd", "0", "--symmetric", "--armor", "--output", "-"])
        .arg(input)
        .env("GNUPGHOME", home.path());
    String::from_utf8(succeed(&mut gpg, passphrase.as_bytes()).stdout).unwrap()
}

/// The dockercfg of one registry, in Docker's present shape.
pub fn dockercfg(registry: &str, user: &str, password: &str) -> String {
    json!({"auths": {registry: {"auth": STANDARD.encode(format!("{user}:{password}"))}}}).to_string()
}

/// Runs a program to its end and panics with what it said if it fails.
pub fn succeed(command: &mut Command, input: &[u8]) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}; run `make setup`"));
    let mut stdin = child.stdin.take().unwrap();
    // A program may end without reading all of it.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}
