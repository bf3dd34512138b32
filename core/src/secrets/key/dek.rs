//! PEM encrypted by its headers (RFC 1421), which ssh-keygen wrote until 2018 and still writes with `-m PEM`, and openssl
//! writes with `-traditional`. The key is one round of MD5 over the passphrase (OpenSSL's EVP_BytesToKey).

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit, KeySizeUser};
use des::{Des, TdesEde3};
use md5::{Digest, Md5};
use ssh_key::PrivateKey;
use zeroize::Zeroizing;

use super::pem::Pem;
use super::{SecretsError, Stored, damaged, decrypted, other_cipher};

type Decrypt = fn(&[u8], &[u8], &[u8]) -> Option<Zeroizing<Vec<u8>>>;

/// Reads a PEM, encrypted or not. `read` reads its plain body.
pub(super) fn read(pem: Pem, read: fn(&[u8]) -> Result<PrivateKey, SecretsError>) -> Result<Stored, SecretsError> {
    if !pem.header("Proc-Type").is_some_and(|value| value.ends_with(",ENCRYPTED")) {
        return read(&pem.body).map(Stored::plain);
    }
    let info = pem.header("DEK-Info").and_then(|info| info.split_once(','));
    let (cipher, iv) = info.ok_or(damaged("it has no DEK-Info"))?;
    let (decrypt, key_size): (Decrypt, usize) = match cipher {
        "AES-128-CBC" => (decrypt_cbc::<Aes128>, Aes128::key_size()),
        "AES-192-CBC" => (decrypt_cbc::<Aes192>, Aes192::key_size()),
        "AES-256-CBC" => (decrypt_cbc::<Aes256>, Aes256::key_size()),
        "DES-EDE3-CBC" => (decrypt_cbc::<TdesEde3>, TdesEde3::key_size()),
        "DES-CBC" => (decrypt_cbc::<Des>, Des::key_size()),
        other => return Err(other_cipher(other)),
    };
    let iv = hex::decode(iv.trim()).ok().filter(|iv| iv.len() >= 8).ok_or(damaged("its DEK-Info is not whole"))?;
    Ok(Stored::Encrypted(Box::new(move |passphrase| {
        let key = bytes_to_key(passphrase.as_bytes(), &iv[..8], key_size);
        decrypted(decrypt(&key, &iv, &pem.body), read)
    })))
}

/// Derives a key by EVP_BytesToKey with MD5 and one round: the blocks D(i) = MD5(D(i - 1) ‖ passphrase ‖ salt) in a row.
fn bytes_to_key(passphrase: &[u8], salt: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    while key.len() < size {
        let last = key.len().saturating_sub(16);
        let block = Md5::new().chain_update(&key[last..]).chain_update(passphrase).chain_update(salt).finalize();
        key.extend_from_slice(&block);
    }
    key.truncate(size);
    key
}

/// Decrypts CBC with the padding of RFC 8018, 6.1.1. Returns `None` if the padding is not valid, or a size does not fit.
pub(super) fn decrypt_cbc<C>(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: BlockCipherDecrypt + KeyInit,
{
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    let mut plain = Zeroizing::new(data.to_vec());
    let size = cipher.decrypt_padded::<Pkcs7>(&mut plain).ok()?.len();
    plain.truncate(size);
    Some(plain)
}
