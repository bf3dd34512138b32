use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tempfile::TempDir;

use super::token_server::{ISSUER, SERVICE};
use super::{Account, Proc, Served, TokenCall, TokenServer, folder, http_client, listen_at, start};

/// The registry's treatment of pushes and pulls, until another one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// This many manifests are answered with this status. (An upload would be retried by the
    /// engine itself, for 50 s, before our daemon sees it.)
    Manifests {
        status: u16,
        times: usize,
    },
    /// The manifest of this tag is answered with this status.
    Tag {
        tag: &'static str,
        status: u16,
    },
    /// Every manifest that is pushed is answered with this status and this body, in JSON or HTML.
    Refuse {
        status: u16,
        body: &'static str,
    },
    /// Every manifest that somebody asks for is answered with this status.
    Pulls {
        status: u16,
    },
    /// A manifest gets no answer.
    Hang,
}

/// A real registry, and before it a proxy that counts the calls and makes faults.
pub struct Registry {
    front: Served,
    state: Arc<Front>,
    _server: Proc,
    /// The registry's own, without the proxy.
    port: u16,
    auth: Auth,
    client: reqwest::Client,
    dir: TempDir,
}

/// The login that a registry requires.
enum Auth {
    None,
    Password(String, String),
    Tokens(TokenServer),
}

impl Registry {
    pub async fn open() -> Self {
        Self::new(Auth::None).await
    }

    pub async fn with_password(user: &str, password: &str) -> Self {
        Self::new(Auth::Password(user.into(), password.into())).await
    }

    /// One that takes the bearer tokens of a server of its own.
    pub async fn with_tokens(accounts: &[Account]) -> Self {
        Self::new(Auth::Tokens(TokenServer::start(accounts))).await
    }

    /// The same with a token server on 127.0.0.2, which is another host as far as names go.
    pub async fn with_tokens_elsewhere(accounts: &[Account]) -> Self {
        Self::new(Auth::Tokens(TokenServer::start_on(listen_at([127, 0, 0, 2].into()), accounts))).await
    }

    async fn new(login: Auth) -> Self {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        let auth = match &login {
            Auth::None => String::new(),
            Auth::Password(user, password) => {
                std::fs::write(at("htpasswd"), htpasswd(user, password)).unwrap();
                format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", at("htpasswd").display())
            }
            Auth::Tokens(tokens) => format!(
                "auth: {{token: {{realm: '{}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {}}}}}\n",
                tokens.realm(),
                tokens.certificate().display()
            ),
        };
        let (server, [port]) = start(
            "registry",
            &at("log"),
            |[port]| {
                let config = format!(
                    "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                     http: {{addr: '127.0.0.1:{port}', relativeurls: true}}\n{auth}",
                    at("data").display()
                );
                std::fs::write(at("config.yml"), config).unwrap();
                let mut command = Command::new("docker-registry");
                command.arg("serve").arg(at("config.yml"));
                command
            },
            async |[port]| tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok(),
        )
        .await;
        let client = http_client();
        let state = Arc::new(Front {
            upstream: format!("http://127.0.0.1:{port}"),
            client: client.clone(),
            fault: Mutex::new(Fault::None),
            calls: Mutex::default(),
            logins: AtomicUsize::new(0),
        });
        let front = Served::start(axum::Router::new().fallback(forward).with_state(state.clone()));
        Self { front, state, _server: server, port, auth: login, client, dir }
    }

    /// `127.0.0.1:PORT`, as in image names.
    pub fn address(&self) -> String {
        self.front.address.to_string()
    }

    /// Without the proxy.
    pub fn direct_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn fault(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// The requests for tokens so far.
    pub fn token_calls(&self) -> Vec<TokenCall> {
        match &self.auth {
            Auth::Tokens(tokens) => tokens.calls(),
            _ => vec![],
        }
    }

    /// Makes a token with this scope, which the registry takes.
    pub fn mint(&self, scope: &str) -> String {
        match &self.auth {
            Auth::Tokens(tokens) => tokens.mint(scope),
            _ => panic!("this registry takes no tokens"),
        }
    }

    /// Returns the number of uploads into this repository that were begun and neither completed nor cancelled.
    pub fn open_uploads(&self, repository: &str) -> usize {
        let uploads = format!("data/docker/registry/v2/repositories/{repository}/_uploads");
        // The registry leaves a folder with the state of a hash for an upload that was cancelled.
        let is_open = |upload: &std::fs::DirEntry| upload.path().join("startedat").exists();
        std::fs::read_dir(self.dir.path().join(uploads)).map_or(0, |all| all.flatten().filter(is_open).count())
    }

    /// Returns the number of requests with this method, or with any, whose path contains `part`.
    pub fn calls(&self, method: &str, part: &str) -> usize {
        let is_wanted = |(m, path): &&(String, String)| (method.is_empty() || m == method) && path.contains(part);
        self.state.calls.lock().unwrap().iter().filter(is_wanted).count()
    }

    /// Returns the number of requests that came with a login.
    pub fn logins(&self) -> usize {
        self.state.logins.load(Ordering::Relaxed)
    }

    /// Returns true if the registry's folder has the tag. A request would cost 3 ms of a core for the password's hash,
    /// which a measurement must not spend.
    #[allow(dead_code, reason = "the benches use it")]
    pub fn has_tag(&self, repository: &str, tag: &str) -> bool {
        let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link");
        self.dir.path().join(tags).exists()
    }

    /// The configuration of an image by its tag; `None` if it is not there.
    pub async fn config(&self, repository: &str, tag: &str) -> Option<Value> {
        let (_, manifest) = self.manifest(repository, tag).await?;
        let digest = manifest["config"]["digest"].as_str()?;
        let blob = format!("data/docker/registry/v2/blobs/sha256/{}/{}/data", &digest[7..9], &digest[7..]);
        Some(serde_json::from_slice(&std::fs::read(self.dir.path().join(blob)).unwrap()).unwrap())
    }

    /// The digest and the content of a manifest by its tag or digest; `None` if it is not there.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Value)> {
        let url = format!("http://{}/v2/{repository}/manifests/{reference}", self.direct_address());
        let mut request = self.client.get(url);
        // Compose on containerd's image store pushes an index.
        for media in ["docker.distribution.manifest.v2", "oci.image.manifest.v1", "oci.image.index.v1"] {
            request = request.header("Accept", format!("application/vnd.{media}+json"));
        }
        request = match &self.auth {
            Auth::None => request,
            Auth::Password(user, password) => request.basic_auth(user, Some(password)),
            Auth::Tokens(tokens) => request.bearer_auth(tokens.mint(&format!("repository:{repository}:pull"))),
        };
        let response = request.send().await.unwrap();
        // While it writes a tag, a registry on a file system may answer 500.
        if response.status() != StatusCode::OK {
            return None;
        }
        let digest = response.headers()["docker-content-digest"].to_str().unwrap().to_string();
        Some((digest, response.json().await.unwrap()))
    }
}

fn htpasswd(user: &str, password: &str) -> Vec<u8> {
    let mut child = Command::new("htpasswd")
        .args(["-niB", "-C", "4", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    child.wait_with_output().unwrap().stdout
}

struct Front {
    upstream: String,
    client: reqwest::Client,
    fault: Mutex<Fault>,
    calls: Mutex<Vec<(String, String)>>,
    /// Number of requests with a login.
    logins: AtomicUsize,
}

impl Front {
    /// Returns the fault that this request meets. `None` lets it pass.
    fn strike(&self, method: &Method, path: &str) -> Option<Fault> {
        if !path.contains("/manifests/") {
            return None;
        }
        let mut fault = self.fault.lock().unwrap();
        if method != Method::PUT {
            return matches!(*fault, Fault::Pulls { .. }).then_some(*fault);
        }
        match *fault {
            Fault::None | Fault::Pulls { .. } => None,
            Fault::Manifests { times: 0, .. } => None,
            Fault::Manifests { status, times } => {
                *fault = Fault::Manifests { status, times: times - 1 };
                Some(Fault::Manifests { status, times })
            }
            Fault::Tag { tag, status } => {
                path.ends_with(&format!("/{tag}")).then_some(Fault::Manifests { status, times: 1 })
            }
            Fault::Hang | Fault::Refuse { .. } => Some(*fault),
        }
    }
}

async fn forward(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_string();
    front.calls.lock().unwrap().push((parts.method.to_string(), path.clone()));
    // Podman without a login sends one of an empty name and an empty password.
    if parts.headers.get("authorization").is_some_and(|login| login != "Basic Og==") {
        front.logins.fetch_add(1, Ordering::Relaxed);
    }
    match front.strike(&parts.method, &path) {
        None => {}
        Some(Fault::Manifests { status, .. } | Fault::Pulls { status }) => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Some(Fault::Refuse { status, body }) => {
            let kind = if body.starts_with('{') { "application/json" } else { "text/html" };
            return (StatusCode::from_u16(status).unwrap(), [("Content-Type", kind)], body).into_response();
        }
        Some(_) => std::future::pending().await,
    }
    let sent = front
        .client
        .request(parts.method, format!("{}{path}", front.upstream))
        .headers(parts.headers)
        .body(reqwest::Body::wrap_stream(body.into_data_stream()))
        .send()
        .await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(answer.bytes_stream())).unwrap()
}
