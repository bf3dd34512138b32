//! The HTTP client that the command line uses.

mod notifications;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use notifications::Notification;

use crate::outbound::{self, Route, is_loopback};

pub use crate::model::{FailureClass, JobContext, Millis, StageName, StageStatus, Status, TagResult};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For everything but a log; the server itself gives up after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// A followed log may be silent for long: without it a machine that vanished is never noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A broken log is taken up again for so long, which is what a restart of the daemon takes at most (DRAIN_TIMEOUT 60 s).
const RETRIES: u32 = 90;
const RETRY_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the address {url:?} cannot be used: {cause}; write http://HOST:PORT")]
    Address { url: String, cause: String },
    #[error("{url} was not reached: {cause}; is `image-factory serve` running there?")]
    Unreachable { url: String, cause: String },
    #[error("{url} cannot answer now ({status}): {message}")]
    Trouble { url: String, status: u16, message: String },
    #[error("refused ({status} {code}): {message}")]
    Refused { status: u16, code: String, message: String },
    #[error("{url} did not answer like an Image Factory: {cause}")]
    Foreign { url: String, cause: String },
}

/// A job as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: String,
    pub context: JobContext,
    pub image: String,
    /// Never `Cancelled`: that is a `Failure` with `cancelled`.
    pub status: Status,
    pub results: BTreeMap<StageName, Stage>,
    pub start_time: Option<Millis>,
    pub end_time: Option<Millis>,
    pub create_time: Millis,
    pub attempt: u32,
    pub resolved_commit: Option<String>,
    pub digest: Option<String>,
    pub cause: Option<String>,
    /// None of a server that is older than classes.
    pub class: Option<FailureClass>,
    pub advice: Option<String>,
    pub cancelled: bool,
    pub cancel_requested: bool,
    pub origin: Option<String>,
    #[serde(default)]
    pub priority: i64,
    pub rebuild_of: Option<String>,
    pub superseded_by: Option<String>,
    #[serde(default)]
    pub tags: Vec<TagResult>,
}

impl Job {
    pub fn is_over(&self) -> bool {
        self.status.is_terminal()
    }

    /// The stage that runs, or that ended the job.
    pub fn stage(&self) -> Option<StageName> {
        let at = |wanted| self.results.iter().find(|(_, stage)| stage.status == wanted).map(|(&name, _)| name);
        at(StageStatus::Running).or_else(|| at(StageStatus::Failure))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    pub status: StageStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Millis>,
}

/// A webhook delivery as the server shows it; see api.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub id: String,
    pub route: String,
    pub event: String,
    pub delivery_id: Option<String>,
    pub digest: String,
    pub receive_time: Millis,
    pub owner: String,
    pub repo: String,
    pub r#ref: String,
    pub before: Option<String>,
    pub after: String,
    pub job: String,
    pub repeats: u32,
    pub repeat_time: Option<Millis>,
}

/// What is to be built; what is None is the server's to choose.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewJob {
    pub owner: String,
    pub repo: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(rename = "keepGitDir", skip_serializing_if = "Option::is_none")]
    pub keep_git_dir: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(rename = "buildArgs", skip_serializing_if = "BTreeMap::is_empty")]
    pub build_args: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// One server, spoken to with one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Zeroizing<String>>,
}

/// Is this address one of this machine's own, which no other machine answers?
pub fn is_this_machine(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_loopback(&url))
}

impl Client {
    /// `url` is `http[s]://host[:port][/path]`.
    pub fn new(url: &str, token: Option<Zeroizing<String>>) -> Result<Self, ClientError> {
        let refuse = |cause: String| ClientError::Address { url: url.into(), cause };
        let base = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refuse("it is no http address".into()));
        }
        let http = outbound::client(Route::to(&base)).connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(KEEPALIVE);
        let http = http.build().map_err(|error| refuse(innermost(&error)))?;
        Ok(Self { http, base, token })
    }

    pub async fn create(&self, job: &NewJob) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &["job"]).json(job)).await
    }

    /// Newest first, at most 1,000.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<Job>, ClientError> {
        self.json(self.request(Method::GET, &["job"]).query(&[("limit", limit)])).await
    }

    pub async fn job(&self, id: &str) -> Result<Job, ClientError> {
        self.json(self.request(Method::GET, &["job", id])).await
    }

    pub async fn cancel(&self, id: &str) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &["job", id, "cancel"])).await
    }

    pub async fn rebuild(&self, id: &str) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &["job", id, "rebuild"])).await
    }

    /// Newest first, at most 1,000.
    pub async fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>, ClientError> {
        self.json(self.request(Method::GET, &["deliveries"]).query(&[("limit", limit)])).await
    }

    /// The job that a delivery makes once more.
    pub async fn replay(&self, delivery: &str) -> Result<Job, ClientError> {
        self.json(self.request(Method::POST, &["deliveries", delivery, "replay"])).await
    }

    /// The log so far, or with `follow` until the job ends. A connection that breaks is taken up again where it broke.
    pub fn log(&self, id: &str, follow: bool) -> impl Stream<Item = Result<Bytes, ClientError>> + use<> {
        let reading =
            LogReading { client: self.clone(), id: id.into(), follow, offset: 0, skip: 0, open: None, failures: 0 };
        stream::try_unfold(reading, async |mut reading| Ok(reading.next().await?.map(|bytes| (bytes, reading))))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // It has a host, so it has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Foreign { url: self.base.to_string(), cause: error.to_string() })
    }

    /// A successful answer.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        #[derive(Deserialize)]
        struct Refusal {
            code: String,
            message: serde_json::Value,
        }
        let url = self.base.to_string();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let Ok(Refusal { code, message }) = serde_json::from_slice(&body) else {
            return Err(match status.is_server_error() {
                true => ClientError::Trouble { url, status: status.as_u16(), message: "no reason given".into() },
                false => ClientError::Foreign { url, cause: format!("status {status}") },
            });
        };
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        let status = status.as_u16();
        Err(match status {
            500.. => ClientError::Trouble { url, status, message },
            _ => ClientError::Refused { status, code, message },
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.to_string(), cause: innermost(error) }
    }
}

/// The cause behind reqwest's layers, which say little: `Connection refused (os error 111)`.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

struct LogReading {
    client: Client,
    id: String,
    follow: bool,
    /// How much was read.
    offset: u64,
    /// What of the present answer was read before, because something between ignored the `Range`.
    skip: u64,
    open: Option<Response>,
    /// Since the last byte.
    failures: u32,
}

impl LogReading {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let step = match &mut self.open {
                None => self.reopen().await,
                Some(response) => match response.chunk().await {
                    Ok(Some(mut bytes)) => {
                        let read_before = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                        self.skip -= read_before as u64;
                        let bytes = bytes.split_off(read_before);
                        self.offset += bytes.len() as u64;
                        self.failures = 0;
                        if bytes.is_empty() {
                            continue;
                        }
                        return Ok(Some(bytes));
                    }
                    Ok(None) => {
                        self.open = None;
                        self.is_complete().await
                    }
                    Err(error) => {
                        self.open = None;
                        Err(self.client.unreachable(&error))
                    }
                },
            };
            match step {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                // The first connection is not tried twice: whoever waits wants to know that nothing is there.
                Err(ClientError::Unreachable { .. } | ClientError::Trouble { .. })
                    if self.failures < RETRIES && (self.offset > 0 || self.failures > 0) =>
                {
                    self.failures += 1;
                    tokio::time::sleep(RETRY_WAIT).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for what was not read yet; true when there is no more.
    async fn reopen(&mut self) -> Result<bool, ClientError> {
        let mut request = self.client.request(Method::GET, &["job", &self.id, "log"]);
        if self.follow {
            request = request.query(&[("follow", "1")]);
        }
        if self.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        match self.client.send(request).await {
            Ok(response) => {
                self.skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { self.offset };
                self.open = Some(response);
                Ok(false)
            }
            Err(ClientError::Refused { status: 416, .. }) => self.is_complete().await,
            Err(error) => Err(error),
        }
    }

    /// Was all read that there is to read? A followed log has ended only when its job has: a server that stops ends it,
    /// too. Else this is a failure, after which it is tried again.
    async fn is_complete(&mut self) -> Result<bool, ClientError> {
        if !self.follow || self.client.job(&self.id).await?.is_over() {
            return Ok(true);
        }
        // So that it is tried again also when nothing was read yet.
        self.failures += 1;
        let url = self.client.base.to_string();
        Err(ClientError::Unreachable { url, cause: "it ended the log before the job ended".into() })
    }
}

#[cfg(test)]
mod tests;
