use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// Headers with a signature. The first that a webhook has decides, so that the weak SHA-1 of hooks of 2014 counts only
/// where nothing else is sent. Bitbucket has SHA-256 in the last one, and the other forges' own headers have no prefix.
const SIGNATURES: [(&str, &[(&str, Algorithm)]); 5] = [
    ("x-hub-signature-256", &[("sha256=", verify::<Hmac<Sha256>>)]),
    ("x-forgejo-signature", &[("", verify::<Hmac<Sha256>>)]),
    ("x-gitea-signature", &[("", verify::<Hmac<Sha256>>)]),
    ("x-gogs-signature", &[("", verify::<Hmac<Sha256>>)]),
    ("x-hub-signature", &[("sha1=", verify::<Hmac<Sha1>>), ("sha256=", verify::<Hmac<Sha256>>)]),
];

type Algorithm = fn(&[u8], &[u8], &[u8]) -> bool;

/// Returns true if a signature in the headers proves that whoever knows `secret` sent `text`.
pub fn is_valid(headers: &HeaderMap, text: &[u8], secret: &[u8]) -> bool {
    let sent = SIGNATURES.iter().find_map(|(name, forms)| Some((headers.get(*name)?, forms)));
    let Some((value, forms)) = sent else { return false };
    let Ok(value) = value.to_str() else { return false };
    forms.iter().any(|(prefix, verify)| {
        let tag = value.strip_prefix(prefix).and_then(|digits| hex::decode(digits).ok());
        tag.is_some_and(|tag| verify(secret, text, &tag))
    })
}

/// Compares in constant time.
fn verify<M: Mac + KeyInit>(secret: &[u8], text: &[u8], tag: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(secret).is_ok_and(|mac| mac.chain_update(text).verify_slice(tag).is_ok())
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
        // Bitbucket's form.
        assert!(ok(&[("x-hub-signature", SHA256)]));
        assert!(!ok(&[("x-hub-signature-256", &SHA256[7..])]));
        assert!(!ok(&[("x-hub-signature-256", &SHA256[..69])]));
        assert!(!ok(&[("x-hub-signature-256", "sha256=")]));
        assert!(!ok(&[]));
        assert!(!is_valid(&headers(&[("x-hub-signature-256", SHA256)]), b"Hello, World?", SECRET));
        assert!(!is_valid(&headers(&[("x-hub-signature-256", SHA256)]), BODY, b"another"));
    }

    #[test]
    fn a_header_of_a_forges_own_has_bare_digits() {
        for name in ["x-forgejo-signature", "x-gitea-signature", "x-gogs-signature"] {
            let ok = |value: &str| is_valid(&headers(&[(name, value), ("x-hub-signature", SHA1)]), BODY, SECRET);
            assert!(ok(&SHA256[7..]), "{name}");
            for wrong in [SHA256, &SHA1[5..], &SHA256[7..69], ""] {
                assert!(!ok(wrong), "{name}: {wrong}");
            }
        }
        let both = headers(&[("x-hub-signature-256", "sha256="), ("x-gitea-signature", &SHA256[7..])]);
        assert!(!is_valid(&both, BODY, SECRET));
    }

    proptest! {
        #[test]
        fn no_other_header_is_valid(value in "(sha256=|sha1=)?([0-9a-f]{0,70}|[ -~]{0,80})") {
            let other = headers(&[("x-hub-signature-256", &value)]);
            prop_assert_eq!(is_valid(&other, BODY, SECRET), value == SHA256);
            let other = headers(&[("x-hub-signature", &value)]);
            prop_assert_eq!(is_valid(&other, BODY, SECRET), value == SHA1 || value == SHA256);
            let other = headers(&[("x-gitea-signature", &value)]);
            prop_assert_eq!(is_valid(&other, BODY, SECRET), value == SHA256[7..]);
        }
    }
}
