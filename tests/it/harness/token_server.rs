use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Served, folder, listen, succeed};

/// One request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCall {
    /// The user, if the password or identity token was right.
    pub user: Option<String>,
    pub scopes: Vec<String>,
}

/// Gives bearer tokens as distribution's "Token Authentication Specification" has it, signed with RS256, to `GET` with
/// basic authentication and to the `POST` of its OAuth2 form. A real registry trusts its certificate.
pub struct TokenServer {
    server: Served,
    issuer: Arc<Issuer>,
    dir: TempDir,
}

struct Issuer {
    key: PathBuf,
    /// Base64 of the certificate's DER.
    certificate: String,
    accounts: Vec<Account>,
    calls: Mutex<Vec<TokenCall>>,
}

/// An account, and its rights to every repository.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    pub user: &'static str,
    pub password: &'static str,
    /// Some of `pull`, `push` and `delete`.
    pub actions: &'static [&'static str],
}

impl Account {
    /// Returns the account's identity token.
    pub fn identity_token(&self) -> String {
        format!("identity-of-{}-{}", self.user, self.password)
    }
}

pub const SERVICE: &str = "registry.test";
pub const ISSUER: &str = "tokens.test";

impl TokenServer {
    pub fn start(accounts: &[Account]) -> Self {
        Self::start_on(listen(), accounts)
    }

    pub fn start_on(listener: TcpListener, accounts: &[Account]) -> Self {
        let dir = folder();
        let (key, certificate) = self_signed(dir.path(), "rsa:2048");
        let pem = std::fs::read_to_string(certificate).unwrap();
        let certificate = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let issuer = Arc::new(Issuer { key, certificate, accounts: accounts.to_vec(), calls: Mutex::default() });
        let router = axum::Router::new().fallback(give).with_state(issuer.clone());
        Self { server: Served::start_on(listener, router), issuer, dir }
    }

    pub fn realm(&self) -> String {
        format!("http://{}/token", self.server.address)
    }

    /// PEM, for the registry's `rootcertbundle`.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub fn calls(&self) -> Vec<TokenCall> {
        self.issuer.calls.lock().unwrap().clone()
    }

    /// A token without any request.
    pub fn mint(&self, scope: &str) -> String {
        self.issuer.token("the test", &[scope.into()], &["pull", "push", "delete"])
    }
}

/// The key and the certificate, for 127.0.0.1, in PEM files in this folder.
pub fn self_signed(dir: &Path, key_type: &str) -> (PathBuf, PathBuf) {
    let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test", "-newkey", key_type]);
    if key_type == "ec" {
        openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    }
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    succeed(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate), b"");
    (key, certificate)
}

impl Issuer {
    /// Makes a token for the part of the scopes that these actions allow.
    fn token(&self, user: &str, scopes: &[String], actions: &[&str]) -> String {
        let access = scopes.iter().map(|scope| {
            let (resource, wanted) = scope.rsplit_once(':').unwrap();
            let (kind, name) = resource.split_once(':').unwrap();
            let granted: Vec<_> = wanted.split(',').filter(|action| actions.contains(action)).collect();
            json!({"type": kind, "name": name, "actions": granted})
        });
        let access: Vec<Value> = access.collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let claims = json!({"iss": ISSUER, "sub": user, "aud": SERVICE, "nbf": now - 10, "iat": now, "exp": now + 60,
            "jti": uuid::Uuid::now_v7().to_string(), "access": access});
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let mut sign = Command::new("openssl");
        let signature = succeed(sign.args(["dgst", "-sha256", "-sign"]).arg(&self.key), signed.as_bytes()).stdout;
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn give(State(issuer): State<Arc<Issuer>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let parameters =
        if parts.method == Method::POST { &body[..] } else { parts.uri.query().unwrap_or_default().as_bytes() };
    let parameters: Vec<(String, String)> = form_urlencoded::parse(parameters).into_owned().collect();
    let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, v)| v.clone()).unwrap_or_default();
    let basic = parts.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let basic = basic.map(|basic| String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap());
    let account = issuer.accounts.iter().find(|account| match value("grant_type").as_str() {
        "refresh_token" => value("refresh_token") == account.identity_token(),
        "password" => (value("username"), value("password")) == (account.user.into(), account.password.into()),
        _ => basic.as_deref() == Some(&format!("{}:{}", account.user, account.password)),
    });
    let all = parameters.iter().filter(|(key, _)| key == "scope").flat_map(|(_, scopes)| scopes.split(' '));
    let scopes: Vec<String> = all.map(str::to_owned).collect();
    let call = TokenCall { user: account.map(|account| account.user.into()), scopes: scopes.clone() };
    issuer.calls.lock().unwrap().push(call);
    match account {
        Some(account) if value("service") == SERVICE => {
            let token = issuer.token(account.user, &scopes, account.actions);
            Json(json!({"token": token, "access_token": token, "expires_in": 60})).into_response()
        }
        _ => {
            // Without a message of its own the engine would try for 50 s.
            let error = json!({"code": "UNAUTHORIZED", "message": "HTTP Basic: Access denied"});
            (StatusCode::UNAUTHORIZED, Json(json!({"errors": [error]}))).into_response()
        }
    }
}
