//! The connection to an engine: where it listens, and how a request gets there and its answer back.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::errors::{EngineError, one_line};
use super::ssh::{SshAccess, SshEngine};
use super::tls::EngineTls;
use crate::engine::advice::{self, with_cure};
use crate::outbound::{chain, is_loopback_host};

/// Limit for the time that it takes to reach the engine.
const CONNECT: Duration = Duration::from_secs(30);
/// Silence after which an engine on TCP is probed, and the interval of the probes. An engine that vanished during a
/// build is noticed after about two minutes, because Linux gives up after nine probes. An engine that works silently
/// is kept.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Time limit of a small request. Builds and pushes have no such limit.
pub(in crate::engine) const SMALL_REQUEST: Duration = Duration::from_secs(60);

/// Size limit of an answer. `/system/df` has 500 bytes for each of the thousands of records that a build cache may
/// have.
const MAX_ANSWER: usize = 64 << 20;

/// The address of a Docker engine, in the form of `DOCKER_HOST`: `unix:///path`, `tcp://host:port` or `ssh://user@host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(PathBuf),
    /// `host:port` on loopback only, because everyone who reaches an engine without TLS is root on its machine.
    Tcp(String),
    Tls(EngineTls),
    Ssh(SshEngine),
}

impl Host {
    /// Parses an address. `certs` is the folder of the certificates if `tcp://` speaks TLS, and `ssh` is what ssh needs to
    /// connect; without it the address is checked alone.
    ///
    /// # Errors
    /// The fault of `text` or of the files, and its remedy.
    pub fn new(text: &str, certs: Option<PathBuf>, ssh: Option<Arc<SshAccess>>) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("ssh://") {
            return SshEngine::parse(address, ssh).map(Self::Ssh);
        }
        match (text.strip_prefix("tcp://"), certs) {
            (Some(address), Some(certs)) => {
                let (name, address) = name_and_address(address, 2376)?;
                EngineTls::new(address, &name, certs).map(Self::Tls)
            }
            _ => text.parse(),
        }
    }

    /// Returns the name of the engine's machine; `None` for this one.
    pub fn machine(&self) -> Option<String> {
        let name = match self {
            Self::Unix(_) | Self::Tcp(_) => None,
            Self::Tls(EngineTls { address, .. }) => name_and_address(address, 2376).ok().map(|(name, _)| name),
            Self::Ssh(engine) => Some(engine.machine().into()),
        };
        name.filter(|name| !is_loopback_host(name))
    }
}

/// Parses the address of an engine that is reached without TLS.
impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err("the path of the socket is not absolute: write unix:///var/run/docker.sock".into()),
            };
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(
                "the address has an unknown form: write unix:///path, tcp://host:port or ssh://user@host".into()
            );
        };
        let (name, address) = name_and_address(address, 2375)?;
        if !is_loopback_host(&name) {
            return Err("plain TCP beyond loopback gives root to everyone: set DOCKER_TLS_VERIFY=1, and \
                        DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem, or write ssh://user@host"
                .into());
        }
        Ok(Self::Tcp(address))
    }
}

/// Splits `[::1]:2376` into the name `::1` and the whole address.
fn name_and_address(text: &str, usual_port: u16) -> Result<(String, String), String> {
    let address = text.trim_end_matches('/');
    match address.rsplit_once(':').filter(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok()) {
        Some((name, _)) => Ok((name.trim_start_matches('[').trim_end_matches(']').into(), address.into())),
        None => Err(format!("the address has no host or no port: write tcp://host:{usual_port}")),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls(EngineTls { address, .. }) => write!(f, "tcp://{address}"),
            Self::Ssh(engine) => write!(f, "{engine}"),
        }
    }
}

pub(in crate::engine) type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(in crate::engine) fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The bytes of a connection to an engine.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection for several requests, one after another. No second one is opened where it has ended.
pub(in crate::engine) struct Conversation {
    sender: http1::SendRequest<RequestBody>,
    _connection: AbortOnDropHandle<()>,
}

impl Conversation {
    /// Asks for JSON, and reads the whole answer.
    ///
    /// # Errors
    /// The connection has ended, the engine refuses the request, or it does not answer within a minute.
    pub(in crate::engine) async fn json<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, EngineError> {
        let ask = async {
            self.sender.ready().await.map_err(|e| EngineError::broken(&e))?;
            let request = request(Method::GET, path).body(no_body()).map_err(invalid)?;
            let response = self.sender.send_request(request).await.map_err(|e| EngineError::broken(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(|e| EngineError::broken(&*e))?.to_bytes();
            serde_json::from_slice(&body).map_err(|e| {
                EngineError::engine(format!("the Docker engine answered {path} with {status} and unexpected JSON: {e}"))
            })
        };
        let late = |_| EngineError::engine(advice::NO_ANSWER.fill(&[&path, &format!("{SMALL_REQUEST:?}")]));
        tokio::time::timeout(SMALL_REQUEST, ask).await.map_err(late)?
    }
}

/// An answer whose head has arrived. Dropping it closes the connection, by which the engine learns that a build or a
/// push is cancelled.
pub(in crate::engine) struct Reply {
    pub response: hyper::Response<Incoming>,
    /// Address that was asked, in the form of DOCKER_HOST.
    host: String,
    connection: AbortOnDropHandle<()>,
}

impl Host {
    /// Opens a connection, which costs 50 µs on a Unix socket and 3 ms with TLS on loopback.
    ///
    /// # Errors
    /// The engine cannot be reached, with the remedy.
    pub async fn open(&self) -> Result<Box<dyn ByteStream>, EngineError> {
        let tunnel = self.reach().await?;
        let dialed = tokio::time::timeout(CONNECT, self.dial(tunnel)).await;
        dialed.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(|e| {
            if let Some(why) = self.explain(&e) {
                return EngineError::named_engine(format!("the Docker engine at {self} cannot be used: {why}"));
            }
            let advice = match e.kind() {
                ErrorKind::PermissionDenied => advice::FORBIDDEN,
                _ => advice::UNREACHABLE,
            };
            EngineError::named_engine(with_cure(&advice, &[self, &e]))
        })
    }

    /// Opens a connection for several requests.
    ///
    /// # Errors
    /// The engine cannot be reached, with the remedy.
    pub(in crate::engine) async fn converse(&self) -> Result<Conversation, EngineError> {
        let stream = TokioIo::new(self.open().await?);
        let (sender, connection) = http1::handshake(stream).await.map_err(|e| EngineError::broken(&e))?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Conversation { sender, _connection: AbortOnDropHandle::new(connection) })
    }

    /// Sends a request on a connection of its own.
    pub(in crate::engine) async fn send(&self, request: Request<RequestBody>) -> Result<Reply, EngineError> {
        let stream = self.open().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| EngineError::broken(&e))?;
        // An error of the connection shows in the answer.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            Err(e) => return Err(self.no_answer(&e).await),
        };
        if let Self::Ssh(engine) = self {
            engine.note_answer();
        }
        Ok(Reply { response, host: self.to_string(), connection })
    }

    /// Connects to the machine of an engine that is reached by ssh, if there is no connection, and returns the socket that
    /// leads there. Does nothing for another engine.
    pub(in crate::engine) async fn reach(&self) -> Result<Option<PathBuf>, EngineError> {
        let Self::Ssh(engine) = self else { return Ok(None) };
        let late = |_| EngineError::named_engine(with_cure(&advice::SSH_UNREACHABLE, &[self, &"it took too long"]));
        tokio::time::timeout(CONNECT, engine.reach()).await.map_err(late)?.map(Some)
    }

    /// Returns the error for a request that got no answer.
    async fn no_answer(&self, error: &hyper::Error) -> EngineError {
        let refused = match self {
            Self::Ssh(engine) => engine.refused_channel().await,
            _ => None,
        };
        match (refused, self.explain(error)) {
            (Some(refused), _) => refused,
            (None, Some(why)) => {
                EngineError::named_engine(format!("the Docker engine at {self} cannot be used: {why}"))
            }
            (None, None) => EngineError::broken(error),
        }
    }

    /// `tunnel` is the socket that [`Host::reach`] returned.
    async fn dial(&self, tunnel: Option<PathBuf>) -> io::Result<Box<dyn ByteStream>> {
        Ok(match self {
            Self::Ssh(_) => Box::new(UnixStream::connect(tunnel.unwrap_or_default()).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(connect(address).await?),
            Self::Tls(tls) => Box::new(tls.handshake(connect(&tls.address).await?).await?),
        })
    }

    /// Returns the meaning and the cure of an error of the connection, if its own text does not say them.
    fn explain(&self, error: &(dyn std::error::Error + 'static)) -> Option<String> {
        match self {
            Self::Tls(tls) => tls.explain(error),
            // A server that expects TLS answers plain HTTP with an alert of TLS.
            Self::Tcp(_) if error.downcast_ref::<hyper::Error>()?.is_parse() => {
                Some(with_cure(&advice::NO_PLAIN_HTTP, &[&error]))
            }
            _ => None,
        }
    }

    /// Sends a small request whose answer is JSON.
    pub(in crate::engine) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, EngineError> {
        let body = self.ask(method, path, SMALL_REQUEST).await?;
        serde_json::from_slice(&body).map_err(|e| match body.trim_ascii_start().first() {
            Some(b'{' | b'[') => {
                EngineError::engine(format!("the Docker engine answered {path} with unexpected JSON: {e}"))
            }
            _ => {
                let answer = format!("{path} answers with no JSON");
                EngineError::named_engine(with_cure(&advice::NO_ENGINE_THERE, &[self, &answer]))
            }
        })
    }

    /// Sends a request without a body and returns its whole answer, of at most 64 MiB.
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
        let late = |_| EngineError::engine(advice::NO_ANSWER.fill(&[&path, &format!("{limit:?}")]));
        tokio::time::timeout(limit, ask).await.map_err(late)?
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE.0)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE.1)?;
    Ok(stream)
}

/// Begins a request to the engine, which requires a `Host` header of any value.
pub(in crate::engine) fn request(method: Method, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "docker")
}

pub(in crate::engine) fn invalid(error: hyper::http::Error) -> EngineError {
    EngineError::engine(format!("the request to the Docker engine cannot be written: {}", chain(&error)))
}

impl Reply {
    /// Returns the answer itself, or an error with the engine's `message` if the status is one.
    pub(in crate::engine) async fn accepted(self) -> Result<Self, EngineError> {
        match self.response.status() {
            status if status.is_client_error() || status.is_server_error() => {
                Err(EngineError { status: Some(status), ..self.refusal(status).await })
            }
            _ => Ok(self),
        }
    }

    async fn refusal(self, status: StatusCode) -> EngineError {
        let host = self.host.clone();
        let body = self.bytes().await.unwrap_or_default();
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        // Podman tells that a push has failed by a message of a stream.
        let messages = [&told["message"], &told["errorDetail"]["message"], &told["error"]];
        match messages.into_iter().find_map(Value::as_str) {
            Some(message) => EngineError::engine(message),
            // Go's HTTPS server answers plain HTTP with this text.
            None if body.starts_with(b"Client sent an HTTP request to an HTTPS server") => {
                EngineError::engine(with_cure(&advice::ONLY_HTTPS, &[]))
            }
            None if body.trim_ascii_start().starts_with(b"<") => {
                let answer = format!("it answers {status} with a web page");
                EngineError::named_engine(with_cure(&advice::NO_ENGINE_THERE, &[&host, &answer]))
            }
            // Podman and old engines answer with plain text.
            None => EngineError::engine(format!(
                "the Docker engine answered {status}: {}",
                one_line(&String::from_utf8_lossy(&body))
            )),
        }
    }

    /// Returns the answer without the handle of its connection, which then ends with the answer's body.
    pub(in crate::engine) fn into_response(self) -> hyper::Response<Incoming> {
        self.connection.detach();
        self.response
    }

    /// Reads the answer as JSON.
    pub(in crate::engine) async fn json<T: DeserializeOwned>(self) -> Result<T, EngineError> {
        let body = self.bytes().await?;
        serde_json::from_slice(&body)
            .map_err(|e| EngineError::engine(format!("the Docker engine answered with unexpected JSON: {e}")))
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
    }

    #[test]
    fn a_malformed_address_is_refused_with_the_right_form() {
        let malformed = ["", "http://127.0.0.1:1", "unix://x", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://:1"];
        let errors = malformed.map(|text| format!("{text:?}: {}", text.parse::<Host>().unwrap_err())).join("\n");
        insta::assert_snapshot!(errors, @r#"
        "": the address has an unknown form: write unix:///path, tcp://host:port or ssh://user@host
        "http://127.0.0.1:1": the address has an unknown form: write unix:///path, tcp://host:port or ssh://user@host
        "unix://x": the path of the socket is not absolute: write unix:///var/run/docker.sock
        "tcp://127.0.0.1": the address has no host or no port: write tcp://host:2375
        "tcp://127.0.0.1:x": the address has no host or no port: write tcp://host:2375
        "tcp://:1": the address has no host or no port: write tcp://host:2375
        "#);
    }

    #[test]
    fn a_socket_needs_no_certificates() {
        let host = Host::new("unix:///var/run/docker.sock", Some("/nowhere".into()), None).unwrap();
        assert_eq!(host, Host::Unix("/var/run/docker.sock".into()));
        let error = Host::new("tcp://docker.example:2376", Some("/nowhere".into()), None).unwrap_err();
        assert!(error.contains("/nowhere/ca.pem cannot be read") && error.contains("DOCKER_CERT_PATH"), "{error}");
    }

    /// Answers every connection with the same bytes.
    async fn told(answer: &'static [u8]) -> Host {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::Tcp(listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        host
    }

    #[tokio::test]
    async fn a_server_that_is_no_engine_is_named() {
        for answer in [
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n<html>\xff not here</html>"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nwelcome",
        ] {
            let host = told(answer).await;
            let error = host.json::<()>(Method::GET, "/version").await.unwrap_err();
            let expected = format!("no Docker engine answers at {host} (");
            assert!(
                error.message.starts_with(&expected) && error.message.ends_with(": correct DOCKER_HOST"),
                "{error}"
            );
        }
        let error = told(b"").await.json::<()>(Method::GET, "/version").await.unwrap_err();
        assert!(error.message.contains("before it answered"), "{error}");
    }

    #[tokio::test]
    async fn an_absent_engine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::Unix(dir.path().join("none.sock"));
        let error = host.json::<()>(Method::GET, "/version").await.unwrap_err();
        assert!(error.message.contains("none.sock") && error.message.contains("DOCKER_HOST"), "{error}");
    }
}
