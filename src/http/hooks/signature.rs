use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// True if GitHub's signature in the headers proves that whoever knows `secret` sent `body`. `X-Hub-Signature-256` decides
/// if it is there; `X-Hub-Signature` (SHA-1, from hooks of 2014) counts only without it.
pub fn is_valid(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
    let hex_of = |value: &axum::http::HeaderValue, prefix| {
        let value = value.to_str().ok()?;
        hex::decode(value.strip_prefix(prefix)?).ok()
    };
    if let Some(value) = headers.get("x-hub-signature-256") {
        hex_of(value, "sha256=").is_some_and(|tag| verify::<Hmac<Sha256>>(secret, body, &tag))
    } else if let Some(value) = headers.get("x-hub-signature") {
        hex_of(value, "sha1=").is_some_and(|tag| verify::<Hmac<Sha1>>(secret, body, &tag))
    } else {
        false
    }
}

/// Compares in constant time.
fn verify<M: Mac + KeyInit>(secret: &[u8], body: &[u8], tag: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(body).verify_slice(tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    /// The signature of GitHub's manual for [`BODY`] and [`SECRET`].
    const SHA256: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    /// HMAC-SHA1 of the same body with the same secret.
    const SHA1: &str = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59";
    const BODY: &[u8] = b"Hello, World!";
    const SECRET: &[u8] = b"It's a Secret to Everybody";

    #[test]
    fn sha256_decides_where_it_is_sent_and_sha1_elsewhere() {
        let ok = |pairs: &[(&'static str, &str)]| is_valid(&headers(pairs), BODY, SECRET);
        assert!(ok(&[("x-hub-signature-256", SHA256)]));
        assert!(ok(&[("x-hub-signature", SHA1)]));
        assert!(ok(&[("x-hub-signature-256", SHA256), ("x-hub-signature", "sha1=00")]));
        assert!(!ok(&[("x-hub-signature-256", "sha256=00"), ("x-hub-signature", SHA1)]));
        assert!(!ok(&[("x-hub-signature-256", ""), ("x-hub-signature", SHA1)]));
        assert!(!ok(&[("x-hub-signature", SHA256)]));
        assert!(!ok(&[("x-hub-signature-256", &SHA256[7..])]));
        assert!(!ok(&[("x-hub-signature-256", &SHA256[..69])]));
        assert!(!ok(&[("x-hub-signature-256", "sha256=")]));
        assert!(!ok(&[]));
        assert!(!is_valid(&headers(&[("x-hub-signature-256", SHA256)]), b"Hello, World?", SECRET));
        assert!(!is_valid(&headers(&[("x-hub-signature-256", SHA256)]), BODY, b"another"));
    }

    proptest! {
        #[test]
        fn no_other_header_is_valid(value in "(sha256=|sha1=)?([0-9a-f]{0,70}|[ -~]{0,80})") {
            let other = headers(&[("x-hub-signature-256", &value)]);
            prop_assert_eq!(is_valid(&other, BODY, SECRET), value == SHA256);
            let other = headers(&[("x-hub-signature", &value)]);
            prop_assert_eq!(is_valid(&other, BODY, SECRET), value == SHA1);
        }
    }
}
