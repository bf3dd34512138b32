//! Asks a registry whether we may push to it, so that `image-factory doctor` knows it before a build does, and what a tag
//! names, and its token server for tokens. The engine makes the pushes themselves.

mod challenge;
mod client;
mod error;
mod manifest;

use std::fmt;
use std::path::Path;

use reqwest::Url;
use zeroize::Zeroizing;

use crate::model::ImageRef;
use crate::secrets::RegistryAuth;
use challenge::Realm;
use client::RegistryClient;
pub use error::{RegistryError, advice};
pub use manifest::Manifest;

/// The folder in which Docker has the authorities of registries, `HOST:PORT/*.crt` below it.
const CERTS_DIR: &str = "/etc/docker/certs.d";

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

/// Gets a token from a registry's token server; without `auth` for what is public. The realm must belong to the registry,
/// because an engine or a registry that lies could name any.
///
/// # Errors
/// The realm belongs to another domain, or the token server refuses or does not answer.
pub async fn fetch_token(asked: &TokenQuestion<'_>, auth: Option<&RegistryAuth>) -> Result<Token, RegistryError> {
    let TokenQuestion { registry, realm, service, scopes } = *asked;
    let client = RegistryClient::new(registry, auth, Path::new(CERTS_DIR)).await?;
    let not_registry = |cause| RegistryError::NotRegistry { registry: registry.into(), cause };
    let url = Url::parse(realm).map_err(|e| not_registry(format!("its token realm is no address: {e}")))?;
    let service = (!service.is_empty()).then(|| service.to_owned());
    client.token(&Realm { url, service }, scopes).await
}

/// Tries a login. Returns it as the registry accepts it, or `None` if the registry asks for none.
///
/// # Errors
/// The registry refuses the login or cannot be asked; see [`RegistryError`].
pub async fn check_login(registry: &str, auth: &RegistryAuth) -> Result<Option<Login>, RegistryError> {
    RegistryClient::find(registry, Some(auth), Path::new(CERTS_DIR)).await?.try_login().await
}

/// Proves that `auth` may push to the image's repository. It begins an upload there and cancels it, so nothing is left
/// behind. A registry whose tokens do not let us cancel an upload drops it by itself (Docker's after a week).
///
/// # Errors
/// The obstacle to a push; see [`RegistryError`].
pub async fn check_push(image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<Access, RegistryError> {
    check_push_trusting(image, auth, Path::new(CERTS_DIR)).await
}

/// Does the same as [`check_push`] with the authorities of registries in another folder than Docker's.
///
/// # Errors
/// See [`RegistryError`].
pub async fn check_push_trusting(
    image: &ImageRef,
    auth: Option<&RegistryAuth>,
    certs_dir: &Path,
) -> Result<Access, RegistryError> {
    let (registry, repository) = (image.registry().to_owned(), image.repository().into_owned());
    let login = RegistryClient::find(&registry, auth, certs_dir).await?.try_upload(&repository).await?;
    Ok(Access { registry, repository, login })
}

/// Returns the manifest that the image's tag names in its registry, or `None` if there is no such tag.
///
/// # Errors
/// See [`RegistryError`].
pub async fn manifest(image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<Option<Manifest>, RegistryError> {
    let client = RegistryClient::find(image.registry(), auth, Path::new(CERTS_DIR)).await?;
    client.manifest(&image.repository(), image.tag()).await
}
