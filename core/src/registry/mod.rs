//! Asks a registry whether we may push to it, so that `image-factory doctor` knows it before a build does, and what a tag
//! names, and its token server for tokens. The engine makes the pushes themselves.

mod challenge;
mod client;
mod error;
mod manifest;
mod registries;
mod trust;

use std::fmt;

use zeroize::Zeroizing;

pub use error::{RegistryError, advice};
pub use manifest::Manifest;
pub use registries::Registries;

/// The access that a registry granted. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The registry's name in image names.
    pub registry: String,
    pub repository: String,
    /// The accepted login, if the registry asked for one.
    pub login: Option<Login>,
}

/// A login that a registry accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name, which is empty for an identity token.
    pub user: String,
    /// The host that gave a token for the login, if the registry did not take the password itself.
    pub token_from: Option<String>,
}

impl Login {
    /// Returns the user, or what there is in its place.
    pub fn shown(&self) -> &str {
        error::whom(&self.user)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} takes pushes to {}", self.registry, self.repository)?;
        let Some(login) = &self.login else { return f.write_str(" from anyone: it asks for no login") };
        write!(f, " from {}", login.shown())?;
        match &login.token_from {
            Some(host) => write!(f, ", by a token of {host}"),
            None => Ok(()),
        }
    }
}

/// A question of an engine for a token, after a registry's challenge.
#[derive(Debug, Clone)]
pub struct TokenQuestion<'a> {
    /// Host of the registry, with its port.
    pub registry: &'a str,
    /// Address of the token server that the registry names.
    pub realm: &'a str,
    pub service: &'a str,
    /// Scopes such as `repository:acme/hello:pull`.
    pub scopes: &'a [String],
}

/// A token that a registry takes.
pub struct Token {
    pub text: Zeroizing<String>,
    /// Lifetime in seconds.
    pub expires_in: u32,
}
