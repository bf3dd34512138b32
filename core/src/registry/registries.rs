use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::OnceCell;

use super::challenge::Realm;
use super::client::RegistryClient;
use super::trust::RegistryTrust;
use super::{Access, Login, Manifest, RegistryError, Token, TokenQuestion};
use crate::model::{AllowedHosts, ImageRef};
use crate::secrets::{LoginKey, RegistryAuth};

/// Time for which a registry's answer about its token server is used.
const KEPT: Duration = Duration::from_secs(600);
/// Time after which a registry that gave no answer is asked again.
const KEPT_UNKNOWN: Duration = Duration::from_secs(60);
/// Longest time that a registry has for its answer, because a push waits for it. An engine elsewhere may reach a registry
/// that is silent here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// All registries, and what they answered.
#[derive(Default)]
pub struct Registries {
    trust: RegistryTrust,
    /// The answers of registries, by host.
    asked: Mutex<HashMap<String, Asked>>,
}

struct Asked {
    since: Instant,
    server: Arc<OnceCell<TokenServer>>,
}

impl Asked {
    fn is_old(&self) -> bool {
        let kept = if self.server.get() == Some(&TokenServer::Unknown) { KEPT_UNKNOWN } else { KEPT };
        self.since.elapsed() > kept
    }
}

/// The server that a registry sends its logins to.
#[derive(Clone, PartialEq, Eq)]
enum TokenServer {
    /// The registry's own, an allowed one, or none.
    Trusted,
    /// Another one, on this host.
    Foreign(String),
    /// The registry did not answer.
    Unknown,
}

impl Registries {
    /// Returns registries of which these hosts may see the logins (TOKEN_SERVERS_ALLOWED).
    pub fn new(token_servers: AllowedHosts) -> Self {
        Self { trust: RegistryTrust { token_servers, ..RegistryTrust::default() }, ..Self::default() }
    }

    /// Takes the authorities of registries from another folder than Docker's.
    pub fn with_certs_dir(mut self, dir: &Path) -> Self {
        self.trust.certs_dir = dir.into();
        self
    }

    /// Returns the host that a registry would have its logins sent to, if that is not allowed. The registry is asked at most
    /// once in ten minutes. One that is not reached from here is a warning, because the engine may reach it.
    pub async fn foreign_token_server(&self, registry: &str) -> Option<String> {
        let host = LoginKey::of_host(registry)?.host;
        let server = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, asked| !asked.is_old());
            let new = || Asked { since: Instant::now(), server: Arc::default() };
            asked.entry(host.clone()).or_insert_with(new).server.clone()
        };
        match server.get_or_init(|| self.token_server(&host)).await {
            TokenServer::Foreign(host) => Some(host.clone()),
            TokenServer::Trusted | TokenServer::Unknown => None,
        }
    }

    async fn token_server(&self, registry: &str) -> TokenServer {
        let found = tokio::time::timeout(ANSWER_TIMEOUT, RegistryClient::find(registry, None, &self.trust)).await;
        let cause = match found {
            Ok(Ok(client)) => {
                return client
                    .foreign_realm()
                    .map_or(TokenServer::Trusted, |realm| TokenServer::Foreign(realm.host().to_owned()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("{registry} did not answer within {} s", ANSWER_TIMEOUT.as_secs()),
        };
        tracing::warn!("the engine gets the login of {registry}, whose token server is unknown here: {cause}");
        TokenServer::Unknown
    }

    /// Gets a token from a registry's token server; without `auth` for what is public. The realm must belong to the
    /// registry or be allowed, because an engine or a registry that lies could name any.
    ///
    /// # Errors
    /// The realm belongs to another domain, or the token server refuses or does not answer.
    pub async fn fetch_token(
        &self,
        asked: &TokenQuestion<'_>,
        auth: Option<&RegistryAuth>,
    ) -> Result<Token, RegistryError> {
        let TokenQuestion { registry, realm, service, scopes } = *asked;
        let client = RegistryClient::new(registry, auth, &self.trust).await?;
        let not_registry = |cause| RegistryError::NotRegistry { registry: registry.into(), cause };
        let url = Url::parse(realm).map_err(|e| not_registry(format!("its token realm is no address: {e}")))?;
        let service = (!service.is_empty()).then(|| service.to_owned());
        client.token(&Realm { url, service }, scopes).await
    }

    /// Tries a login. Returns it as the registry accepts it, or `None` if the registry asks for none.
    ///
    /// # Errors
    /// The registry refuses the login or cannot be asked; see [`RegistryError`].
    pub async fn check_login(&self, registry: &str, auth: &RegistryAuth) -> Result<Option<Login>, RegistryError> {
        RegistryClient::find(registry, Some(auth), &self.trust).await?.try_login().await
    }

    /// Proves that `auth` may push to the image's repository. It begins an upload there and cancels it, so nothing is left
    /// behind. A registry whose tokens do not let us cancel an upload drops it by itself (Docker's after a week).
    ///
    /// # Errors
    /// The obstacle to a push; see [`RegistryError`].
    pub async fn check_push(&self, image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<Access, RegistryError> {
        let (registry, repository) = (image.registry().to_owned(), image.repository().into_owned());
        let login = RegistryClient::find(&registry, auth, &self.trust).await?.try_upload(&repository).await?;
        Ok(Access { registry, repository, login })
    }

    /// Returns the manifest that the image's tag names in its registry, or `None` if there is no such tag.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn manifest(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
    ) -> Result<Option<Manifest>, RegistryError> {
        let client = RegistryClient::find(image.registry(), auth, &self.trust).await?;
        client.manifest(&image.repository(), image.tag()).await
    }
}
