//! PEM: the text around a private key (RFC 7468; with headers RFC 1421).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{SecretsError, damaged, messages};
use crate::secrets::authorized::is_key;

/// The block of a text that holds a private key.
pub(super) struct Pem {
    /// Label between the dashes, such as `RSA PRIVATE KEY`.
    pub label: String,
    /// Names and values of the headers, such as `Proc-Type` and `DEK-Info`.
    headers: Vec<(String, String)>,
    /// The decoded base64.
    pub body: Zeroizing<Vec<u8>>,
}

impl Pem {
    /// Finds the one private key in a text, which may have other blocks around it (openssl writes `EC PARAMETERS`).
    ///
    /// # Errors
    /// The text holds no private key, or several. The message names the kind of the text, where it is known.
    pub fn find(text: &[u8]) -> Result<Self, SecretsError> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(SecretsError::new("this is not the text of a private key"));
        };
        // Indentation, empty lines and CRLF are removed, because YAML, web forms and Windows add them to a pasted key.
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        let first = lines.clone().next().unwrap_or_default();
        let key_label = |line| label(line).filter(|label| label.ends_with("PRIVATE KEY"));
        let Some(label) = lines.find_map(key_label) else {
            return Err(not_a_key(first));
        };
        let end = format!("-----END {label}-----");
        let (mut headers, mut base64) = (Vec::new(), Zeroizing::new(String::with_capacity(text.len())));
        loop {
            match lines.next() {
                None => return Err(damaged("its end is missing")),
                Some(line) if line == end => break,
                Some(line) => match line.split_once(':') {
                    Some((name, value)) => headers.push((name.into(), value.trim().into())),
                    None => base64.push_str(line),
                },
            }
        }
        // A second key is refused, because it might be unencrypted and would be stored with the first.
        if lines.any(|line| key_label(line).is_some()) {
            return Err(SecretsError::of(&messages::SEVERAL_KEYS, &[]));
        }
        // The decoder's own message is left out, because it names a character of the key.
        let body = STANDARD.decode(base64.as_bytes()).map_err(|_| damaged("it is not base64"))?;
        Ok(Self { label: label.into(), headers, body: body.into() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn label(line: &str) -> Option<&str> {
    line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// Returns the error for a text without a private key. Its first line shows the kind of the text.
fn not_a_key(first: &str) -> SecretsError {
    let message = match label(first) {
        Some(label) if label.contains("PUBLIC KEY") => messages::PUBLIC_KEY,
        _ if first.starts_with("PuTTY-User-Key-File") => messages::PUTTY_KEY,
        _ if first.contains("-cert-v01@openssh.com ") => messages::CERTIFICATE,
        _ if is_key(first.as_bytes()) => messages::PUBLIC_KEY,
        _ if first.is_empty() => return SecretsError::new("it is empty"),
        _ => messages::NO_KEY,
    };
    SecretsError::of(&message, &[])
}
