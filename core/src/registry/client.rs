use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::{Challenge, Realm};
use super::manifest::Manifest;
use super::trust::RegistryTrust;
use super::{Login, RegistryError, Token};
use crate::outbound::{self, Route, is_loopback, read_limited};
use crate::secrets::RegistryAuth;

/// The limit for one request, whose answer is small.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest body that is read, in bytes. A registry that sends more cannot fill the memory, because the rest stays unread.
const MAX_BODY: usize = 64 << 10;
/// Least lifetime of a token, in seconds, and that of a token whose server states none: distribution's "Token
/// Authentication Specification".
const TOKEN_LIFETIME: u32 = 60;
/// Largest manifest that registries take, in bytes (OCI distribution specification, "Pushing Manifests").
const MAX_MANIFEST: usize = 4 << 20;
/// Types of the manifests that an engine pushes. A registry answers 404 for a type that the request does not accept.
const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";
/// Docker Hub's name in image names, and the host that has its API.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A client of one registry. It follows no redirect, because a redirect could take credentials elsewhere.
pub(super) struct RegistryClient<'a> {
    registry: &'a str,
    auth: Option<&'a RegistryAuth>,
    trust: &'a RegistryTrust,
    http: reqwest::Client,
    /// `https://host:port/v2/`.
    base: Url,
    /// The challenges at `base`, if the registry asks for a login there, the one that is answered first.
    challenges: Vec<Challenge>,
}

/// The authorization that the requests of one login carry.
struct Authorized {
    header: HeaderValue,
    login: Login,
    /// The realm that gave the token in the header.
    realm: Option<Realm>,
}

impl<'a> RegistryClient<'a> {
    /// Makes a client that has not asked the registry anything yet.
    pub async fn new(
        registry: &'a str,
        auth: Option<&'a RegistryAuth>,
        trust: &'a RegistryTrust,
    ) -> Result<Self, RegistryError> {
        let base = base_url(registry, "https")?;
        let http = http_client(registry, &base, &trust.certs_dir).await?;
        Ok(Self { registry, auth, trust, http, base, challenges: vec![] })
    }

    /// Finds the registry by https, or on loopback by http, as the engine does.
    pub async fn find(
        registry: &'a str,
        auth: Option<&'a RegistryAuth>,
        trust: &'a RegistryTrust,
    ) -> Result<Self, RegistryError> {
        let mut client = Self::new(registry, auth, trust).await?;
        if is_loopback(&client.base) {
            client.base = base_url(registry, "http")?;
        }
        let mut answer = client.send(client.http.get(client.base.clone())).await?;
        // A server that expects TLS answers 400 to plain HTTP.
        if client.base.scheme() == "http" && answer.status() == StatusCode::BAD_REQUEST {
            client.base = base_url(registry, "https")?;
            answer = client.send(client.http.get(client.base.clone())).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(client),
            StatusCode::UNAUTHORIZED => match Challenge::read(answer.headers()) {
                none if none.is_empty() => {
                    Err(client.not_registry("it asks for a login that is neither basic nor bearer".into()))
                }
                challenges => Ok(Self { challenges, ..client }),
            },
            status if is_unavailable(status) => Err(client.refused(&client.base, status)),
            status => Err(client.not_registry(format!("{} answers {status}", client.base))),
        }
    }

    /// Returns the first token server that may not see the registry's logins. All are looked at, because an engine may ask
    /// each of them.
    pub fn foreign_realm(&self) -> Option<&Realm> {
        let realms = self.challenges.iter().filter_map(Challenge::realm);
        realms.into_iter().find(|realm| !self.may_have_credentials(realm))
    }

    fn may_have_credentials(&self, realm: &Realm) -> bool {
        realm.may_see_credentials_of(&self.base, &self.trust.token_servers)
    }

    /// Returns the login that the registry accepts, or `None` if it asks for none.
    pub async fn try_login(&self) -> Result<Option<Login>, RegistryError> {
        let Some(challenge) = self.challenges.first() else { return Ok(None) };
        let authorized = self.authorize(challenge, &[]).await?;
        // A token server has judged the login already, but nobody has judged a token that the dockercfg brings.
        if authorized.realm.is_none() {
            self.judge(&authorized).await?;
        }
        Ok(Some(authorized.login))
    }

    /// Begins an upload and cancels it. Returns the login that this took.
    pub async fn try_upload(&self, repository: &str) -> Result<Option<Login>, RegistryError> {
        let url = self.url(&format!("{repository}/blobs/uploads/"))?;
        let (mut answer, authorized) = self.ask(Method::POST, &url, repository).await?;
        let registry = self.registry.to_owned();
        let repository = repository.to_owned();
        match answer.status() {
            StatusCode::ACCEPTED => {
                self.cancel(answer.headers(), authorized.as_ref(), &repository).await;
                Ok(authorized.map(|authorized| authorized.login))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let user = authorized.map_or_else(|| "anyone".into(), |authorized| authorized.login.user);
                Err(RegistryError::NoPush { registry, repository, user })
            }
            StatusCode::NOT_FOUND if says_name_unknown(&mut answer).await => {
                Err(RegistryError::NoRepository { registry, repository })
            }
            StatusCode::NOT_FOUND => Err(self.not_registry(format!("{url} answers 404"))),
            status if status.is_success() => Err(self.not_registry(format!("{url} answers {status}"))),
            status => Err(self.refused(&url, status)),
        }
    }

    /// Returns the manifest that a tag names, or `None` if there is no such tag.
    pub async fn manifest(&self, repository: &str, tag: &str) -> Result<Option<Manifest>, RegistryError> {
        let url = self.url(&format!("{repository}/manifests/{tag}"))?;
        let (mut answer, _) = self.ask(Method::GET, &url, repository).await?;
        match answer.status() {
            StatusCode::OK => {
                let body = read_limited(&mut answer, MAX_MANIFEST).await;
                let body = body.map_err(|_| self.not_registry(format!("{url} answers with no manifest")))?;
                Ok(Some(Manifest::read(&body)))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.refused(&url, status)),
        }
    }

    /// Sends a request about a repository, with the login that the registry asks for. Some registries let anyone read their
    /// front page, and ask for a login only then.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        repository: &str,
    ) -> Result<(Response, Option<Authorized>), RegistryError> {
        let scopes = [scope(repository, "pull,push")];
        let mut authorized = match self.challenges.first() {
            Some(challenge) => Some(self.authorize(challenge, &scopes).await?),
            None => None,
        };
        let mut answer = self.request(method.clone(), url.clone(), authorized.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && authorized.is_none()
            && let Some(challenge) = Challenge::read(answer.headers()).first()
        {
            authorized = Some(self.authorize(challenge, &scopes).await?);
            answer = self.request(method, url.clone(), authorized.as_ref()).await?;
        }
        Ok((answer, authorized))
    }

    /// Cancels an upload, as far as the registry lets us.
    async fn cancel(&self, answer: &HeaderMap, authorized: Option<&Authorized>, repository: &str) {
        let location = answer.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(upload) = location.and_then(|location| self.base.join(location).ok()) else { return };
        if upload.origin() != self.base.origin() {
            return;
        }
        let refused = match self.request(Method::DELETE, upload.clone(), authorized).await {
            Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED,
            Err(_) => return,
        };
        // Docker's registry wants another right for this than for the upload itself.
        if refused
            && let Some(realm) = authorized.and_then(|authorized| authorized.realm.as_ref())
            && let Some(auth) = self.auth
            && let Ok(authorized) = self.authorized(realm, auth, &[scope(repository, "delete")]).await
        {
            let _ = self.request(Method::DELETE, upload, Some(&authorized)).await;
        }
    }

    async fn authorize(&self, challenge: &Challenge, scopes: &[String]) -> Result<Authorized, RegistryError> {
        let auth = self.auth.ok_or_else(|| RegistryError::NoLogin { registry: self.registry.into() })?;
        let login = |user: &str| Login { user: user.to_owned(), token_from: None };
        match (challenge, &auth.registry_token) {
            (_, Some(token)) => {
                let user = if auth.username.is_empty() { "the registry token" } else { &auth.username };
                let header = bearer(token).ok_or_else(|| self.wrong_login(auth))?;
                Ok(Authorized { header, login: login(user), realm: None })
            }
            (Challenge::Basic, None) => {
                let request = self.http.get(self.base.clone()).basic_auth(&auth.username, Some(auth.password.as_str()));
                let mut request = request.build().map_err(|e| RegistryError::unanswered(self.registry, &e))?;
                let header = request.headers_mut().remove(AUTHORIZATION).ok_or_else(|| self.wrong_login(auth))?;
                let authorized = Authorized { header, login: login(&auth.username), realm: None };
                self.judge(&authorized).await.map(|()| authorized)
            }
            (Challenge::Bearer(realm), None) => self.authorized(realm, auth, scopes).await,
        }
    }

    /// Asks the registry whether it accepts a login.
    async fn judge(&self, authorized: &Authorized) -> Result<(), RegistryError> {
        let answer = self.request(Method::GET, self.base.clone(), Some(authorized)).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let user = authorized.login.user.clone();
                Err(RegistryError::WrongLogin { registry: self.registry.into(), user })
            }
            status if is_unavailable(status) => Err(self.refused(&self.base, status)),
            _ => Ok(()),
        }
    }

    async fn authorized(
        &self,
        realm: &Realm,
        auth: &RegistryAuth,
        scopes: &[String],
    ) -> Result<Authorized, RegistryError> {
        let token = self.token(realm, scopes).await?;
        let header = bearer(&token.text).ok_or_else(|| self.no_token(realm))?;
        let login = Login { user: auth.username.clone(), token_from: Some(realm.host().into()) };
        Ok(Authorized { header, login, realm: Some(realm.clone()) })
    }

    /// Gets a token for these scopes: by `GET` with a password, or without one for what is public, or by the form of
    /// distribution's "Oauth2 Token Authentication" with an identity token.
    pub async fn token(&self, realm: &Realm, scopes: &[String]) -> Result<Token, RegistryError> {
        if !self.may_have_credentials(realm) {
            let host = realm.host().to_owned();
            return Err(RegistryError::ForeignRealm { registry: self.registry.into(), host });
        }
        let service = realm.service.as_deref().map(|service| ("service", service));
        let mut asked: Vec<(&str, &str)> = service.into_iter().collect();
        let scope = scopes.join(" ");
        let request = match (self.auth, self.auth.and_then(|auth| auth.identity_token.as_ref())) {
            (Some(_), Some(identity)) => {
                asked.extend([("grant_type", "refresh_token"), ("client_id", "image-factory")]);
                asked.push(("refresh_token", identity));
                asked.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
                let kind = "application/x-www-form-urlencoded";
                self.http.post(realm.url.clone()).header(CONTENT_TYPE, kind).body(form)
            }
            (auth, _) => {
                asked.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
                asked.extend(auth.map(|auth| ("account", auth.username.as_str())));
                let request = self.http.get(realm.url.clone()).query(&asked);
                match auth {
                    Some(auth) => request.basic_auth(&auth.username, Some(auth.password.as_str())),
                    None => request,
                }
            }
        };
        let mut answer = self.send(request).await?;
        match answer.status() {
            StatusCode::OK => read_token(&mut answer).await.ok_or_else(|| self.no_token(realm)),
            // OAuth2 has 400 for a token that is not, or no longer, valid.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Err(match self.auth {
                Some(auth) => self.wrong_login(auth),
                None => RegistryError::NoLogin { registry: self.registry.into() },
            }),
            status => Err(self.refused(&realm.url, status)),
        }
    }

    async fn request(
        &self,
        method: Method,
        url: Url,
        authorized: Option<&Authorized>,
    ) -> Result<Response, RegistryError> {
        let mut request = self.http.request(method, url).header(ACCEPT, MANIFEST_TYPES);
        if let Some(authorized) = authorized {
            request = request.header(AUTHORIZATION, authorized.header.clone());
        }
        self.send(request).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let answer = request.send().await.map_err(|e| RegistryError::unanswered(self.registry, &e))?;
        if answer.status().is_redirection() {
            let to = outbound::location(&answer);
            let to = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
            return Err(self.not_registry(format!("{} redirects to {to}", place(answer.url()))));
        }
        Ok(answer)
    }

    fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|e| self.not_registry(e.to_string()))
    }

    fn not_registry(&self, cause: String) -> RegistryError {
        RegistryError::NotRegistry { registry: self.registry.into(), cause }
    }

    /// Makes the error for an answer that is neither a success nor about the login.
    fn refused(&self, url: &Url, status: StatusCode) -> RegistryError {
        let (registry, cause) = (self.registry.to_owned(), format!("{} answers {status}", place(url)));
        match is_unavailable(status) {
            true => RegistryError::Unavailable { registry, cause },
            false => RegistryError::Refused { registry, cause },
        }
    }

    fn no_token(&self, realm: &Realm) -> RegistryError {
        self.not_registry(format!("{} gave no token", realm.host()))
    }

    fn wrong_login(&self, auth: &RegistryAuth) -> RegistryError {
        RegistryError::WrongLogin { registry: self.registry.into(), user: auth.username.clone() }
    }
}

/// Returns the address of a registry's API.
fn base_url(registry: &str, scheme: &str) -> Result<Url, RegistryError> {
    let host = if registry == HUB.0 { HUB.1 } else { registry };
    Url::parse(&format!("{scheme}://{host}/v2/"))
        .map_err(|e| RegistryError::NotRegistry { registry: registry.into(), cause: e.to_string() })
}

fn scope(repository: &str, actions: &str) -> String {
    format!("repository:{repository}:{actions}")
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u32>,
}

/// Returns the token of a token server's answer, unless the body is longer than [`MAX_BODY`].
async fn read_token(answer: &mut Response) -> Option<Token> {
    let body = read_limited(answer, MAX_BODY).await.ok()?;
    let TokenResponse { token, access_token, expires_in } = serde_json::from_slice(&body).ok()?;
    let text = token.or(access_token)?.into();
    Some(Token { text, expires_in: expires_in.map_or(TOKEN_LIFETIME, |seconds| TOKEN_LIFETIME.max(seconds)) })
}

/// Returns whether a 404 is a registry's answer about a repository that does not exist.
async fn says_name_unknown(answer: &mut Response) -> bool {
    let body = read_limited(answer, MAX_BODY).await;
    body.is_ok_and(|body| String::from_utf8_lossy(&body).contains("NAME_UNKNOWN"))
}

/// Returns an address without its scheme and its query.
fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

fn is_unavailable(status: StatusCode) -> bool {
    status.is_server_error() || [408, 425, 429].contains(&status.as_u16())
}

/// Makes a client that trusts the system's authorities and those that the engine has for this registry.
async fn http_client(registry: &str, base: &Url, certs_dir: &Path) -> Result<reqwest::Client, RegistryError> {
    let unusable_tls = |cause: String| RegistryError::Tls { registry: registry.into(), cause };
    let mut authorities = Vec::new();
    if let Ok(mut folder) = tokio::fs::read_dir(certs_dir.join(registry)).await {
        while let Ok(Some(entry)) = folder.next_entry().await {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                let unusable =
                    |e: &dyn std::error::Error| unusable_tls(format!("{} cannot be used ({e})", path.display()));
                let pem = tokio::fs::read(&path).await.map_err(|e| unusable(&e))?;
                authorities.extend(Certificate::from_pem_bundle(&pem).map_err(|e| unusable(&e))?);
            }
        }
    }
    let http = outbound::client(Route::to(base)).timeout(TIMEOUT).tls_certs_merge(authorities);
    http.build().map_err(|e| unusable_tls(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: String) -> Response {
        axum::http::Response::new(body).into()
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_used() {
        let token = |padding: usize| answer(format!(r#"{{"token":"t","padding":"{}"}}"#, "x".repeat(padding)));
        assert_eq!(text(read_token(&mut token(0)).await).as_deref(), Some("t"));
        assert_eq!(text(read_token(&mut token(MAX_BODY)).await), None);
        let not_found = |padding: usize| answer(format!("{}NAME_UNKNOWN", " ".repeat(padding)));
        assert!(says_name_unknown(&mut not_found(0)).await);
        assert!(!says_name_unknown(&mut not_found(MAX_BODY)).await);
    }

    fn text(token: Option<Token>) -> Option<String> {
        token.map(|token| token.text.to_string())
    }

    #[tokio::test]
    async fn a_token_may_have_its_oauth2_name() {
        for (body, token) in [
            (r#"{"access_token":"a"}"#, Some(("a", 60))),
            (r#"{"token":"t","access_token":"a","expires_in":300}"#, Some(("t", 300))),
            (r#"{"token":"t","expires_in":1}"#, Some(("t", 60))),
            ("{}", None),
        ] {
            let read = read_token(&mut answer(body.into())).await;
            assert_eq!(read.as_ref().map(|read| (read.text.as_str(), read.expires_in)), token, "{body}");
        }
    }
}
