//! A GitHub App's tokens: a JWT, signed with its key, is traded for a token of one hour of an installation
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

use super::GitHubError;
use super::api::{Answer, Api};
use crate::model::{Millis, RepoName};
use crate::notify::send_error::Failure;

/// A token is not used in its last five minutes.
const MARGIN: Duration = Duration::from_secs(300);
/// A JWT is dated back, for clocks that differ, and lives for 10 minutes in all, which is what GitHub allows.
const DATED_BACK: i64 = 60;
const LIFE: i64 = 600;

pub(super) struct App {
    id: String,
    key: Arc<dyn SigningKey>,
    installation: Option<String>,
    /// Locked while a token is fetched: whoever needs the same one waits for it.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By repository, in lower case.
    installations: HashMap<String, String>,
    /// By installation.
    tokens: HashMap<String, Granted>,
}

struct Granted {
    token: Zeroizing<String>,
    good_until: Instant,
}

impl App {
    pub fn new(id: String, private_key: &str, installation: Option<String>) -> Result<Self, GitHubError> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
            return Err(GitHubError::AppId(id));
        }
        if let Some(installation) = installation.iter().find(|id| id.parse::<u64>().is_err()) {
            return Err(GitHubError::Installation(installation.clone()));
        }
        Ok(Self { id, key: read_key(private_key)?, installation, known: Mutex::default() })
    }

    /// A token for this repository, kept or new. `refused` is one that GitHub does not take any more.
    pub async fn token(
        &self,
        api: &Api,
        repo: &RepoName,
        refused: Option<&Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, Failure> {
        let mut known = self.known.lock().await;
        let name = format!("{}/{}", repo.owner(), repo.name()).to_ascii_lowercase();
        let installation = match self.installation.as_ref().or(known.installations.get(&name)) {
            Some(id) => id.clone(),
            None => {
                let found = self.find(api, repo).await?;
                known.installations.entry(name.clone()).or_insert(found).clone()
            }
        };
        if let Some(granted) = known.tokens.get(&installation)
            && granted.good_until > Instant::now()
            && refused != Some(&granted.token)
        {
            return Ok(granted.token.clone());
        }
        let granted = self.trade(api, &installation).await.inspect_err(|_| {
            // It may have been installed anew, by another id.
            known.installations.remove(&name);
        })?;
        let token = granted.token.clone();
        known.tokens.insert(installation, granted);
        Ok(token)
    }

    /// The installation that this repository has.
    async fn find(&self, api: &Api, repo: &RepoName) -> Result<String, Failure> {
        let path = format!("/repos/{}/{}/installation", repo.owner(), repo.name());
        let answer = api.call(Method::GET, &path, &self.jwt()?, None).await?;
        match (answer.status, answer.body["id"].as_u64()) {
            (StatusCode::OK, Some(id)) => Ok(id.to_string()),
            (StatusCode::NOT_FOUND, _) => Err(Failure::permanent(format!(
                "the GitHub App is not installed on {}/{}: install it there",
                repo.owner(),
                repo.name()
            ))),
            _ => Err(refused(&answer)),
        }
    }

    async fn trade(&self, api: &Api, installation: &str) -> Result<Granted, Failure> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let mut answer = api.call(Method::POST, &path, &self.jwt()?, None).await?;
        match (answer.status, answer.body["token"].take(), answer.body["expires_at"].as_str().map(str::parse)) {
            (StatusCode::CREATED, Value::String(token), Some(Ok(expires))) => {
                let life = Millis::since(expires, Millis::now()).saturating_sub(MARGIN);
                Ok(Granted { token: token.into(), good_until: Instant::now() + life })
            }
            (StatusCode::NOT_FOUND, ..) => {
                let error = match &self.installation {
                    Some(_) => "the GitHub App has no installation GITHUB_INSTALLATION_ID: correct it, or leave it out",
                    None => "the GitHub App's installation is gone",
                };
                Err(Failure { error: error.into(), permanent: self.installation.is_some(), retry_after: None })
            }
            _ => Err(refused(&answer)),
        }
    }

    fn jwt(&self) -> Result<Zeroizing<String>, Failure> {
        let now = Millis::now().0 / 1000;
        let iat = now - DATED_BACK;
        // GitHub takes an App's number, or the client id, which is a text.
        let iss = self.id.parse::<u64>().map_or_else(|_| json!(self.id), Value::from);
        let parts = [json!({"alg": "RS256", "typ": "JWT"}), json!({"iat": iat, "exp": iat + LIFE, "iss": iss})];
        let signed = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signer = self.key.choose_scheme(&[RSA_PKCS1_SHA256]);
        let signature = signer.and_then(|signer| signer.sign(signed.as_bytes()).ok());
        let signature = signature.ok_or_else(|| Failure::permanent("GITHUB_PRIVATE_KEY does not sign"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

fn refused(answer: &Answer) -> Failure {
    let said = answer.message();
    Failure::permanent(match answer.status {
        StatusCode::UNAUTHORIZED => format!(
            "GitHub does not know the App by its signature ({said}): check GITHUB_APP_ID, GITHUB_PRIVATE_KEY and this \
             machine's clock"
        ),
        status => format!("GitHub answered {status} to the App: {said}"),
    })
}

/// An RSA key in PEM, PKCS#1 or PKCS#8. In a variable of one line `\n` stands for the line's end.
fn read_key(pem: &str) -> Result<Arc<dyn SigningKey>, GitHubError> {
    let pem = Zeroizing::new(pem.replace("\\n", "\n"));
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let mut der = der.map_err(|_| GitHubError::Key("it is no private key in PEM without a passphrase"))?;
    let key = any_supported_type(&der);
    der.zeroize();
    let rsa = key.ok().filter(|key| key.choose_scheme(&[RSA_PKCS1_SHA256]).is_some());
    rsa.ok_or(GitHubError::Key("it is no RSA key of 2,048 to 4,096 bits"))
}
