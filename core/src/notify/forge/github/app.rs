//! The tokens of a GitHub App. A JWT that is signed with the App's key is exchanged for an installation's token, which is
//! valid for one hour
//! (<https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app>).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use reqwest::{Method, StatusCode};
use rustls::SignatureScheme::RSA_PKCS1_SHA256;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::{Zeroize, Zeroizing};

use super::api::{ApiResponse, GitHubApi};
use super::config::GitHubError;
use crate::model::{Millis, RepoName};
use crate::notify::send_error::SendError;

/// The end of a token's life in which it is not used any more.
const MARGIN: Duration = Duration::from_secs(300);
/// The seconds by which a JWT is dated back, because GitHub's clock may be behind ours.
const DATED_BACK: i64 = 60;
/// The life of a JWT in seconds, the longest that GitHub allows.
const LIFE: i64 = 600;

pub(super) struct App {
    id: String,
    key: Arc<dyn SigningKey>,
    installation: Option<String>,
    /// Locked while a token is fetched, so that further callers wait for that token and fetch none.
    cache: Mutex<TokenCache>,
}

#[derive(Default)]
struct TokenCache {
    /// Installation of each repository, whose name is in lower case.
    installations: HashMap<String, String>,
    /// Token of each installation.
    tokens: HashMap<String, InstallationToken>,
}

struct InstallationToken {
    token: Zeroizing<String>,
    valid_until: Instant,
}

impl App {
    pub fn new(id: String, private_key: &str, installation: Option<String>) -> Result<Self, GitHubError> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            return Err(GitHubError::AppId(id));
        }
        if let Some(installation) = installation.iter().find(|id| id.parse::<u64>().is_err()) {
            return Err(GitHubError::Installation(installation.clone()));
        }
        Ok(Self { id, key: read_key(private_key)?, installation, cache: Mutex::default() })
    }

    /// Returns a token for this repository, from the cache or new. `refused` is a cached one that GitHub refused.
    pub async fn token(
        &self,
        api: &GitHubApi,
        repo: &RepoName,
        refused: Option<&Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, SendError> {
        let mut cache = self.cache.lock().await;
        let name = format!("{}/{}", repo.owner(), repo.name()).to_ascii_lowercase();
        let installation = match self.installation.as_ref().or(cache.installations.get(&name)) {
            Some(id) => id.clone(),
            None => {
                let found = self.find_installation(api, repo).await?;
                cache.installations.entry(name.clone()).or_insert(found).clone()
            }
        };
        if let Some(granted) = cache.tokens.get(&installation)
            && granted.valid_until > Instant::now()
            && refused != Some(&granted.token)
        {
            return Ok(granted.token.clone());
        }
        let granted = self.exchange(api, &installation).await.inspect_err(|_| {
            // The App may have been installed anew, which gives it another id.
            cache.installations.remove(&name);
        })?;
        let token = granted.token.clone();
        cache.tokens.insert(installation, granted);
        Ok(token)
    }

    /// Looks up the installation on this repository.
    async fn find_installation(&self, api: &GitHubApi, repo: &RepoName) -> Result<String, SendError> {
        let path = format!("/repos/{}/{}/installation", repo.owner(), repo.name());
        let response = api.call(Method::GET, &path, &self.jwt()?, None).await?;
        match (response.status, response.body["id"].as_u64()) {
            (StatusCode::OK, Some(id)) => Ok(id.to_string()),
            (StatusCode::NOT_FOUND, _) => Err(SendError::permanent(format!(
                "the GitHub App is not installed on {}/{}: install it there",
                repo.owner(),
                repo.name()
            ))),
            _ => Err(refusal(&response)),
        }
    }

    /// Exchanges a JWT for an installation's token.
    async fn exchange(&self, api: &GitHubApi, installation: &str) -> Result<InstallationToken, SendError> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let mut response = api.call(Method::POST, &path, &self.jwt()?, None).await?;
        match (response.status, response.body["token"].take(), response.body["expires_at"].as_str().map(str::parse)) {
            (StatusCode::CREATED, Value::String(token), Some(Ok(expires))) => {
                let life = Millis::since(expires, Millis::now()).saturating_sub(MARGIN);
                Ok(InstallationToken { token: token.into(), valid_until: Instant::now() + life })
            }
            (StatusCode::NOT_FOUND, ..) => {
                let error = match &self.installation {
                    Some(_) => "the GitHub App has no installation GITHUB_INSTALLATION_ID: correct it, or leave it out",
                    None => "the GitHub App's installation is gone",
                };
                Err(SendError { is_permanent: self.installation.is_some(), ..SendError::permanent(error) })
            }
            _ => Err(refusal(&response)),
        }
    }

    fn jwt(&self) -> Result<Zeroizing<String>, SendError> {
        let now = Millis::now().0 / 1000;
        let iat = now - DATED_BACK;
        // GitHub takes the App's id, which is a number, or its client id, which is a text.
        let iss = self.id.parse::<u64>().map_or_else(|_| json!(self.id), Value::from);
        let parts = [json!({"alg": "RS256", "typ": "JWT"}), json!({"iat": iat, "exp": iat + LIFE, "iss": iss})];
        let signed = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signer = self.key.choose_scheme(&[RSA_PKCS1_SHA256]);
        let signature = signer.and_then(|signer| signer.sign(signed.as_bytes()).ok());
        let signature = signature.ok_or_else(|| SendError::permanent("GITHUB_PRIVATE_KEY does not sign"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

fn refusal(response: &ApiResponse) -> SendError {
    let message = response.message();
    SendError::permanent(match response.status {
        StatusCode::UNAUTHORIZED => format!(
            "GitHub does not know the App by its signature ({message}): check GITHUB_APP_ID, GITHUB_PRIVATE_KEY and this \
             machine's clock"
        ),
        status => format!("GitHub answered {status} to the App: {message}"),
    })
}

/// Reads an RSA key in PEM, PKCS#1 or PKCS#8. A variable of one line has `\n` for each line's end.
fn read_key(pem: &str) -> Result<Arc<dyn SigningKey>, GitHubError> {
    let pem = Zeroizing::new(pem.replace("\\n", "\n"));
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let mut der = der.map_err(|_| GitHubError::Key("it is no private key in PEM without a passphrase"))?;
    let key = any_supported_type(&der);
    der.zeroize();
    let rsa = key.ok().filter(|key| key.choose_scheme(&[RSA_PKCS1_SHA256]).is_some());
    rsa.ok_or(GitHubError::Key("it is no RSA key of 2,048 to 4,096 bits"))
}
