use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::config::GitHubError;
use super::limit::{self, Gate};
use crate::model::Millis;
use crate::notify::send_error::SendError;
use crate::outbound::{self, BodyError, Route, is_loopback, read_limited, stays_on_origin};

const VERSION: &str = "2022-11-28";
/// The limit for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body, in bytes. 100 statuses of a commit take about 150 KB.
const LONGEST_BODY: usize = 4 << 20;
/// The longest message of GitHub that is repeated in ours, in characters.
const LONGEST_MESSAGE: usize = 200;
const REDIRECTS: usize = 3;

/// A response that is final: no redirect, rate limit or server error.
pub(super) struct ApiResponse {
    pub status: StatusCode,
    /// Null if it is not JSON.
    pub body: Value,
}

impl ApiResponse {
    /// Returns GitHub's own words in one line.
    pub fn message(&self) -> String {
        message(&self.body)
    }
}

/// The API at one address, with its rate limit.
pub(super) struct GitHubApi {
    /// Without a `/` at its end.
    base: String,
    host: String,
    http: Client,
    gate: Gate,
    is_failing: AtomicBool,
    recovered: Notify,
}

impl GitHubApi {
    pub fn new(base: &Url, authorities: Vec<Certificate>) -> Result<Self, GitHubError> {
        let host = base.host_str().unwrap_or_default();
        if base.scheme() == "http" && !is_loopback(base) {
            return Err(GitHubError::InTheClear);
        }
        let http = outbound::client(Route::Environment).timeout(TIMEOUT).tls_certs_merge(authorities).build()?;
        let base_text = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            base: base_text,
            host: host.to_owned(),
            http,
            gate: Gate::default(),
            is_failing: AtomicBool::default(),
            recovered: Notify::new(),
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// Waits until the API answers after it did not.
    pub async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Calls the API. The path begins with `/`; the token is an access token or a JWT.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &Zeroizing<String>,
        body: Option<&Value>,
    ) -> Result<ApiResponse, SendError> {
        if let Some(rest) = self.gate.closed(Instant::now()) {
            return Err(limited(rest));
        }
        let response = self.request(method, path, token, body).await;
        match &response {
            Ok(_) if self.is_failing.swap(false, Ordering::Relaxed) => self.recovered.notify_one(),
            Err(error) if !error.is_permanent => self.is_failing.store(true, Ordering::Relaxed),
            _ => {}
        }
        response
    }

    /// Sends a request, and repeats it where GitHub redirects it to. A renamed repository redirects so.
    async fn request(
        &self,
        method: Method,
        path: &str,
        token: &Zeroizing<String>,
        body: Option<&Value>,
    ) -> Result<ApiResponse, SendError> {
        let wrong = |_| SendError::permanent("GITHUB_API makes no valid address");
        let mut url = Url::parse(&format!("{}{path}", self.base)).map_err(wrong)?;
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(method.clone(), url.clone());
            request = request.header(AUTHORIZATION, bearer(token)?);
            request = request.header(ACCEPT, "application/vnd.github+json").header("X-GitHub-Api-Version", VERSION);
            if let Some(body) = body {
                request = request.json(body);
            }
            let mut response = request.send().await?;
            let (status, headers, next) =
                (response.status(), response.headers().clone(), outbound::location(&response));
            let body = read(&mut response).await?;
            if let Some(pause) = limit::pause(status, &headers, &message(&body), Millis::now()) {
                tracing::warn!(seconds = pause.as_secs(), "GitHub's rate limit is used up: statuses wait");
                self.gate.close(Instant::now() + pause);
                if !status.is_success() {
                    return Err(limited(pause));
                }
            }
            if status.is_redirection() {
                url = self.redirect(&url, next)?;
            } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
                return Err(SendError::transient(format!("GitHub answered {status}")));
            } else {
                return Ok(ApiResponse { status, body });
            }
        }
        Err(SendError::transient(format!("{} redirects more than {REDIRECTS} times", self.host)))
    }

    fn redirect(&self, url: &Url, to: Option<Url>) -> Result<Url, SendError> {
        match to {
            Some(to) if stays_on_origin(url, &to) => Ok(to),
            to => Err(SendError::transient(format!(
                "{} redirects to {}, which is not given the token: correct GITHUB_API, or the proxy before it",
                self.host,
                to.as_ref().and_then(Url::host_str).unwrap_or("nowhere")
            ))),
        }
    }
}

fn bearer(token: &Zeroizing<String>) -> Result<HeaderValue, SendError> {
    let header = Zeroizing::new(format!("Bearer {}", **token));
    let mut header = HeaderValue::from_str(&header).map_err(|_| SendError::permanent("the token is no text"))?;
    header.set_sensitive(true);
    Ok(header)
}

async fn read(response: &mut Response) -> Result<Value, SendError> {
    let body = read_limited(response, LONGEST_BODY).await.map_err(|error| match error {
        BodyError::TooLong => SendError::transient(format!("GitHub's answer has more than {} MiB", LONGEST_BODY >> 20)),
        BodyError::Broken(error) => error.into(),
    })?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// Joins `message` with the messages of `errors`.
fn message(body: &Value) -> String {
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors = errors.filter_map(|error| error["message"].as_str().or(error.as_str()));
    let parts: Vec<_> = body["message"].as_str().into_iter().chain(errors).flat_map(str::split_whitespace).collect();
    match parts.is_empty() {
        true => "without a message".into(),
        false => parts.join(" ").chars().take(LONGEST_MESSAGE).collect(),
    }
}

fn limited(rest: Duration) -> SendError {
    let error = format!("GitHub's rate limit is used up for {} s more", rest.as_secs() + 1);
    SendError { retry_after: Some(rest), ..SendError::transient(error) }
}
