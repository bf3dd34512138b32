mod short;

use std::fmt;

use signature::Signer;
use ssh_key::getrandom::SysRng;
use ssh_key::private::KeypairData;
use ssh_key::{Algorithm, HashAlg, Kdf, LineEnding, PrivateKey, PublicKey, Signature};
use zeroize::Zeroizing;

use super::SecretsError;

/// ssh-keygen's default is 16 rounds of bcrypt (110 ms), a careful user takes 100; more than this (half a minute)
/// would only keep a processor busy.
const MAX_ROUNDS: u32 = 4096;

/// `SSH_AGENT_RSA_SHA2_256` and `SSH_AGENT_RSA_SHA2_512` of draft-ietf-sshm-ssh-agent.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A decrypted deploy key (rsa, ed25519 or ecdsa). Its private part is zeroized on drop; `Debug` shows the
/// fingerprint alone.
pub struct DeployKey(PrivateKey);

impl DeployKey {
    /// Reads a private key in OpenSSH's own format (its PROTOCOL.key), encrypted or not. bcrypt takes 110 ms and more:
    /// call it where a thread may block.
    pub fn parse(text: &[u8], passphrase: Option<&str>) -> Result<Self, SecretsError> {
        let pem = tidied(text)?;
        let key = read(&pem)?;
        if !key.is_encrypted() {
            return Ok(Self(key));
        }
        let Some(passphrase) = passphrase else {
            return Err(SecretsError::new("the key is encrypted: set ENC_PASSPHRASE to its passphrase"));
        };
        let short = |e| short::read(&pem, Some((key.kdf(), passphrase))).ok_or(e);
        key.decrypt(passphrase).or_else(short).map(Self).map_err(|e| match e {
            // An authenticated cipher cannot tell the two apart; the others compare two numbers first.
            ssh_key::Error::Crypto if key.cipher().has_tag() => SecretsError::new(
                "ENC_PASSPHRASE does not decrypt the key: it is another passphrase, or the key is damaged",
            ),
            ssh_key::Error::Crypto => SecretsError::new(
                "ENC_PASSPHRASE is not the passphrase of this key: set the one it has, or store the key anew \
                 with `image-factory secrets put github-key FILE`",
            ),
            e => damaged(e),
        })
    }

    pub fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// `SHA256:…` of the public key, as ssh-keygen and GitHub show it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Signs as an ssh-agent does: `flags` 4 = rsa-sha2-512, 2 = rsa-sha2-256 (other kinds of key ignore them; RSA
    /// without a flag would be SHA-1 and is refused). Returns `string algorithm, string signature`.
    pub fn sign(&self, data: &[u8], flags: u32) -> Result<Vec<u8>, SecretsError> {
        let signature: Result<Signature, _> = match self.0.key_data() {
            KeypairData::Rsa(pair) if flags & RSA_SHA2_512 != 0 => (pair, Some(HashAlg::Sha512)).try_sign(data),
            KeypairData::Rsa(pair) if flags & RSA_SHA2_256 != 0 => (pair, Some(HashAlg::Sha256)).try_sign(data),
            KeypairData::Rsa(_) => {
                return Err(SecretsError::new(
                    "a signature by RSA with SHA-1 was asked for, which is refused: the SSH server is too old",
                ));
            }
            _ => self.0.try_sign(data),
        };
        let encoded = signature.map_err(|e| e.to_string()).and_then(|s| Vec::try_from(s).map_err(|e| e.to_string()));
        encoded.map_err(|e| SecretsError(format!("cannot sign with the key {}: {e}", self.fingerprint())))
    }
}

impl fmt::Debug for DeployKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeployKey({})", self.fingerprint())
    }
}

/// The text of a private key that is safe to store: encrypted with `passphrase` (aes256-ctr, bcrypt), or as it is when
/// it is encrypted already, by whichever passphrase. Takes as long as [`DeployKey::parse`].
pub fn seal(text: &[u8], passphrase: &str) -> Result<Zeroizing<String>, SecretsError> {
    let key = read(&tidied(text)?)?;
    let sealed = match key.is_encrypted() {
        true => key.to_openssh(LineEnding::LF),
        false => key.encrypt(&mut SysRng, passphrase).and_then(|k| k.to_openssh(LineEnding::LF)),
    };
    sealed.map_err(|e| SecretsError(format!("cannot encrypt the key: {e}")))
}

/// Whether a private key is encrypted; false for what is no such key.
pub fn is_encrypted(text: &[u8]) -> bool {
    tidied(text).and_then(|pem| read(&pem)).is_ok_and(|k| k.is_encrypted())
}

/// The lines of a text, without what surrounds them.
fn tidied(text: &[u8]) -> Result<Zeroizing<String>, SecretsError> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(SecretsError::new("this is not the text of a private key"));
    };
    // What was pasted through YAML, a web form or Windows: indented, with empty lines, with CRLF.
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + 1));
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        pem.push_str(line);
        pem.push('\n');
    }
    Ok(pem)
}

/// Reads the container and refuses by name what cannot be a deploy key here.
fn read(pem: &str) -> Result<PrivateKey, SecretsError> {
    refuse_other_formats(pem)?;
    let key = PrivateKey::from_openssh(pem.as_bytes()).or_else(|e| short::read(pem, None).ok_or(damaged(e)))?;
    let refuse = |what: &str, why: &str| {
        Err(SecretsError(format!("{what} {why}: make a deploy key with `ssh-keygen -t ed25519`")))
    };
    match key.algorithm() {
        Algorithm::Rsa { .. } | Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
        Algorithm::Dsa => return refuse("a DSA key", "is no longer accepted by SSH servers"),
        Algorithm::SkEcdsaSha2NistP256 | Algorithm::SkEd25519 => {
            return refuse("a key on a security token (sk-…)", "needs a person to touch it");
        }
        other => return refuse(&format!("a key of the kind {other}"), "is not supported"),
    }
    match key.kdf() {
        Kdf::Bcrypt { rounds, .. } if *rounds > MAX_ROUNDS => Err(SecretsError(format!(
            "the key has {rounds} rounds of bcrypt, more than {MAX_ROUNDS}: `ssh-keygen -p -a 100 -f KEY` writes it with fewer"
        ))),
        _ => Ok(key),
    }
}

fn refuse_other_formats(pem: &str) -> Result<(), SecretsError> {
    let first = pem.lines().next().unwrap_or_default();
    let label = first.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----"));
    let why = match label {
        Some("OPENSSH PRIVATE KEY") => return Ok(()),
        Some("DSA PRIVATE KEY") => {
            "a DSA key is no longer accepted by SSH servers: make a deploy key with `ssh-keygen -t ed25519`"
        }
        Some(label @ ("RSA PRIVATE KEY" | "EC PRIVATE KEY" | "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY")) => {
            return Err(SecretsError(format!(
                "the key is in the older format `{label}`: `ssh-keygen -p -f KEY` writes it in the OpenSSH format"
            )));
        }
        Some(label) if label.contains("PUBLIC KEY") => "this is a public key: the private key is needed",
        _ if first.starts_with("PuTTY-User-Key-File") => {
            "this is a PuTTY key: `puttygen KEY.ppk -O private-openssh-new -o KEY` writes it in the OpenSSH format"
        }
        _ if first.contains("-cert-v01@openssh.com ") => "this is a certificate: the private key itself is needed",
        _ if PublicKey::from_openssh(first).is_ok() => "this is a public key: the private key is needed",
        _ if pem.is_empty() => "it is empty",
        _ => "this is not a private key: it must begin with `-----BEGIN OPENSSH PRIVATE KEY-----`",
    };
    Err(SecretsError::new(why))
}

fn damaged(e: ssh_key::Error) -> SecretsError {
    SecretsError(format!("the key is damaged ({e}): store it again"))
}

#[cfg(test)]
mod tests;
