use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::errors::EngineError;
use super::tls::Tls;
use crate::outbound::{chain, is_loopback_host};

/// How long it may take to reach the engine.
const CONNECT: Duration = Duration::from_secs(30);
/// When and how often a silent engine on TCP is probed. One that vanished in a build is noticed after about two minutes
/// (Linux gives up after nine probes), one that works without a word stays.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How long a small request may take. Builds and pushes have no such limit.
pub(in crate::engine) const SMALL_REQUEST: Duration = Duration::from_secs(60);

/// `/system/df` tells of each of the thousands of records that a build cache may have, 500 bytes each.
const MAX_ANSWER: usize = 64 << 20;

/// Where a Docker engine listens, as `DOCKER_HOST` has it: `unix:///path` or `tcp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    /// `host:port`, loopback only: whoever reaches an engine without TLS is root on its machine.
    Tcp(String),
    Tls(Tls),
}

impl Host {
    /// `certs` is the folder of the certificates if `tcp://` is to speak TLS.
    ///
    /// # Errors
    /// What is wrong with `text` or with the files, and what to do.
    pub fn new(text: &str, certs: Option<PathBuf>) -> Result<Self, String> {
        match (text.strip_prefix("tcp://"), certs) {
            (Some(address), Some(certs)) => {
                let (name, address) = name_and_address(address, 2376)?;
                Tls::new(address, &name, certs).map(Self::Tls)
            }
            _ => text.parse(),
        }
    }
}

/// A host without TLS.
impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err("it has no absolute path: write unix:///var/run/docker.sock".into()),
            };
        }
        if text.starts_with("ssh://") {
            return Err("ssh is not spoken: forward the socket with `ssh -NL /path/engine.sock:/var/run/docker.sock \
                        user@host` and write unix:///path/engine.sock, or use TLS"
                .into());
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err("it is neither unix:///path nor tcp://host:port".into());
        };
        let (name, address) = name_and_address(address, 2375)?;
        if !is_loopback_host(&name) {
            return Err("an engine on plain TCP beyond loopback gives root to everyone: set DOCKER_TLS_VERIFY=1, and \
                        DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem"
                .into());
        }
        Ok(Self::Tcp(address))
    }
}

/// `[::1]:2376` → `::1` and itself.
fn name_and_address(text: &str, usual_port: u16) -> Result<(String, String), String> {
    let address = text.trim_end_matches('/');
    match address.rsplit_once(':').filter(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok()) {
        Some((name, _)) => Ok((name.trim_start_matches('[').trim_end_matches(']').into(), address.into())),
        None => Err(format!("it has no host and port: write tcp://host:{usual_port}")),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls(Tls { address, .. }) => write!(f, "tcp://{address}"),
        }
    }
}

pub(in crate::engine) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(in crate::engine) fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An answer whose head has come. Dropping it closes the connection, which is how the engine
/// learns that a build or a push is cancelled.
pub(in crate::engine) struct Reply {
    pub response: hyper::Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Host {
    /// Sends a request on a connection of its own (a unix socket costs 50 µs, TLS on loopback 3 ms).
    pub(in crate::engine) async fn send(&self, request: Request<Body>) -> Result<Reply, EngineError> {
        let dialed = tokio::time::timeout(CONNECT, self.dial()).await;
        let stream = dialed.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(|e| {
            if let Some(why) = self.explain(&e) {
                return EngineError::engine(format!("the Docker engine at {self} cannot be used: {why}"));
            }
            let advice = match e.kind() {
                ErrorKind::PermissionDenied => "add this user to the socket's group (usually docker)",
                _ => "start it, or set DOCKER_HOST",
            };
            EngineError::engine(format!("cannot reach the Docker engine at {self} ({e}): {advice}"))
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| EngineError::broken(&e))?;
        // What goes wrong with the connection shows in the answer.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        let response = sender.send_request(request).await.map_err(|e| match self.explain(&e) {
            Some(why) => EngineError::engine(format!("the Docker engine at {self} cannot be used: {why}")),
            None => EngineError::broken(&e),
        })?;
        Ok(Reply { response, _connection: connection })
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(connect(address).await?),
            Self::Tls(tls) => Box::new(tls.handshake(connect(&tls.address).await?).await?),
        })
    }

    /// What an error of the connection means beyond its own words, and what to do.
    fn explain(&self, error: &(dyn std::error::Error + 'static)) -> Option<String> {
        match self {
            Self::Tls(tls) => tls.explain(error),
            // TLS answers plain HTTP with an alert.
            Self::Tcp(_) if error.downcast_ref::<hyper::Error>()?.is_parse() => {
                Some(format!("it does not speak plain HTTP ({error}): {SPEAK_TLS}"))
            }
            _ => None,
        }
    }

    /// A small request whose answer is JSON.
    pub(in crate::engine) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, EngineError> {
        let body = self.ask(method, path, SMALL_REQUEST).await?;
        serde_json::from_slice(&body)
            .map_err(|e| EngineError::engine(format!("the Docker engine answered {path} with other JSON: {e}")))
    }

    /// A request without a body; its whole answer, of at most 64 MiB.
    pub(in crate::engine) async fn ask(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Bytes, EngineError> {
        let ask = async {
            let reply = self.send(request(method, path).body(no_body()).map_err(invalid)?).await?;
            reply.accepted().await?.bytes().await
        };
        let late = |_| EngineError::engine(format!("the Docker engine did not answer {path} in {limit:?}"));
        tokio::time::timeout(limit, ask).await.map_err(late)?
    }
}

const SPEAK_TLS: &str = "if it speaks TLS, set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH";

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE.0)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE.1)?;
    Ok(stream)
}

/// A request to the engine, which wants a `Host` header and does not care which.
pub(in crate::engine) fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "docker")
}

pub(in crate::engine) fn invalid(error: hyper::http::Error) -> EngineError {
    EngineError::engine(format!("the request cannot be written: {}", chain(&error)))
}

impl Reply {
    /// The answer itself, or the engine's `message` when its status is an error.
    pub(in crate::engine) async fn accepted(self) -> Result<Self, EngineError> {
        match self.response.status() {
            status if status.is_client_error() || status.is_server_error() => {
                Err(EngineError { status: Some(status), ..EngineError::engine(self.message(status).await) })
            }
            _ => Ok(self),
        }
    }

    async fn message(self, status: StatusCode) -> String {
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        let body = self.bytes().await.unwrap_or_default();
        match serde_json::from_slice(&body) {
            Ok(Message { message }) => message,
            // Go's server says so on plain HTTP.
            Err(_) if body.starts_with(b"Client sent an HTTP request to an HTTPS server") => {
                format!("the Docker engine does not speak plain HTTP: {SPEAK_TLS}")
            }
            Err(_) => format!("the Docker engine answered {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    async fn bytes(self) -> Result<Bytes, EngineError> {
        let body = Limited::new(self.response.into_body(), MAX_ANSWER);
        Ok(body.collect().await.map_err(|e| EngineError::broken(&*e))?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_written() {
        for text in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://localhost:2375", "tcp://[::1]:2375"]
        {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_engine_beyond_loopback_is_refused() {
        for text in ["tcp://10.0.0.1:2375", "tcp://0.0.0.0:2375", "tcp://docker.example:2375", "tcp://[::]:2375"] {
            let error = text.parse::<Host>().unwrap_err();
            assert!(error.contains("beyond loopback") && error.contains("DOCKER_TLS_VERIFY"), "{text}: {error}");
        }
        for (text, word) in [
            ("", "neither"),
            ("http://127.0.0.1:1", "neither"),
            ("unix://x", "absolute"),
            ("tcp://127.0.0.1", "port"),
            ("tcp://127.0.0.1:x", "port"),
            ("tcp://:1", "port"),
            ("ssh://user@h", "ssh -NL"),
        ] {
            let error = text.parse::<Host>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_socket_needs_no_certificates() {
        let host = Host::new("unix:///var/run/docker.sock", Some("/nowhere".into())).unwrap();
        assert_eq!(host, Host::Unix("/var/run/docker.sock".into()));
        let error = Host::new("tcp://docker.example:2376", Some("/nowhere".into())).unwrap_err();
        assert!(error.contains("/nowhere/ca.pem cannot be read") && error.contains("DOCKER_CERT_PATH"), "{error}");
    }

    #[tokio::test]
    async fn an_absent_engine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::Unix(dir.path().join("none.sock"));
        let error = host.json::<()>(Method::GET, "/version").await.unwrap_err();
        assert!(error.message.contains("none.sock") && error.message.contains("DOCKER_HOST"), "{error}");
    }
}
