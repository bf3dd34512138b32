//! Finds secrets in what a build is to be given.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shortest secret whose presence is told, because each refusal answers a guess.
const MIN: usize = 16;

/// Returns the names of the build arguments whose value is one of the secrets of 16 characters or more.
pub fn arguments_with_secrets(arguments: &BTreeMap<String, String>, secrets: &[Zeroizing<String>]) -> Vec<String> {
    let is_secret = |value: &str| long(secrets).any(|secret| bool::from(secret.as_bytes().ct_eq(value.as_bytes())));
    arguments.iter().filter(|(_, value)| is_secret(value.trim())).map(|(name, _)| name.clone()).collect()
}

/// Returns true if a text contains one of the secrets of 16 characters or more.
pub fn has_secret(text: &str, secrets: &[Zeroizing<String>]) -> bool {
    long(secrets).any(|secret| text.contains(secret))
}

fn long(secrets: &[Zeroizing<String>]) -> impl Iterator<Item = &str> {
    secrets.iter().map(|secret| secret.trim()).filter(|secret| secret.chars().count() >= MIN)
}

/// The message that refuses a Dockerfile with a secret.
pub const SECRET_DOCKERFILE: &str =
    "The Dockerfile has a secret of this daemon in it, and everyone who has the image could read it there";

/// Returns the message that refuses a build argument with a secret.
pub fn secret_argument(name: &str) -> String {
    format!("buildArgs/{name} has a secret of this daemon in it, and everyone who has the image could read it there")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer about a part of a secret would lead to the whole, one character a request.
    #[test]
    fn only_a_whole_secret_of_16_characters_is_told() {
        let secrets =
            ["0123456789abcde", "0123456789abcdef", "a phrase of some words\n"].map(|s| Zeroizing::new(s.into()));
        let found = |text: &str| {
            let arguments = BTreeMap::from([("A".to_owned(), text.to_owned())]);
            (!arguments_with_secrets(&arguments, &secrets).is_empty(), has_secret(text, &secrets))
        };
        assert_eq!(found("0123456789abcdef"), (true, true));
        assert_eq!(found(" a phrase of some words\n"), (true, true));
        assert_eq!(found("ENV A=0123456789abcdef"), (false, true));
        for shorter in ["0123456789abcde", "0123456789abcd", "a phrase of some word", ""] {
            assert_eq!(found(shorter), (false, false), "{shorter}");
        }
    }
}
