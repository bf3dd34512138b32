use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use zeroize::Zeroizing;

use super::{HttpUrl, OperatorList, SigningKey};
use crate::model::{ApiToken, BasicLogin};

/// Type of a secret setting.
pub(super) trait Secret {
    /// Returns the parts that must not be shown.
    fn masks(&self) -> Vec<Zeroizing<String>>;
}

impl<T: Secret> Secret for Option<T> {
    fn masks(&self) -> Vec<Zeroizing<String>> {
        self.iter().flat_map(Secret::masks).collect()
    }
}

impl Secret for Zeroizing<String> {
    /// Returns the text. For an address (SLACK_URL), also returns the path, because errors may show it alone, and the last
    /// part of the path, because that part is the actual secret.
    fn masks(&self) -> Vec<Zeroizing<String>> {
        let path = self.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
        let last = path.and_then(|path| path.rsplit('/').next());
        [Some(self.as_str()), path, last].into_iter().flatten().map(|text| text.to_owned().into()).collect()
    }
}

impl Secret for OperatorList {
    fn masks(&self) -> Vec<Zeroizing<String>> {
        let text = |url: &HttpUrl| Zeroizing::new(url.0.to_string());
        let tokens = self.chats.iter().flat_map(|url| url.0.query_pairs());
        let tokens = tokens.map(|(_, token)| Zeroizing::new(token.into_owned()));
        self.chats.iter().flat_map(|url| text(url).masks()).chain(tokens).collect()
    }
}

impl Secret for SigningKey {
    fn masks(&self) -> Vec<Zeroizing<String>> {
        vec![BASE64_STANDARD_NO_PAD.encode(&*self.0).into()]
    }
}

impl Secret for BasicLogin {
    fn masks(&self) -> Vec<Zeroizing<String>> {
        vec![self.password.clone()]
    }
}

impl Secret for Vec<ApiToken> {
    fn masks(&self) -> Vec<Zeroizing<String>> {
        self.iter().map(|token| token.token.clone()).collect()
    }
}
