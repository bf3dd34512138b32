use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
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
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::errors::{EngineError, chain};

/// How long a small request may take. Builds and pushes have no such limit.
const SMALL_REQUEST: Duration = Duration::from_secs(60);

/// Where a Docker engine listens, as `DOCKER_HOST` has it: `unix:///path` or `tcp://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    /// `host:port`, loopback only: whoever reaches an engine without TLS is root on its machine.
    Tcp(String),
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("{text:?} has no absolute path: write unix:///var/run/docker.sock")),
            };
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(format!("{text:?} is neither unix:///path nor tcp://127.0.0.1:port"));
        };
        let address = address.trim_end_matches('/');
        let Some((name, port)) = address.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) else {
            return Err(format!("{text:?} has no port: write tcp://127.0.0.1:2375"));
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if name != "localhost" && !bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
            return Err(format!("{text:?} is refused: an engine on plain TCP beyond loopback gives root to everyone"));
        }
        Ok(Self::Tcp(format!("{name}:{port}")))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(super) fn no_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An answer whose head has come. Dropping it closes the connection, which is how the engine
/// learns that a build or a push is cancelled.
pub(super) struct Reply {
    pub response: hyper::Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Host {
    /// Sends a request on a connection of its own (a unix socket costs 50 µs).
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Reply, EngineError> {
        let stream = self.dial().await.map_err(|e| {
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
        let response = sender.send_request(request).await.map_err(|e| EngineError::broken(&e))?;
        Ok(Reply { response, _connection: connection })
    }

    async fn dial(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }

    /// A small request whose answer is JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, EngineError> {
        let ask = async {
            let reply = self.send(request(method, path).body(no_body()).map_err(invalid)?).await?;
            let body = reply.accepted().await?.bytes().await?;
            serde_json::from_slice(&body)
                .map_err(|e| EngineError::engine(format!("the Docker engine answered {path} with other JSON: {e}")))
        };
        tokio::time::timeout(SMALL_REQUEST, ask)
            .await
            .map_err(|_| EngineError::engine(format!("the Docker engine did not answer {path} in {SMALL_REQUEST:?}")))?
    }
}

/// A request to the engine, which wants a `Host` header and does not care which.
pub(super) fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "docker")
}

pub(super) fn invalid(error: hyper::http::Error) -> EngineError {
    EngineError::engine(format!("the request cannot be written: {}", chain(&error)))
}

impl Reply {
    /// The answer itself, or the engine's `message` when its status is an error.
    pub(super) async fn accepted(self) -> Result<Self, EngineError> {
        match self.response.status() {
            status if status.is_client_error() || status.is_server_error() => {
                Err(EngineError::engine(self.message(status).await))
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
            Err(_) => format!("the Docker engine answered {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    async fn bytes(self) -> Result<Bytes, EngineError> {
        let body = Limited::new(self.response.into_body(), 4 << 20);
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
            assert!(text.parse::<Host>().unwrap_err().contains("beyond loopback"), "{text}");
        }
        for text in ["", "unix://x", "tcp://127.0.0.1", "ssh://h", "http://127.0.0.1:1", "tcp://:1"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_absent_engine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::Unix(dir.path().join("none.sock"));
        let error = host.json::<()>(Method::GET, "/version").await.unwrap_err();
        assert!(error.message.contains("none.sock") && error.message.contains("DOCKER_HOST"), "{error}");
    }
}
