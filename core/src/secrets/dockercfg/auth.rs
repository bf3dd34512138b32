use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use zeroize::Zeroizing;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials for one registry, or for a path of it. A registry token is used before an identity token, and that one
/// before a password, as Docker does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User, which may be empty beside a token.
    pub username: String,
    pub password: Zeroizing<String>,
    /// Token for which the registry's token server gives tokens (`identitytoken`).
    pub identity_token: Option<Zeroizing<String>>,
    /// Token that the registry itself takes (`registrytoken`).
    pub registry_token: Option<Zeroizing<String>>,
}

impl RegistryAuth {
    /// Reads one entry. The error completes "the entry for HOST …", and quotes nothing of the entry.
    pub(super) fn read(entry: Value) -> Result<Self, &'static str> {
        let Value::Object(mut entry) = entry else { return Err("is not an object") };
        let mut take = |key| match entry.remove(key) {
            Some(Value::String(text)) if !text.is_empty() => Some(Zeroizing::new(text)),
            _ => None,
        };
        let (auth, username, password) = (take("auth"), take("username"), take("password"));
        let (identity_token, registry_token) = (take("identitytoken"), take("registrytoken"));
        let has_token = identity_token.is_some() || registry_token.is_some();
        let (username, password) = match (auth, username, password) {
            (Some(auth), _, _) => user_and_password(&auth)?,
            (None, Some(username), Some(password)) => (username.to_string(), password),
            (None, username, _) if has_token => {
                (username.map(|u| u.to_string()).unwrap_or_default(), Zeroizing::default())
            }
            _ => return Err("has no `auth`, no `username` with `password`, no `identitytoken` and no `registrytoken`"),
        };
        Ok(Self { username, password, identity_token, registry_token })
    }

    /// Returns the texts that a log must not show: the password, the tokens, and `user:password` in base64 of both
    /// alphabets. The base64 has no padding, because it then also matches text that is padded.
    pub(super) fn masks(&self) -> impl Iterator<Item = Zeroizing<String>> {
        let pair = Zeroizing::new(format!("{}:{}", self.username, self.password.as_str()));
        let base64 = [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|e| Zeroizing::new(e.encode(pair.as_bytes())));
        let secrets = [Some(self.password.clone()), self.identity_token.clone(), self.registry_token.clone()];
        secrets.into_iter().flatten().chain(base64).filter(|mask| !mask.is_empty())
    }
}

fn user_and_password(auth: &str) -> Result<(String, Zeroizing<String>), &'static str> {
    let auth: Zeroizing<Vec<u8>> = Zeroizing::new(auth.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
    let pair = Zeroizing::new(BASE64.decode(&*auth).map_err(|_| "has an `auth` that is not base64")?);
    let pair = std::str::from_utf8(&pair).map_err(|_| "has an `auth` that is not the base64 of a text")?;
    let (username, password) = pair.split_once(':').ok_or("has an `auth` that is not the base64 of user:password")?;
    if username.is_empty() {
        return Err("has an `auth` without a user");
    }
    // Zero bytes are removed, because Docker's own command pads with them and removes them, too.
    Ok((username.into(), Zeroizing::new(password.trim_matches('\0').into())))
}
