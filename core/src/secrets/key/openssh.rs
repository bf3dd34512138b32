//! OpenSSH's own format (its PROTOCOL.key), which ssh-keygen writes since 2018, and since 2014 for Ed25519 or with `-o`.

use ssh_key::{Algorithm, Cipher, EcdsaCurve, Error, Kdf, PrivateKey};
use zeroize::Zeroizing;

use super::short::{self, string};
use super::{SecretsError, Stored, damaged, dsa, messages, refused, too_much_work, wrong_or_damaged};

/// Most rounds of bcrypt. ssh-keygen's default is 16 (110 ms), and a careful user takes 100 or 200. More rounds than this
/// (half a minute) would only keep a processor busy.
const MAX_ROUNDS: u32 = 4096;

pub(super) fn read(body: Zeroizing<Vec<u8>>) -> Result<Stored, SecretsError> {
    let key =
        PrivateKey::from_bytes(&body).or_else(|e| short::read(&body, None).ok_or_else(|| unreadable(&body, e)))?;
    match key.algorithm() {
        Algorithm::Rsa { .. } | Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
        Algorithm::Dsa => return Err(dsa()),
        Algorithm::SkEcdsaSha2NistP256 | Algorithm::SkEd25519 => {
            return Err(refused("a key on a security token (sk-…)", "needs a person to touch it"));
        }
        other => return Err(unknown_kind(other.as_str())),
    }
    match key.kdf() {
        Kdf::Bcrypt { rounds, .. } if *rounds > MAX_ROUNDS => {
            Err(too_much_work(&format!("{rounds} rounds of bcrypt"), &MAX_ROUNDS.to_string()))
        }
        _ if key.is_encrypted() => Ok(Stored::Encrypted(Box::new(move |passphrase| open(&key, &body, passphrase)))),
        _ => Ok(Stored::plain(key)),
    }
}

/// Returns the error for a kind of key, or for an encryption, that the crate ssh-key does not know. Both are named outside
/// the encrypted part.
fn unreadable(body: &[u8], error: Error) -> SecretsError {
    let outer = || {
        let mut rest = body.strip_prefix(b"openssh-key-v1\0")?;
        let (cipher, _kdf, _options) = (string(&mut rest)?, string(&mut rest)?, string(&mut rest)?);
        let mut public = rest.get(4..).and_then(|mut rest| string(&mut rest))?;
        Some((name(cipher)?, name(string(&mut public)?)?))
    };
    match outer() {
        Some((_, kind)) if kind.parse::<Algorithm>().map_or(true, |known| matches!(known, Algorithm::Other(_))) => {
            unknown_kind(kind)
        }
        Some((cipher, _)) if Cipher::new(cipher).is_err() => SecretsError::of(&messages::OTHER_CIPHER, &[&cipher]),
        _ => damaged(error),
    }
}

/// Returns a name that RFC 4251 (6) allows, because any other bytes must not be shown.
fn name(bytes: &[u8]) -> Option<&str> {
    let is_name = (1..=64).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| is_name)
}

fn unknown_kind(kind: &str) -> SecretsError {
    refused(&format!("a key of the kind `{kind}`"), "is not supported (but ed25519, ecdsa and rsa)")
}

fn open(key: &PrivateKey, body: &[u8], passphrase: &str) -> Result<PrivateKey, SecretsError> {
    let may_be_short = key.algorithm() == (Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    let short = |e| short::read(body, Some((key.kdf(), passphrase))).filter(|_| may_be_short).ok_or(e);
    key.decrypt(passphrase).or_else(short).map_err(|e| match e {
        // An authenticated cipher does not distinguish a wrong passphrase from damage. The other ciphers do, because two
        // check numbers are compared first.
        Error::Crypto if key.cipher().has_tag() => wrong_or_damaged(),
        Error::Crypto => SecretsError::of(&messages::OTHER_PASSPHRASE, &[]),
        e => damaged(e),
    })
}
