//! Asks a registry whether we may push to it, which `image-factory doctor` wants to know before a build does. The pushes
//! themselves are the engine's.

mod challenge;
mod client;
mod error;

use std::fmt;
use std::path::Path;

use crate::model::ImageRef;
use crate::secrets::RegistryAuth;
use client::Client;
pub use error::RegistryError;

/// Where the engine on this machine has the authorities of registries, `HOST:PORT/*.crt` below it.
const CERTS_DIR: &str = "/etc/docker/certs.d";

/// What a registry was seen to grant; its text is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// As in image names.
    pub registry: String,
    pub repository: String,
    /// None: nobody was asked for a login.
    pub login: Option<Login>,
}

/// A login that a registry took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Empty for an identity token, which names none.
    pub user: String,
    /// The host that gave a token for it; None: the registry took the password itself.
    pub token_from: Option<String>,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} takes pushes to {}", self.registry, self.repository)?;
        let Some(login) = &self.login else { return f.write_str(" from anyone: it asks for no login") };
        write!(f, " from {}", error::whom(&login.user))?;
        match &login.token_from {
            Some(host) => write!(f, ", by a token of {host}"),
            None => Ok(()),
        }
    }
}

/// Proves that `auth` may push to `image`'s repository: begins an upload there, and takes it back. Nothing is left
/// behind; a registry whose tokens do not let us take it back drops it by itself (Docker's after a week).
///
/// # Errors
/// What stands in the way, told apart; see [`RegistryError`].
pub async fn check_push(image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<Access, RegistryError> {
    check_push_trusting(image, auth, Path::new(CERTS_DIR)).await
}

/// As [`check_push`], with the authorities of registries in another folder than Docker's.
///
/// # Errors
/// See [`RegistryError`].
pub async fn check_push_trusting(
    image: &ImageRef,
    auth: Option<&RegistryAuth>,
    certs_dir: &Path,
) -> Result<Access, RegistryError> {
    let (registry, repository) = (image.registry().to_owned(), image.repository().into_owned());
    let login = Client::find(&registry, auth, certs_dir).await?.try_upload(&repository).await?;
    Ok(Access { registry, repository, login })
}
