//! OpenSSH's own format (its PROTOCOL.key): what ssh-keygen writes since 2018, and since 2014 for Ed25519 or by `-o`.

use ssh_key::{Algorithm, EcdsaCurve, Error, Kdf, PrivateKey};
use zeroize::Zeroizing;

use super::{SecretsError, Stored, damaged, dsa, refused, short, too_much_work, wrong_or_damaged};

/// ssh-keygen's default is 16 rounds of bcrypt (110 ms), a careful user takes 100 or 200; more than this (half a minute)
/// would only keep a processor busy.
const MAX_ROUNDS: u32 = 4096;

pub(super) fn read(body: Zeroizing<Vec<u8>>) -> Result<Stored, SecretsError> {
    let key = PrivateKey::from_bytes(&body).or_else(|e| short::read(&body, None).ok_or(damaged(e)))?;
    match key.algorithm() {
        Algorithm::Rsa { .. } | Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
        Algorithm::Dsa => return Err(dsa()),
        Algorithm::SkEcdsaSha2NistP256 | Algorithm::SkEd25519 => {
            return Err(refused("a key on a security token (sk-…)", "needs a person to touch it"));
        }
        other => return Err(refused(&format!("a key of the kind {other}"), "is not supported")),
    }
    match key.kdf() {
        Kdf::Bcrypt { rounds, .. } if *rounds > MAX_ROUNDS => {
            Err(too_much_work(&format!("{rounds} rounds of bcrypt"), &MAX_ROUNDS.to_string()))
        }
        _ if key.is_encrypted() => Ok(Stored::Encrypted(Box::new(move |passphrase| open(&key, &body, passphrase)))),
        _ => Ok(Stored::plain(key)),
    }
}

fn open(key: &PrivateKey, body: &[u8], passphrase: &str) -> Result<PrivateKey, SecretsError> {
    let may_be_short = key.algorithm() == (Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    let short = |e| short::read(body, Some((key.kdf(), passphrase))).filter(|_| may_be_short).ok_or(e);
    key.decrypt(passphrase).or_else(short).map_err(|e| match e {
        // An authenticated cipher cannot tell the two apart; the others compare two numbers first.
        Error::Crypto if key.cipher().has_tag() => wrong_or_damaged(),
        Error::Crypto => SecretsError::new(
            "ENC_PASSPHRASE is not the passphrase of this key: set the one it has, or store the key anew \
             with `image-factory secrets put github-key FILE`",
        ),
        e => damaged(e),
    })
}
