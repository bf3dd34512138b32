//! P-256 keys whose private number begins with zero bytes, which is one key in 256. ssh-keygen writes the number without
//! these bytes, and ssh-key 0.7.0-rc.11 takes a number that is shorter than 32 bytes for damaged.

use ssh_key::encoding::Decode;
use ssh_key::private::KeypairData;
use ssh_key::{Cipher, Kdf, PrivateKey};
use zeroize::Zeroizing;

/// Bytes of a P-256 private number.
const SIZE: usize = 32;

/// Reads such a key from the decoded base64 (OpenSSH's PROTOCOL.key). `secret` has the derivation and the passphrase of an
/// encrypted key. Returns `None` for any other key.
pub(super) fn read(body: &[u8], secret: Option<(&Kdf, &str)>) -> Option<PrivateKey> {
    let mut rest = body.strip_prefix(b"openssh-key-v1\0")?;
    let cipher = Cipher::new(std::str::from_utf8(string(&mut rest)?).ok()?).ok()?;
    let (_kdf, _options) = (string(&mut rest)?, string(&mut rest)?);
    rest = rest.get(4..)?; // the count of keys, which is 1
    let _public = string(&mut rest)?;
    let mut private = Zeroizing::new(string(&mut rest)?.to_vec());
    if let Some((kdf, passphrase)) = secret {
        let (key, iv) = kdf.derive_key_and_iv(cipher, passphrase).ok()?;
        cipher.decrypt(&key, &iv, &mut private, rest.try_into().ok()).ok()?;
    }
    PrivateKey::new(pair(&private)?, "").ok()
}

/// Reads the private part: `uint32 check` twice, then the strings algorithm, curve, point and number.
fn pair(private: &[u8]) -> Option<KeypairData> {
    let mut rest = private.get(8..)?;
    let head = rest;
    let algorithm = string(&mut rest)?;
    let (_curve, _point) = (string(&mut rest)?, string(&mut rest)?);
    let head = &head[..head.len() - rest.len()];
    let number = string(&mut rest)?;
    if algorithm != b"ecdsa-sha2-nistp256" || number.len() >= SIZE {
        return None;
    }
    let mut padded = Zeroizing::new(Vec::with_capacity(head.len() + 4 + SIZE));
    padded.extend_from_slice(head);
    padded.extend_from_slice(&(SIZE as u32).to_be_bytes());
    padded.extend_from_slice(&[0; SIZE][number.len()..]);
    padded.extend_from_slice(number);
    KeypairData::decode(&mut padded.as_slice()).ok()
}

/// Takes a length and that number of bytes from the front.
pub(super) fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk()?;
    let (bytes, tail) = tail.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *rest = tail;
    Some(bytes)
}
