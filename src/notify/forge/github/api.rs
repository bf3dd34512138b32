use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::GitHubError;
use super::limit::{self, Gate};
use crate::model::Millis;
use crate::notify::send_error::Failure;
use crate::outbound::{self, BodyError, Route, is_loopback, read_limited, stays_on_origin};

const VERSION: &str = "2022-11-28";
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// 100 statuses of a commit take about 150 KB.
const LONGEST_ANSWER: usize = 4 << 20;
/// What we repeat of a message.
const LONGEST_MESSAGE: usize = 200;
const REDIRECTS: usize = 3;

/// An answer that is neither a redirect, nor a rate limit, nor a server's trouble.
pub(in crate::notify::forge) struct Answer {
    pub status: StatusCode,
    /// Null if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// GitHub's own words, in one line.
    pub fn message(&self) -> String {
        message(&self.body)
    }
}

/// The API at one address. Clients of it share its rate limit.
pub(in crate::notify::forge) struct Api {
    /// Without a `/` at its end.
    base: String,
    host: String,
    http: Client,
    gate: Gate,
    is_failing: AtomicBool,
    recovered: Notify,
}

impl Api {
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

    /// Waits until it answers after it did not.
    pub async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// `path` begins with `/`; `token` is an access token or a JWT.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        token: &Zeroizing<String>,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        if let Some(rest) = self.gate.closed(Instant::now()) {
            return Err(limited(rest));
        }
        let answer = self.follow(method, path, token, body).await;
        match &answer {
            Ok(_) if self.is_failing.swap(false, Ordering::Relaxed) => self.recovered.notify_one(),
            Err(failure) if !failure.permanent => self.is_failing.store(true, Ordering::Relaxed),
            _ => {}
        }
        answer
    }

    /// Repeats a request where GitHub says that it should be, which is how a renamed repository answers, on the same
    /// host.
    async fn follow(
        &self,
        method: Method,
        path: &str,
        token: &Zeroizing<String>,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let wrong = |_| Failure::permanent("GITHUB_API makes no valid address");
        let mut url = Url::parse(&format!("{}{path}", self.base)).map_err(wrong)?;
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(method.clone(), url.clone());
            request = request.header(AUTHORIZATION, bearer(token)?);
            request = request.header(ACCEPT, "application/vnd.github+json").header("X-GitHub-Api-Version", VERSION);
            if let Some(body) = body {
                request = request.json(body);
            }
            let mut answer = request.send().await?;
            let (status, headers, next) = (answer.status(), answer.headers().clone(), outbound::location(&answer));
            let body = read(&mut answer).await?;
            if let Some(pause) = limit::pause(status, &headers, &message(&body), Millis::now()) {
                tracing::warn!(seconds = pause.as_secs(), "GitHub's rate limit: nothing is sent to it for so long");
                self.gate.close(Instant::now() + pause);
                if !status.is_success() {
                    return Err(limited(pause));
                }
            }
            if status.is_redirection() {
                url = self.redirect(&url, next)?;
            } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
                return Err(later(format!("GitHub answered {status}")));
            } else {
                return Ok(Answer { status, body });
            }
        }
        Err(later("GitHub sends us on and on".into()))
    }

    fn redirect(&self, url: &Url, to: Option<Url>) -> Result<Url, Failure> {
        match to {
            Some(to) if stays_on_origin(url, &to) => Ok(to),
            to => Err(later(format!(
                "{} sends us on to {}, which is not given the token: correct GITHUB_API, or what is in between",
                self.host,
                to.as_ref().and_then(Url::host_str).unwrap_or("nowhere")
            ))),
        }
    }
}

fn bearer(token: &Zeroizing<String>) -> Result<HeaderValue, Failure> {
    let header = Zeroizing::new(format!("Bearer {}", **token));
    let mut header = HeaderValue::from_str(&header).map_err(|_| Failure::permanent("the token is no text"))?;
    header.set_sensitive(true);
    Ok(header)
}

async fn read(answer: &mut Response) -> Result<Value, Failure> {
    let body = read_limited(answer, LONGEST_ANSWER).await.map_err(|error| match error {
        BodyError::TooLong => later(format!("GitHub's answer has more than {} MiB", LONGEST_ANSWER >> 20)),
        BodyError::Broken(error) => error.into(),
    })?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// `message`, and those of `errors`.
fn message(body: &Value) -> String {
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors = errors.filter_map(|error| error["message"].as_str().or(error.as_str()));
    let parts: Vec<_> = body["message"].as_str().into_iter().chain(errors).flat_map(str::split_whitespace).collect();
    match parts.is_empty() {
        true => "without a message".into(),
        false => parts.join(" ").chars().take(LONGEST_MESSAGE).collect(),
    }
}

fn later(error: String) -> Failure {
    Failure { error, permanent: false, retry_after: None }
}

fn limited(rest: Duration) -> Failure {
    let error = format!("GitHub's rate limit is used up for {} s more", rest.as_secs() + 1);
    Failure { error, permanent: false, retry_after: Some(rest) }
}
