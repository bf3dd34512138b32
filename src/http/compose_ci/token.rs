use std::borrow::Cow;

use axum::http::Uri;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// SHA-256 of CI_TOKEN, because comparing digests reveals neither the content nor the length of the token.
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Returns `None` for an empty token, which would admit everyone.
    pub fn new(token: &str) -> Option<Self> {
        (!token.is_empty()).then(|| Self(Sha256::digest(token).into()))
    }

    /// Returns true if the query has one parameter `token`, and it is this one. Two of them may be an attempt to show one to
    /// a proxy and another one to the daemon.
    pub fn admits(&self, uri: &Uri) -> bool {
        let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let sent: Vec<Cow<str>> = query.filter(|(name, _)| name == "token").map(|(_, value)| value).collect();
        let [sent] = &sent[..] else { return false };
        let sent: [u8; 32] = Sha256::digest(&**sent).into();
        sent.ct_eq(&self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_token_that_is_the_right_one_admits() {
        let digest = TokenDigest::new("s3cret token").unwrap();
        let admits = |uri: &str| digest.admits(&uri.parse().unwrap());
        assert!(admits("/?token=s3cret+token") && admits("/any/path?a=1&token=s3cret%20token&token2=x"));
        for wrong in [
            "/",
            "/?token",
            "/?token=",
            "/?token=s3cret",
            "/?token=s3cret+token2",
            "/?Token=s3cret+token",
            "/?token=s3cret+token&token=s3cret+token",
            "/?token=s3cret+token&token=",
            "/?token=x&token=s3cret+token",
        ] {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(TokenDigest::new("").is_none());
    }

    proptest! {
        #[test]
        fn no_other_query_admits(query in "[a-z0-9=&%+]{0,40}") {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            prop_assert!(!TokenDigest::new("another token").unwrap().admits(&uri));
        }
    }
}
