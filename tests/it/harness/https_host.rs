//! Repositories by https: Git's own `git http-backend`, as CGI, behind a certificate of an authority of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use futures_util::StreamExt;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::keys::succeed;
use super::{Repo, Served, folder, http_client};

/// The server's certificate, with its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    /// For another host.
    Foreign,
}

pub struct HttpsHost {
    server: Served,
    state: Arc<Host>,
    dir: TempDir,
}

#[derive(Default)]
struct Host {
    root: PathBuf,
    /// The `Authorization` that is let in; anyone if none.
    login: Mutex<Option<String>>,
    /// The status that replaces every answer.
    fault: Mutex<Option<StatusCode>>,
    /// The start of a path, and the start of the address that replaces it.
    redirect: Mutex<Option<(String, String)>>,
    /// The server that has the LFS objects.
    lfs: Mutex<Option<String>>,
    requests: Mutex<Vec<(String, Option<String>)>>,
}

impl HttpsHost {
    pub fn start() -> Self {
        Self::with(Certificate::Good)
    }

    pub fn with(certificate: Certificate) -> Self {
        let dir = folder();
        let state = Arc::new(Host { root: dir.path().join("git"), ..Host::default() });
        let router = axum::Router::new().fallback(answer).with_state(state.clone());
        let config = certify(dir.path(), certificate);
        Self { server: Served::start_tls(router, config), state, dir }
    }

    /// A PEM file with the authority.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// `localhost:PORT`
    pub fn host(&self) -> String {
        format!("localhost:{}", self.server.address.port())
    }

    /// A template with `{owner}` and `{repo}`.
    pub fn url(&self) -> String {
        format!("https://{}/{{owner}}/{{repo}}.git", self.host())
    }

    /// A new, empty repository.
    pub fn repo(&self, owner: &str, name: &str) -> Repo {
        Repo::create(&self.state.root.join(owner).join(format!("{name}.git")))
    }

    /// Lets in nobody but who has this header, such as `Basic …`.
    pub fn require(&self, authorization: &str) {
        *self.state.login.lock().unwrap() = Some(authorization.into());
    }

    /// Answers every request with this status, until it is 200.
    pub fn fault(&self, status: u16) {
        *self.state.fault.lock().unwrap() =
            StatusCode::from_u16(status).ok().filter(|status| *status != StatusCode::OK);
    }

    /// Whoever is let in is sent on from paths that start with `from` to addresses that start with `to`.
    pub fn redirect(&self, from: &str, to: &str) {
        *self.state.redirect.lock().unwrap() = Some((from.into(), to.into()));
    }

    /// Passes what is for LFS on to this address.
    pub fn lfs(&self, server: &str) {
        *self.state.lfs.lock().unwrap() = Some(server.into());
    }

    /// `METHOD PATH`, and the header `Authorization`, of every request so far.
    pub fn requests(&self) -> Vec<(String, Option<String>)> {
        self.state.requests.lock().unwrap().clone()
    }
}

fn certify(dir: &Path, certificate: Certificate) -> Arc<ServerConfig> {
    let openssl = |line: &str| {
        succeed(Command::new("openssl").args(line.split(' ')).current_dir(dir), b"");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=Test-authority -days 2"));
    let names = match certificate {
        Certificate::Foreign => "DNS:elsewhere.example",
        _ => "DNS:localhost,IP:127.0.0.1",
    };
    openssl(&format!("req -new {key} -keyout key.pem -out request.pem -subj /CN=test -addext subjectAltName={names}"));
    let days = if certificate == Certificate::Expired { -1 } else { 1 };
    let sign = "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -copy_extensions copy -out cert.pem -days";
    openssl(&format!("{sign} {days}"));
    let chain = vec![CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap())
}

async fn answer(
    State(host): State<Arc<Host>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let login = headers.contains_key("authorization").then(|| header("authorization"));
    host.requests.lock().unwrap().push((format!("{method} {uri}"), login.clone()));
    let plain = |status: StatusCode| Response::builder().status(status);
    if let Some(status) = *host.fault.lock().unwrap() {
        return plain(status).body(Body::empty()).unwrap();
    }
    if host.login.lock().unwrap().as_ref().is_some_and(|wanted| Some(wanted) != login.as_ref()) {
        let challenge = plain(StatusCode::UNAUTHORIZED).header("WWW-Authenticate", "Basic realm=\"git\"");
        return challenge.body(Body::empty()).unwrap();
    }
    if let Some((from, to)) = &*host.redirect.lock().unwrap()
        && let Some(rest) = uri.to_string().strip_prefix(from)
    {
        return plain(StatusCode::MOVED_PERMANENTLY)
            .header("Location", format!("{to}{rest}"))
            .body(Body::empty())
            .unwrap();
    }
    let lfs = host.lfs.lock().unwrap().clone();
    if let Some(server) = lfs.filter(|_| uri.path().contains("/info/lfs/")) {
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        // The server makes its objects' addresses from the `Host` header, which therefore has to be its own name.
        let headers = headers.into_iter().filter(|(name, _)| name.as_ref().is_none_or(|name| name != "host"));
        let headers = headers.filter_map(|(name, value)| Some((name?, value))).collect();
        let request = http_client().request(method, format!("{server}{uri}")).headers(headers).body(body);
        let answer = request.send().await.unwrap();
        return plain(answer.status()).body(Body::from(answer.bytes().await.unwrap())).unwrap();
    }
    let mut git = tokio::process::Command::new("git");
    git.arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("GIT_PROJECT_ROOT", &host.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"));
    let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdin = git.stdin.take().unwrap();
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        while let Some(Ok(bytes)) = body.next().await {
            // Git may have closed its input, because it has read enough.
            let _ = stdin.write_all(&bytes).await;
        }
    });
    let mut stdout = BufReader::new(git.stdout.take().unwrap());
    let mut response = Response::builder();
    loop {
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        match line.trim_end().split_once(": ") {
            Some(("Status", status)) => response = response.status(&status[..3]),
            Some((name, value)) => response = response.header(name, value),
            None => break,
        }
    }
    let stream = futures_util::stream::unfold((stdout, git), |(mut stdout, git)| async move {
        let mut chunk = Vec::with_capacity(64 << 10);
        let read = stdout.read_buf(&mut chunk).await;
        (read.unwrap_or(0) > 0).then(|| (Ok::<_, std::convert::Infallible>(Bytes::from(chunk)), (stdout, git)))
    });
    response.body(Body::from_stream(stream)).unwrap()
}
