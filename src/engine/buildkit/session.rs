//! A build's session: a connection to the engine on which *we* are the server.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::health::{HealthCheckResponse, health_check_response::ServingStatus};
use bollard_buildkit_proto::moby::filesync::v1::{CredentialsRequest, CredentialsResponse};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::secrets::Secrets;

use super::filesync::Tree;
use super::grpc::{self, Status};
use crate::engine::api::connect::{Host, invalid, no_body, request};
use crate::engine::api::errors::EngineError;
use crate::outbound::chain;

const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const TOKEN_AUTHORITY: &str = "/moby.filesync.v1.Auth/GetTokenAuthority";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// One session serves one build: the engine does not sync again in a second build on it, and
/// builds a stale image. Dropping it ends it and all that it runs.
pub(in crate::engine) struct Session {
    pub id: String,
    tasks: Tasks,
    _connection: AbortOnDropHandle<()>,
}

/// Why there is no session.
pub(in crate::engine) enum NoSession {
    /// The engine does not know sessions, or something between does not let them pass.
    Refused(String),
    Failed(EngineError),
}

impl Session {
    /// Opens a session. `shared_key` names the context that the engine keeps between builds.
    pub(in crate::engine) async fn open(
        host: &Host,
        shared_key: &str,
        tree: Arc<Tree>,
        secrets: Arc<Secrets>,
    ) -> Result<Self, NoSession> {
        let id = Uuid::now_v7().simple().to_string();
        let mut request = request(Method::POST, "/session")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", &id)
            .header("X-Docker-Expose-Session-Name", "image-factory")
            .header("X-Docker-Expose-Session-Sharedkey", shared_key);
        // A method that is not named here does not exist for the engine.
        for method in [DIFF_COPY, CREDENTIALS, TOKEN_AUTHORITY, HEALTH] {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let request = request.body(no_body()).map_err(|e| NoSession::Failed(invalid(e)))?;
        let reply = host.send(request).await.map_err(NoSession::Failed)?;
        let status = reply.response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(NoSession::Refused(format!("the engine answered POST /session with {status}")));
        }
        let upgraded = hyper::upgrade::on(reply.response).await.map_err(|e| NoSession::Refused(chain(&e)))?;

        let tasks = Tasks::default();
        let service = {
            let tasks = tasks.clone();
            service_fn(move |request| serve(request, tree.clone(), secrets.clone(), tasks.clone()))
        };
        let connection = http2(tasks.clone()).serve_connection(upgraded, service);
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // A session that ends early shows as a failed build.
            let _ = connection.await;
        }));
        Ok(Self { id, tasks, _connection: connection })
    }
}

fn http2(tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        // Patterns travel as headers: 400 lines of .dockerignore exceed the usual 16 KiB.
        .max_header_list_size(4 << 20)
        // Each request for a file is a frame of about 12 bytes. The h2 crate (0.4.19 and later) ends
        // a connection with ENHANCE_YOUR_CALM when unread small frames, 256 bytes each, exceed half
        // its window. With hyper's windows those are 2,100 frames, and one first sync of 20,000 files
        // in ten failed. With these a stream is full before.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(64 << 20);
    builder
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
    }
}

/// What a session runs besides its connection, so that it ends with it.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        // The engine asks for our health every second: forget what has ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

async fn serve(
    request: Request<Incoming>,
    tree: Arc<Tree>,
    secrets: Arc<Secrets>,
    tasks: Tasks,
) -> Result<Response<grpc::Body>, Infallible> {
    Ok(match request.uri().path() {
        DIFF_COPY => {
            let (head, body) = request.into_parts();
            let (out, frames) = mpsc::channel(8);
            tasks.spawn(async move { tree.diff_copy(head.headers, body, out).await });
            grpc::answer(ReceiverStream::new(frames).fuse())
        }
        CREDENTIALS => {
            let answer = async |asked: CredentialsRequest| Ok(credentials(&secrets, &asked.host));
            grpc::unary(request, answer).await
        }
        // Tokens are the engine's to fetch, with the credentials that it asks for next.
        TOKEN_AUTHORITY => grpc::refusal(Status::unavailable("no tokens are made here")),
        HEALTH => {
            let serving = HealthCheckResponse { status: ServingStatus::Serving.into() };
            grpc::unary(request, async |(): ()| Ok(serving)).await
        }
        path => grpc::refusal(Status::unimplemented(path)),
    })
}

/// The credentials of exactly this registry; empty for none, as Docker's own client answers.
fn credentials(secrets: &Secrets, host: &str) -> CredentialsResponse {
    match secrets.registry_auth(host) {
        None => CredentialsResponse::default(),
        Some(auth) => match auth.identity_token {
            Some(token) => CredentialsResponse { username: String::new(), secret: token.to_string() },
            None => CredentialsResponse { username: auth.username, secret: auth.password.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;
    use hyper_util::rt::TokioIo;
    use tokio::sync::Notify;

    use super::*;

    /// The engine asks for files much faster than we read.
    #[tokio::test]
    async fn many_small_frames_may_wait() {
        const FRAMES: usize = 50_000;
        let full = Arc::new(Notify::new());
        let service = {
            let full = full.clone();
            service_fn(move |request: Request<Incoming>| {
                let full = full.clone();
                async move {
                    full.notified().await;
                    for _ in 0..1000 {
                        tokio::task::yield_now().await;
                    }
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body.len(), FRAMES * 12);
                    Ok::<_, Infallible>(grpc::refusal(Status::unavailable("all was read")))
                }
            })
        };
        // A stream's window is full after 21,845 frames.
        let frames = stream::iter(0..FRAMES).map(move |i| {
            if i == 21_000 {
                full.notify_one();
            }
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 12])))
        });
        let (client, server) = tokio::io::duplex(1 << 20);
        let tasks = Tasks::default();
        let server = http2(tasks.clone()).serve_connection(TokioIo::new(server), service);
        let _server = AbortOnDropHandle::new(tokio::spawn(server));
        let (mut sender, client) = hyper::client::conn::http2::handshake(tasks, TokioIo::new(client)).await.unwrap();
        let _client = AbortOnDropHandle::new(tokio::spawn(client));
        let request = Request::post("http://localhost/").body(StreamBody::new(frames).boxed_unsync()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let trailers = answer.into_body().collect().await.unwrap().trailers().cloned().unwrap();
        assert_eq!(trailers["grpc-message"], "all was read");
    }
}
