//! Encrypted PKCS#8 (RFC 5958, RFC 8018): `openssl pkcs8`, `openssl genpkey`, `ssh-keygen -m PKCS8`.

use des::Des;
use md5::{Digest, Md5};
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{self, Decode};
use pkcs8::pkcs5::{EncryptionScheme, pbes1, pbes2};
use pkcs8::spki::AlgorithmIdentifierRef;
use sha1::Sha1;
use zeroize::Zeroizing;

use super::dek::decrypt_cbc;
use super::{SecretsError, Stored, asn1, damaged, decrypted, other_cipher, too_much_work};

/// Most rounds of PBKDF2, which take some seconds. openssl writes 2048, and OWASP asks for 1.3 million.
const MAX_ROUNDS: u32 = 10_000_000;

/// Most bytes that scrypt may fill, all passes together. openssl writes 16 MiB and refuses more than 32 MiB.
const MAX_SCRYPT: u64 = 128 << 20;

pub(super) fn read(body: Zeroizing<Vec<u8>>) -> Result<Stored, SecretsError> {
    let (scheme, data) = parts(&body)?;
    let data = data.to_vec();
    Ok(Stored::Encrypted(match scheme {
        EncryptionScheme::Pbes2(parameters) => {
            check_work(&parameters.kdf)?;
            Box::new(move |passphrase| {
                decrypted(parameters.decrypt(passphrase, &data).ok().map(Zeroizing::new), asn1::pkcs8)
            })
        }
        EncryptionScheme::Pbes1(pbes1::Algorithm { encryption, parameters }) => {
            let derive = match encryption {
                pbes1::EncryptionScheme::PbeWithMd5AndDesCbc => pbkdf1::<Md5>,
                pbes1::EncryptionScheme::PbeWithSha1AndDesCbc => pbkdf1::<Sha1>,
                other => return Err(other_cipher(&format!("PKCS#8's {}", other.oid()))),
            };
            Box::new(move |passphrase| {
                let derived = derive(passphrase, &parameters);
                decrypted(decrypt_cbc::<Des>(&derived[..8], &derived[8..16], &data), asn1::pkcs8)
            })
        }
        other => return Err(other_cipher(&format!("PKCS#8's {}", other.oid()))),
    }))
}

/// Returns the two parts of an EncryptedPrivateKeyInfo: the encryption scheme, and the encrypted data.
fn parts(body: &[u8]) -> Result<(EncryptionScheme, &[u8]), SecretsError> {
    let whole = AnyRef::from_der(body);
    let parts = whole.and_then(|whole| {
        whole.sequence(|r| der::Result::Ok((AlgorithmIdentifierRef::decode(r)?, <&OctetStringRef>::decode(r)?)))
    });
    let (algorithm, data) = parts.map_err(damaged)?;
    let scheme = EncryptionScheme::try_from(algorithm).map_err(|e| match algorithm.oid {
        // PBES2 names its algorithms in its parameters, and the error names the one that is not supported.
        pbes2::PBES2_OID => other_cipher(&format!("PKCS#8's PBES2 ({e})")),
        other => other_cipher(&format!("PKCS#8's {other}")),
    });
    Ok((scheme?, data.as_bytes()))
}

fn check_work(kdf: &pbes2::Kdf) -> Result<(), SecretsError> {
    match kdf {
        pbes2::Kdf::Pbkdf2(p) if p.iteration_count > MAX_ROUNDS => {
            Err(too_much_work(&format!("{} rounds of PBKDF2", p.iteration_count), &MAX_ROUNDS.to_string()))
        }
        // N is checked here, because pkcs5 0.8.1 panics where it is 0.
        pbes2::Kdf::Scrypt(p) if !p.cost_parameter.is_power_of_two() => Err(damaged("scrypt's N is no power of two")),
        pbes2::Kdf::Scrypt(p) => {
            let factors = [128, p.cost_parameter, p.block_size.into(), p.parallelization.into()];
            match factors.iter().fold(1u64, |all, factor| all.saturating_mul(*factor)) {
                filled if filled > MAX_SCRYPT => {
                    let [filled, most] = [filled, MAX_SCRYPT].map(|bytes| format!("{} MiB", bytes >> 20));
                    Err(too_much_work(&format!("{filled} of scrypt"), &most))
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Derives by PBKDF1 (RFC 8018, 5.1) a key of 8 bytes and an initialization vector of 8 bytes, and maybe more bytes. They
/// are for DES, which was the default of `openssl pkcs8 -topk8` until 1.1.0 (2016). There are at most 65,535 rounds.
fn pbkdf1<D: Digest>(passphrase: &str, parameters: &pbes1::Parameters) -> Zeroizing<Vec<u8>> {
    let first = D::new().chain_update(passphrase).chain_update(parameters.salt).finalize();
    let mut derived = Zeroizing::new(first.to_vec());
    for _ in 1..parameters.iteration_count {
        *derived = D::digest(&*derived).to_vec();
    }
    derived
}
