//! The HTTP client that the command line uses.

mod engines;
mod error;
mod log;
mod notifications;
mod secrets;
#[cfg(test)]
mod tests;
mod tokens;
mod views;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::model::ListenAddress;
use crate::outbound::{self, Route, is_loopback, trust_certificates};
use error::innermost;
use log::LogReading;

pub use crate::model::{Millis, Status, WaitReason};
pub use engines::{RemoteEngine, RemoteEngineDisk, RemoteEngineJob};
pub use error::{ClientError, ErrorAnswer};
pub use notifications::RemoteNotification;
pub use secrets::{RemoteSecret, RemoteSecrets};
pub use tokens::RemoteToken;
pub use views::{
    FreshBuild, JobSearch, NewRemoteBuild, NewRemoteJob, RemoteDelivery, RemoteJob, RemoteReadiness, Stage,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for every answer but a log. The server itself gives up after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Interval of TCP keepalives. A followed log may be silent for long, and without them a vanished machine is never noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client of one server, with one token.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
    /// The address in messages: that of the socket, if there is one.
    shown: String,
    token: Option<Zeroizing<String>>,
}

/// True if the address is one of this machine's own, which no other machine answers.
pub fn is_this_machine(url: &str) -> bool {
    ListenAddress::socket_path(url).is_some() || Url::parse(url).is_ok_and(|url| is_loopback(&url))
}

/// True if both addresses lead to one daemon of this machine, also where loopback has two names.
pub fn is_same_place(url: &str, other: &str) -> bool {
    let port = |url: &str| Url::parse(url).ok().filter(is_loopback).and_then(|url| url.port_or_known_default());
    url == other || (port(url).is_some() && port(url) == port(other))
}

impl ApiClient {
    /// `url` is `http[s]://host[:port][/path]`, or `unix:/path` of a socket. `trusted` has certificates in PEM form that
    /// are trusted beside the system's authorities.
    pub fn new(url: &str, token: Option<Zeroizing<String>>, trusted: Option<&[u8]>) -> Result<Self, ClientError> {
        let refuse = |cause: String| ClientError::Address { url: url.into(), cause };
        let socket = ListenAddress::socket_path(url);
        let base = Url::parse(if socket.is_some() { "http://localhost" } else { url });
        let base = base.map_err(|error| refuse(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(refuse("it is no http address".into()));
        }
        let http = outbound::client(Route::to(&base)).connect_timeout(CONNECT_TIMEOUT).tcp_keepalive(KEEPALIVE);
        let http = match trusted {
            Some(pem) => {
                trust_certificates(http, pem).map_err(|why| refuse(format!("the file of its certificate {why}")))?
            }
            None => http,
        };
        let http = match socket {
            Some(path) => http.unix_socket(path),
            None => http,
        };
        let http = http.build().map_err(|error| refuse(innermost(&error)))?;
        let shown = if socket.is_some() { url.into() } else { base.to_string() };
        Ok(Self { http, base, shown, token })
    }

    /// The address of the server.
    pub fn base(&self) -> &str {
        self.shown.trim_end_matches('/')
    }

    /// Asks whether the server takes jobs. It needs no token, and an answer 503 is an error.
    pub async fn readiness(&self) -> Result<RemoteReadiness, ClientError> {
        self.json(self.request(Method::GET, &["ready"])).await
    }

    pub async fn create(&self, job: &NewRemoteJob) -> Result<RemoteJob, ClientError> {
        self.json(self.request(Method::POST, &["job"]).json(job)).await
    }

    /// Lists jobs, the newest first.
    pub async fn jobs(&self, query: &JobSearch) -> Result<Vec<RemoteJob>, ClientError> {
        self.json(self.request(Method::GET, &["job"]).query(query)).await
    }

    pub async fn job(&self, id: &str) -> Result<RemoteJob, ClientError> {
        self.json(self.request(Method::GET, &["job", id])).await
    }

    pub async fn cancel(&self, id: &str) -> Result<RemoteJob, ClientError> {
        self.json(self.request(Method::POST, &["job", id, "cancel"])).await
    }

    pub async fn rebuild(&self, id: &str, build: FreshBuild) -> Result<RemoteJob, ClientError> {
        let body = serde_json::json!({ "build": build });
        self.json(self.request(Method::POST, &["job", id, "rebuild"]).json(&body)).await
    }

    /// Lists deliveries, newest first, at most 1,000.
    pub async fn deliveries(&self, limit: u32) -> Result<Vec<RemoteDelivery>, ClientError> {
        self.json(self.request(Method::GET, &["deliveries"]).query(&[("limit", limit)])).await
    }

    /// Makes a new job of a delivery.
    pub async fn replay_delivery(&self, delivery: &str) -> Result<RemoteJob, ClientError> {
        self.json(self.request(Method::POST, &["deliveries", delivery, "replay"])).await
    }

    /// Streams the log from a position on: what there is, or with `follow` until the job ends. A broken connection is
    /// resumed where it broke.
    pub fn log(&self, id: &str, start: u64, follow: bool) -> impl Stream<Item = Result<Bytes, ClientError>> + use<> {
        let reading = LogReading::new(self.clone(), id, start, follow);
        stream::try_unfold(reading, async |mut reading| Ok(reading.next().await?.map(|bytes| (bytes, reading))))
    }

    /// Opens a path of the container in which a job was tested. Returns true with a folder, which comes as a tar. An answer
    /// that is cut off ends with an error.
    pub async fn files(
        &self,
        id: &str,
        path: &str,
    ) -> Result<(bool, impl Stream<Item = Result<Bytes, ClientError>> + use<>), ClientError> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        let path: Vec<_> = ["job", id, "files"].into_iter().chain(parts).collect();
        let response = self.send(self.request(Method::GET, &path)).await?;
        let is_folder = response.headers().get("content-type").is_some_and(|said| said == "application/x-tar");
        let client = self.clone();
        Ok((is_folder, response.bytes_stream().map_err(move |error| client.unreachable(&error))))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // A URL with a host has a path, so this does not fail.
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
            .map_err(|error| ClientError::UnexpectedAnswer { url: self.shown.clone(), cause: error.to_string() })
    }

    /// Sends the request. Returns the answer if its status is a success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = self.shown.clone();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(&body) else {
            return Err(match status.is_server_error() {
                true => ClientError::Unavailable { url, status: status.as_u16(), message: "no reason given".into() },
                // A port that speaks TLS says so to a plain request.
                false => {
                    let said: String =
                        String::from_utf8_lossy(&body).chars().take_while(|c| !c.is_control()).take(100).collect();
                    ClientError::UnexpectedAnswer {
                        url,
                        cause: format!("status {status} {said}").trim_end().to_owned(),
                    }
                }
            });
        };
        let status = status.as_u16();
        Err(match status {
            500.. => ClientError::Unavailable { url, status, message: answer.sentence() },
            _ => ClientError::Refused { status, answer },
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.shown.clone(), cause: innermost(error) }
    }
}
