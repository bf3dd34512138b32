use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Served;

const JSON: &str = "application/vnd.git-lfs+json";

/// The server's treatment of downloads, until another one is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LfsFault {
    None,
    /// The batch is answered with this status.
    Batch(u16),
    /// The object is answered with this status.
    Object(u16),
    /// The object's content is this.
    Content(Vec<u8>),
    /// The object is elsewhere.
    Redirect(String),
    /// The batch says that it is there.
    Href(String),
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct LfsRequest {
    pub path: String,
    pub headers: HeaderMap,
}

/// A server that keeps LFS objects in memory and speaks the batch API with basic transfers. It also serves a folder of
/// bare repositories as plain files, which Git can fetch from.
pub struct LfsServer {
    server: Served,
    state: Arc<Kept>,
}

struct Kept {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<LfsRequest>>,
    fault: Mutex<LfsFault>,
    /// The Authorization that a batch must have.
    authorization: Option<String>,
    repositories: PathBuf,
}

impl LfsServer {
    /// Starts a server. With `authorization`, batches for downloads must have that header.
    pub fn start(authorization: Option<&str>, repositories: &Path) -> Self {
        let state = Arc::new(Kept {
            objects: Mutex::default(),
            requests: Mutex::default(),
            fault: Mutex::new(LfsFault::None),
            authorization: authorization.map(str::to_owned),
            repositories: repositories.into(),
        });
        Self { server: Served::start(axum::Router::new().fallback(answer).with_state(state.clone())), state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The LFS server of a repository.
    pub fn endpoint(&self, owner: &str, repo: &str) -> String {
        format!("{}/{owner}/{repo}.git/info/lfs", self.url())
    }

    pub fn fault(&self, fault: LfsFault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// Puts an object there; its pointer.
    pub fn put(&self, content: &[u8]) -> String {
        let oid = hex::encode(Sha256::digest(content));
        self.state.objects.lock().unwrap().insert(oid.clone(), content.into());
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len())
    }

    pub fn has(&self, content: &[u8]) -> bool {
        self.state.objects.lock().unwrap().contains_key(&hex::encode(Sha256::digest(content)))
    }

    /// Returns the requests since the last call.
    pub fn requests(&self) -> Vec<LfsRequest> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }
}

async fn answer(State(kept): State<Arc<Kept>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let (method, headers) = (parts.method, parts.headers);
    kept.requests.lock().unwrap().push(LfsRequest { path: path.clone(), headers: headers.clone() });
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if path.ends_with("/info/lfs/objects/batch") {
        return batch(&kept, &headers, &serde_json::from_slice(&body).unwrap());
    }
    if let Some((_, oid)) = path.split_once("/objects-of-lfs/") {
        return object(&kept, &method, &headers, oid, &body);
    }
    match std::fs::read(kept.repositories.join(path.trim_start_matches('/'))) {
        Ok(content) => content.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn batch(kept: &Kept, headers: &HeaderMap, request: &Value) -> Response {
    let says = |status: u16, message: &str| {
        (StatusCode::from_u16(status).unwrap(), json!({"message": message}).to_string()).into_response()
    };
    let is_json = |name| headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.starts_with(JSON));
    if !is_json(header::ACCEPT) || !is_json(header::CONTENT_TYPE) {
        return says(406, "that is not how LFS is asked");
    }
    let operation = request["operation"].as_str().unwrap();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if operation == "download" && kept.authorization.as_deref() != authorization {
        return says(401, "who are you?");
    }
    let fault = kept.fault.lock().unwrap().clone();
    if let LfsFault::Batch(status) = fault {
        return says(status, "not today\nnor tomorrow");
    }
    let at = format!("http://{}/objects-of-lfs", headers[header::HOST].to_str().unwrap());
    let objects: Vec<_> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let oid = object["oid"].as_str().unwrap();
            let href = match &fault {
                LfsFault::Href(href) => href.clone(),
                _ => format!("{at}/{oid}"),
            };
            let action = json!({"href": href, "header": {"Authorization": format!("Object {oid}")}, "expires_in": 60});
            match (operation, kept.objects.lock().unwrap().contains_key(oid)) {
                ("upload", false) => json!({"oid": oid, "size": object["size"], "actions": {"upload": action}}),
                ("upload", true) => json!({"oid": oid, "size": object["size"]}),
                (_, true) => json!({"oid": oid, "size": object["size"], "actions": {"download": action}}),
                (_, false) => {
                    json!({"oid": oid, "size": object["size"], "error": {"code": 404, "message": "Object does not exist"}})
                }
            }
        })
        .collect();
    let answer = json!({"transfer": "basic", "objects": objects}).to_string();
    ([(header::CONTENT_TYPE, JSON)], answer).into_response()
}

fn object(kept: &Kept, method: &Method, headers: &HeaderMap, oid: &str, body: &[u8]) -> Response {
    let fault = kept.fault.lock().unwrap().clone();
    if method == Method::PUT {
        kept.objects.lock().unwrap().insert(oid.into(), body.into());
        return StatusCode::OK.into_response();
    }
    match fault {
        LfsFault::Object(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        LfsFault::Content(content) => return content.into_response(),
        LfsFault::Redirect(to) => {
            return (StatusCode::FOUND, [(header::LOCATION, format!("{to}/signed/objects-of-lfs/{oid}"))])
                .into_response();
        }
        _ => {}
    }
    // A signed URL, where a redirect leads to, opens it by itself; another header is one too many.
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let is_right = authorization.is_none_or(|value| value == format!("Object {oid}"));
    match kept.objects.lock().unwrap().get(oid) {
        Some(content) if is_right => content.clone().into_response(),
        Some(_) => StatusCode::BAD_REQUEST.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
