//! The logins for base images, which BuildKit asks for through the session (`moby.filesync.v1.Auth`).
//!
//! BuildKit asks by host (`Credentials`), unless the session claims the tokens of the host by a public key
//! (`GetTokenAuthority`): then it asks for each token with its scope (`FetchToken`), which names the repository. It keeps
//! tokens between builds, and a later session gets them if it proves that it has the same key (`VerifyTokenAuthority`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use futures_util::future::try_join_all;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::grpc::GrpcStatus;
use crate::engine::advice;
use crate::engine::api::errors::EngineError;
use crate::engine::api::insecure::LoginGuard;
use crate::engine::api::kind::ErrorKind;
use crate::model::ImageRef;
use crate::registry::{RegistryError, TokenQuestion};
use crate::secrets::{HostLogin, RegistryAuth, RegistryLogins};

/// The logins that the engine gets for the base images of one build.
pub(in crate::engine) struct BaseLogins {
    logins: RegistryLogins,
    bases: Vec<ImageRef>,
    guard: LoginGuard,
    /// Hosts of which one login stood for several.
    unclear: Mutex<BTreeSet<String>>,
    /// The first reason for which a login was held back.
    held_back: OnceLock<EngineError>,
}

impl BaseLogins {
    pub(in crate::engine) fn new(logins: RegistryLogins, bases: Vec<ImageRef>, guard: LoginGuard) -> Self {
        Self { logins, bases, guard, unclear: Mutex::default(), held_back: OnceLock::new() }
    }

    /// Returns the logins by host, for a builder that cannot ask.
    ///
    /// # Errors
    /// The engine does not say how it speaks to registries.
    pub(in crate::engine) async fn by_host(&self) -> Result<BTreeMap<String, HostLogin>, EngineError> {
        let logins = self.logins.by_host(&self.bases).into_iter().map(async |(host, mut login)| {
            if let Some(auth) = &login.auth
                && self.holds_back(&host, auth).await?
            {
                login.auth = None;
            }
            self.note(&host, &login);
            Ok::<_, EngineError>((host, login))
        });
        Ok(try_join_all(logins).await?.into_iter().collect())
    }

    /// Returns true if this login for a registry does not go to the engine.
    async fn holds_back(&self, host: &str, auth: &RegistryAuth) -> Result<bool, EngineError> {
        let Some(refusal) = self.guard.refusal(host, auth).await? else { return Ok(false) };
        // The classic builder gets the logins of registries that this build asks nothing.
        if self.bases.is_empty() || self.bases.iter().any(|base| base.registry() == host) {
            self.held_back.get_or_init(|| refusal);
        }
        Ok(true)
    }

    /// Returns the true reason for an error if the engine lacked a login that was held back.
    pub(in crate::engine) fn explain(&self, error: EngineError) -> EngineError {
        match (error.kind, self.held_back.get()) {
            (ErrorKind::Auth | ErrorKind::Login, Some(refusal)) => EngineError {
                message: format!("{}; {}", error.message, refusal.message),
                kind: ErrorKind::Exposed,
                ..error
            },
            _ => error,
        }
    }

    /// Returns one line for each host of which one login stood for several.
    pub(in crate::engine) fn notes(&self) -> Vec<String> {
        self.unclear.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn note(&self, host: &str, login: &HostLogin) {
        if !login.several.is_empty() {
            let line = advice::SEVERAL_LOGINS.fill(&[&host, &login.several.join(", ")]);
            self.unclear.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
        }
    }

    /// Returns the credentials of a registry. They are empty if there are none, as in the answer of Docker's client.
    pub(super) async fn credentials(&self, asked: &CredentialsRequest) -> Result<CredentialsResponse, GrpcStatus> {
        let login = self.logins.of_host(&asked.host, &self.bases);
        self.note(&asked.host, &login);
        Ok(match login.auth {
            None => CredentialsResponse::default(),
            Some(auth) if self.holds_back(&asked.host, &auth).await.map_err(GrpcStatus::unknown)? => {
                CredentialsResponse::default()
            }
            Some(auth) => match auth.identity_token {
                Some(token) => CredentialsResponse { username: String::new(), secret: token.to_string() },
                None => CredentialsResponse { username: auth.username, secret: auth.password.to_string() },
            },
        })
    }

    /// Claims the tokens of a registry whose logins depend on the repository. The engine fetches those of other registries
    /// itself, because it may reach a token server that the daemon does not.
    pub(super) fn authority(&self, asked: &GetTokenAuthorityRequest) -> Result<GetTokenAuthorityResponse, GrpcStatus> {
        let key = self.key(&asked.host, &asked.salt)?;
        Ok(GetTokenAuthorityResponse { public_key: key.public_key().as_ref().to_vec() })
    }

    /// Signs as NaCl's `crypto_sign` does: the signature, and the signed text behind it.
    pub(super) fn verify(
        &self,
        asked: &VerifyTokenAuthorityRequest,
    ) -> Result<VerifyTokenAuthorityResponse, GrpcStatus> {
        let key = self.key(&asked.host, &asked.salt)?;
        Ok(VerifyTokenAuthorityResponse { signed: [key.sign(&asked.payload).as_ref(), &asked.payload].concat() })
    }

    fn key(&self, host: &str, salt: &[u8]) -> Result<Ed25519KeyPair, GrpcStatus> {
        let engines = || GrpcStatus::unavailable("the engine fetches this registry's tokens");
        let seed = self.logins.token_seed(host, salt).ok_or_else(engines)?;
        Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(GrpcStatus::unknown)
    }

    /// Gets a token with the login for the repository of the scope. A request has one repository, because BuildKit keeps
    /// its logins by image name.
    pub(super) async fn token(&self, asked: FetchTokenRequest) -> Result<FetchTokenResponse, GrpcStatus> {
        let FetchTokenRequest { host, realm, service, scopes, .. } = asked;
        let repository = scopes.iter().find_map(|scope| repository_of(scope)).unwrap_or_default();
        let auth = self.logins.of_repository(&host, repository);
        let auth = match auth {
            Some(auth) if self.holds_back(&host, &auth).await.map_err(GrpcStatus::unknown)? => None,
            auth => auth,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let answer = |token: String, seconds: u32| FetchTokenResponse {
            token,
            expires_in: i64::from(seconds),
            issued_at: i64::try_from(now).unwrap_or_default(),
        };
        if let Some(token) = auth.as_ref().and_then(|auth| auth.registry_token.as_ref()) {
            return Ok(answer(token.to_string(), 60));
        }
        let question = TokenQuestion { registry: &host, realm: &realm, service: &service, scopes: &scopes };
        match self.guard.registries().fetch_token(&question, auth.as_ref()).await {
            Ok(token) => Ok(answer(token.text.to_string(), token.expires_in)),
            Err(e @ (RegistryError::Unreachable { .. } | RegistryError::Unavailable { .. })) => {
                // BuildKit's words for a registry that it cannot ask itself.
                Err(GrpcStatus::unknown(format!("failed to do request: {e}")))
            }
            Err(e) => Err(GrpcStatus::unauthenticated(e)),
        }
    }
}

/// Returns the repository of a scope such as `repository:acme/hello:pull`.
fn repository_of(scope: &str) -> Option<&str> {
    let (name, _actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ring::signature::{ED25519, UnparsedPublicKey};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::engine::api::version::EngineKind;
    use crate::secrets::{self, Place, SecretsConfig};

    async fn logins(auths: &str) -> BaseLogins {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("image-factory")).unwrap();
        std::fs::write(dir.path().join("image-factory/dockercfg"), auths).unwrap();
        let config = SecretsConfig {
            place: Place::Folder(dir.path().into()),
            passphrase: None,
            authorized_keys_file: None,
            repo_case: crate::model::RepoCase::default(),
        };
        let stop = CancellationToken::new();
        let mut secrets = secrets::start(config, stop.clone());
        let loaded = secrets.wait_for(|s| s.loaded).await.unwrap().clone();
        stop.cancel();
        let kind = EngineKind { api: "1.41".parse().unwrap(), is_podman: false };
        BaseLogins::new(loaded.into(), vec![], LoginGuard::new("unix:///none".parse().unwrap(), kind, Arc::default()))
    }

    /// The engine gives a token to a later session that signs with the key of the session which fetched it.
    #[tokio::test]
    async fn a_session_proves_the_logins_that_it_has() {
        let auths = |password: &str| format!(r#"{{"q.io/a":{{"username":"u","password":"{password}"}}}}"#);
        let claim = |logins: &BaseLogins, salt: &[u8]| {
            let asked = GetTokenAuthorityRequest { host: "q.io".into(), salt: salt.to_vec() };
            logins.authority(&asked).unwrap().public_key
        };
        let signed = |logins: &BaseLogins, salt: &[u8]| {
            let (host, payload) = ("q.io".into(), b"payload".to_vec());
            logins.verify(&VerifyTokenAuthorityRequest { host, payload, salt: salt.to_vec() }).unwrap().signed
        };
        let (former, same, other) = (logins(&auths("p")).await, logins(&auths("p")).await, logins(&auths("q")).await);
        let key = claim(&former, b"salt");
        let proves = |signed: &[u8]| {
            let (signature, payload) = signed.split_at(64);
            payload == b"payload" && UnparsedPublicKey::new(&ED25519, &key).verify(payload, signature).is_ok()
        };
        assert!(proves(&signed(&same, b"salt")));
        assert!(!proves(&signed(&other, b"salt")) && !proves(&signed(&same, b"other salt")));
        // The engine fetches the tokens of a registry with one login itself.
        let one = logins(r#"{"q.io":{"username":"u","password":"p"}}"#).await;
        assert!(one.authority(&GetTokenAuthorityRequest { host: "q.io".into(), salt: vec![] }).is_err());
    }
}
