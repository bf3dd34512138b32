mod asn1;
mod dek;
mod openssh;
mod pbes;
mod pem;
mod short;

use std::fmt;

use signature::{Signer, Verifier};
use ssh_key::getrandom::SysRng;
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, Signature};
use zeroize::Zeroizing;

use self::pem::Pem;
use super::{SecretsError, messages};

/// `SSH_AGENT_RSA_SHA2_256` and `SSH_AGENT_RSA_SHA2_512` of draft-ietf-sshm-ssh-agent.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Range of the bits of an RSA key. sshd accepts no smaller key, and a signature by a larger one takes seconds.
const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=8192;

/// A decrypted deploy key (rsa, ed25519 or ecdsa). Its private part is zeroized on drop; `Debug` shows the
/// fingerprint alone.
pub struct DeployKey(PrivateKey);

impl DeployKey {
    /// Reads a private key as ssh-keygen or openssl wrote it, encrypted or not: OpenSSH's own format (its PROTOCOL.key),
    /// PEM with `DEK-Info` (RFC 1421), PKCS#8 (RFC 5958). The passphrase is ignored for an unencrypted key.
    ///
    /// The call takes 0.1 s and more where a key is derived, so it belongs on a thread that may block.
    ///
    /// # Errors
    /// The passphrase is wrong, the key is damaged, the kind of key or of encryption is not supported, or the key would
    /// take too long to open. The message says which of them, where the format allows that.
    pub fn parse(text: &[u8], passphrase: Option<&str>) -> Result<Self, SecretsError> {
        match (Stored::read(text)?, passphrase) {
            (Stored::Plain(key), _) => Self::checked(*key),
            (Stored::Encrypted(open), Some(passphrase)) => Self::checked(open(passphrase)?),
            (Stored::Encrypted(_), None) => Err(SecretsError::of(&messages::ENCRYPTED_KEY, &[])),
        }
    }

    /// Refuses a key that cannot sign, because openssl's formats have no checksum that would show a changed byte.
    fn checked(key: PrivateKey) -> Result<Self, SecretsError> {
        if let KeypairData::Rsa(pair) = key.key_data() {
            check_size(pair)?;
        }
        let key = Self(key);
        let signed = key.sign(b"", RSA_SHA2_256).ok().and_then(|blob| Signature::try_from(blob.as_slice()).ok());
        match signed.is_some_and(|signature| Verifier::verify(key.public_key(), b"", &signature).is_ok()) {
            true => Ok(key),
            false => Err(damaged("its private part does not belong to its public part")),
        }
    }

    pub fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Returns `SHA256:…` of the public key, as ssh-keygen and GitHub show it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Returns the unencrypted key in OpenSSH's format, for the masks of logs.
    pub fn openssh(&self) -> Option<Zeroizing<String>> {
        self.0.to_openssh(LineEnding::LF).ok()
    }

    /// Returns the secret numbers of the key, big-endian. Every format of a private key contains them.
    pub fn private_numbers(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let numbers: Vec<&[u8]> = match self.0.key_data() {
            KeypairData::Rsa(pair) => {
                let key = pair.private();
                [key.d(), key.p(), key.q(), key.iqmp()].into_iter().filter_map(|n| n.as_positive_bytes()).collect()
            }
            KeypairData::Ed25519(pair) => return vec![Zeroizing::new(pair.private.to_bytes().to_vec())],
            KeypairData::Ecdsa(pair) => vec![pair.private_key_bytes()],
            _ => vec![],
        };
        numbers.into_iter().map(|number| Zeroizing::new(number.to_vec())).collect()
    }

    /// Signs as an ssh-agent does. The flag 4 stands for rsa-sha2-512, and 2 for rsa-sha2-256; other kinds of key ignore
    /// the flags. RSA without a flag would use SHA-1, and is refused. Returns `string algorithm, string signature`.
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

/// Returns the text of a private key that is safe to store. An unencrypted key is encrypted with `passphrase` (OpenSSH's
/// format, aes256-ctr, bcrypt); a key that is encrypted with any passphrase is returned unchanged.
///
/// The call takes as long as [`DeployKey::parse`].
pub fn seal(text: &[u8], passphrase: &str) -> Result<Zeroizing<String>, SecretsError> {
    match Stored::read(text)? {
        Stored::Plain(key) => {
            let sealed = key.encrypt(&mut SysRng, passphrase).and_then(|k| k.to_openssh(LineEnding::LF));
            sealed.map_err(|e| SecretsError(format!("cannot encrypt the key: {e}")))
        }
        Stored::Encrypted(_) => Ok(String::from_utf8_lossy(text).into_owned().into()),
    }
}

/// Returns true for an encrypted private key, and false for any other text.
pub fn is_encrypted(text: &[u8]) -> bool {
    matches!(Stored::read(text), Ok(Stored::Encrypted(_)))
}

/// A private key as it is stored.
enum Stored {
    Plain(Box<PrivateKey>),
    Encrypted(Open),
}

/// Opens a key with a passphrase.
type Open = Box<dyn FnOnce(&str) -> Result<PrivateKey, SecretsError>>;

impl Stored {
    fn plain(key: PrivateKey) -> Self {
        Self::Plain(Box::new(key))
    }

    /// Reads the container. Refuses a key that cannot be a deploy key by its kind, as far as the container shows it.
    fn read(text: &[u8]) -> Result<Self, SecretsError> {
        let pem = Pem::find(text)?;
        match pem.label.as_str() {
            "OPENSSH PRIVATE KEY" => openssh::read(pem.body),
            "RSA PRIVATE KEY" => dek::read(pem, asn1::pkcs1),
            "EC PRIVATE KEY" => dek::read(pem, asn1::sec1),
            "PRIVATE KEY" => asn1::pkcs8(&pem.body).map(Self::plain),
            "ENCRYPTED PRIVATE KEY" => pbes::read(pem.body),
            "DSA PRIVATE KEY" => Err(dsa()),
            other => Err(refused(&format!("a key in the format `{other}`"), "is not supported")),
        }
    }
}

/// Refuses an RSA key that is too small or too large, because a large one would keep a processor busy at each signature.
fn check_size(pair: &RsaKeypair) -> Result<(), SecretsError> {
    let modulus = pair.public().n().as_positive_bytes().unwrap_or_default();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        let (least, most) = RSA_BITS.into_inner();
        return Err(refused(
            &format!("an RSA key of {bits} bits"),
            &format!("is not supported (but {least} to {most})"),
        ));
    }
    let private = pair.private();
    let parts = [private.d(), private.iqmp(), private.p(), private.q(), pair.public().e()];
    match parts.iter().all(|n| n.as_positive_bytes().is_some_and(|n| n.len() <= modulus.len())) {
        true => Ok(()),
        false => Err(damaged("one of its numbers is out of range")),
    }
}

/// Reads plain text that was decrypted without a checksum that would prove the passphrase. With a wrong passphrase the text
/// has no valid padding, or (one time in 256) is not one ASN.1 value of exactly this length.
fn decrypted(
    plain: Option<Zeroizing<Vec<u8>>>,
    read: impl FnOnce(&[u8]) -> Result<PrivateKey, SecretsError>,
) -> Result<PrivateKey, SecretsError> {
    match plain.filter(|plain| asn1::is_whole(plain)) {
        Some(plain) => read(&plain),
        None => Err(wrong_or_damaged()),
    }
}

fn wrong_or_damaged() -> SecretsError {
    SecretsError::of(&messages::WRONG_OR_DAMAGED, &[])
}

fn damaged(why: impl fmt::Display) -> SecretsError {
    // Control characters are replaced, because the decoder's reason may quote the key's own bytes.
    let why: String = why.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    SecretsError::of(&messages::DAMAGED_KEY, &[&why])
}

/// Returns the error for a kind of key that cannot be used.
fn refused(what: &str, why: &str) -> SecretsError {
    SecretsError::of(&messages::OTHER_KIND, &[&format!("{what} {why}")])
}

fn dsa() -> SecretsError {
    refused("a DSA key", "is no longer accepted by SSH servers")
}

/// Returns the error for a cipher of openssl that is not supported. openssl 3 has the older ones in its legacy provider.
fn other_cipher(name: &str) -> SecretsError {
    SecretsError::of(&messages::OLD_CIPHER, &[&name])
}

fn too_much_work(work: &str, most: &str) -> SecretsError {
    SecretsError::of(&messages::TOO_MUCH_WORK, &[&work, &most])
}

#[cfg(test)]
mod tests;
