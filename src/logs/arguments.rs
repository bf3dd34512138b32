//! Finds secrets in what a build is to be given.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::redact::secret_finder;

/// Returns the names of the build arguments whose values contain one of the secrets.
pub fn arguments_with_secrets(arguments: &BTreeMap<String, String>, secrets: &[Zeroizing<String>]) -> Vec<String> {
    let has_secret = secret_finder(secrets);
    arguments.iter().filter(|(_, value)| has_secret(value)).map(|(name, _)| name.clone()).collect()
}

/// Returns true if a text contains one of the secrets.
pub fn has_secret(text: &str, secrets: &[Zeroizing<String>]) -> bool {
    secret_finder(secrets)(text)
}

/// The message that refuses a Dockerfile with a secret.
pub const SECRET_DOCKERFILE: &str =
    "The Dockerfile has a secret of this daemon in it, and everyone who has the image could read it there";

/// Returns the message that refuses a build argument with a secret.
pub fn secret_argument(name: &str) -> String {
    format!("buildArgs/{name} has a secret of this daemon in it, and everyone who has the image could read it there")
}
