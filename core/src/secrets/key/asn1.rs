//! Keys in openssl's formats: PKCS#1 (RFC 8017, A.1.2), SEC 1 (RFC 5915) and PKCS#8 (RFC 5958), all DER.

use pkcs1::RsaPrivateKeyRef;
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, ErrorKind, Tag, Tagged};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData, RsaKeypair, RsaPrivateKey};
use ssh_key::public::RsaPublicKey;
use ssh_key::{Mpint, PrivateKey};
use zeroize::Zeroizing;

use super::{SecretsError, damaged, dsa, messages, refused};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Returns true for one ASN.1 sequence with nothing behind it.
pub(super) fn is_whole(der: &[u8]) -> bool {
    AnyRef::from_der(der).is_ok_and(|value| value.tag() == Tag::Sequence)
}

/// Reads the body of `RSA PRIVATE KEY`.
pub(super) fn pkcs1(der: &[u8]) -> Result<PrivateKey, SecretsError> {
    let key = RsaPrivateKeyRef::from_der(der).map_err(damaged)?;
    if key.other_prime_infos.is_some() {
        return Err(refused("an RSA key of more than two primes", "cannot be used by SSH"));
    }
    let number = |n: pkcs8::der::asn1::UintRef<'_>| Mpint::from_positive_bytes(n.as_bytes());
    let public = RsaPublicKey::new(number(key.public_exponent), number(key.modulus)).map_err(damaged)?;
    let [d, iqmp, p, q] = [key.private_exponent, key.coefficient, key.prime1, key.prime2].map(number);
    let pair = RsaPrivateKey::new(d, iqmp, p, q).and_then(|private| RsaKeypair::new(public, private));
    private_key(KeypairData::Rsa(pair.map_err(damaged)?))
}

/// Reads the body of `EC PRIVATE KEY`.
pub(super) fn sec1(der: &[u8]) -> Result<PrivateKey, SecretsError> {
    ec(der, None)
}

/// Reads the body of `PRIVATE KEY`.
pub(super) fn pkcs8(der: &[u8]) -> Result<PrivateKey, SecretsError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(damaged)?;
    let key = info.private_key.as_bytes();
    match (info.algorithm.oid, info.algorithm.parameters) {
        (RSA, _) => pkcs1(key),
        (EC, Some(parameters)) if parameters.tag() == Tag::Sequence => Err(explicit_curve()),
        (EC, parameters) => ec(key, parameters.and_then(|curve| curve.decode_as().ok())),
        (ED25519, _) => {
            let seed = <&OctetStringRef>::from_der(key).map_err(damaged)?.as_bytes();
            let seed = seed.try_into().map_err(|_| damaged("it has not 32 bytes"))?;
            private_key(KeypairData::Ed25519(Ed25519Keypair::from_seed(seed)))
        }
        (DSA, _) => Err(dsa()),
        (other, _) => {
            Err(refused(&format!("a key of the kind {other}"), "is not supported (but ed25519, ecdsa and rsa)"))
        }
    }
}

/// Reads an EC key. `curve` is the curve that PKCS#8 names outside the key.
fn ec(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<PrivateKey, SecretsError> {
    let key = EcPrivateKey::from_der(der).map_err(|e| match e.kind() {
        ErrorKind::TagUnexpected { actual: Tag::Sequence, .. } => explicit_curve(),
        _ => damaged(e),
    })?;
    let named = key.parameters.and_then(|parameters| parameters.named_curve());
    let pair = match curve.or(named) {
        Some(P256) => {
            let private = p256::SecretKey::from_slice(&*number::<32>(key.private_key)?).map_err(damaged)?;
            EcdsaKeypair::NistP256 { public: private.public_key().into(), private: private.into() }
        }
        Some(P384) => {
            let private = p384::SecretKey::from_slice(&*number::<48>(key.private_key)?).map_err(damaged)?;
            EcdsaKeypair::NistP384 { public: private.public_key().into(), private: private.into() }
        }
        Some(P521) => {
            let private = p521::SecretKey::from_slice(&*number::<66>(key.private_key)?).map_err(damaged)?;
            EcdsaKeypair::NistP521 { public: private.public_key().into(), private: private.into() }
        }
        Some(other) => return Err(refused(&format!("a key on the curve {other}"), "cannot be used by SSH")),
        None => return Err(damaged("it names no curve")),
    };
    // The first byte names the form of the point; a compressed point has only the first half of the bytes.
    let same = |stored: &[u8]| stored.len() > 1 && pair.public_key_bytes()[1..].starts_with(&stored[1..]);
    match key.public_key.is_none_or(same) {
        true => private_key(KeypairData::Ecdsa(pair)),
        false => Err(damaged("its private part does not belong to its public part")),
    }
}

/// Returns a number in N bytes. The leading zero bytes are restored, because old openssl left them out.
fn number<const N: usize>(bytes: &[u8]) -> Result<Zeroizing<[u8; N]>, SecretsError> {
    let mut number = Zeroizing::new([0; N]);
    match N.checked_sub(bytes.len()) {
        Some(zeros) => number[zeros..].copy_from_slice(bytes),
        None => return Err(damaged("its number is too long for its curve")),
    }
    Ok(number)
}

fn private_key(pair: KeypairData) -> Result<PrivateKey, SecretsError> {
    PrivateKey::new(pair, "").map_err(damaged)
}

fn explicit_curve() -> SecretsError {
    SecretsError::of(&messages::EXPLICIT_CURVE, &[])
}
