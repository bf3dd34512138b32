//! The session of a build: a connection to the engine on which the daemon is the server.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::health::{HealthCheckResponse, health_check_response::ServingStatus};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, FetchTokenRequest, GetTokenAuthorityRequest, VerifyTokenAuthorityRequest,
};
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

use crate::engine::context::tree::Tree;

use super::base_logins::BaseLogins;
use super::filesync::DiffCopy;
use super::grpc::{self, GrpcStatus};
use crate::engine::api::connect::{invalid, no_body, request};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::outbound::chain;

const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const TOKEN_AUTHORITY: &str = "/moby.filesync.v1.Auth/GetTokenAuthority";
const VERIFY_AUTHORITY: &str = "/moby.filesync.v1.Auth/VerifyTokenAuthority";
const FETCH_TOKEN: &str = "/moby.filesync.v1.Auth/FetchToken";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A session. It serves one build only, because the engine does not sync again for a second build and would build a
/// stale image. Dropping a session ends it and its tasks.
pub(in crate::engine) struct Session {
    pub id: String,
    tasks: SessionTasks,
    _connection: AbortOnDropHandle<()>,
}

/// The reason why a session cannot be opened.
pub(in crate::engine) enum SessionError {
    /// The engine does not know sessions, or something between does not pass them on.
    Refused(String),
    Failed(EngineError),
}

impl Session {
    /// Opens a session. `shared_key` is the name of the context that the engine keeps between builds.
    pub(in crate::engine) async fn open(
        engine: &Engine,
        shared_key: &str,
        tree: Arc<Tree>,
        logins: Arc<BaseLogins>,
    ) -> Result<Self, SessionError> {
        let id = Uuid::now_v7().simple().to_string();
        let mut request = request(Method::POST, "/session")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "h2c")
            .header("X-Docker-Expose-Session-Uuid", &id)
            .header("X-Docker-Expose-Session-Name", "image-factory")
            .header("X-Docker-Expose-Session-Sharedkey", shared_key);
        // The engine calls only the methods that these headers name.
        for method in [DIFF_COPY, CREDENTIALS, TOKEN_AUTHORITY, VERIFY_AUTHORITY, FETCH_TOKEN, HEALTH] {
            request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
        }
        let request = request.body(no_body()).map_err(|e| SessionError::Failed(invalid(e)))?;
        let reply = engine.send(request).await.map_err(SessionError::Failed)?;
        let status = reply.response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(SessionError::Refused(format!("the engine answered POST /session with {status}")));
        }
        let upgraded = hyper::upgrade::on(reply.response).await.map_err(|e| SessionError::Refused(chain(&e)))?;

        let tasks = SessionTasks::default();
        let service = {
            let tasks = tasks.clone();
            service_fn(move |request| serve(request, tree.clone(), logins.clone(), tasks.clone()))
        };
        let connection = http2(tasks.clone()).serve_connection(upgraded, service);
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // A session that ends early makes the build fail, which is reported there.
            let _ = connection.await;
        }));
        Ok(Self { id, tasks, _connection: connection })
    }
}

fn http2(tasks: SessionTasks) -> http2::Builder<SessionTasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        // Patterns travel as headers, and 400 lines of .dockerignore exceed the usual limit of 16 KiB.
        .max_header_list_size(4 << 20)
        // Each request for a file is a frame of about 12 bytes. The h2 crate (0.4.19 and later) ends a connection with
        // ENHANCE_YOUR_CALM when unread small frames, which it counts as 256 bytes each, exceed half of the
        // connection's window. With hyper's windows that limit is 2,100 frames, and one first sync of 20,000 files in
        // ten failed. With these windows the stream is full before it reaches the limit.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(64 << 20);
    builder
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
    }
}

/// The tasks of a session besides its connection, which end with the session.
#[derive(Clone, Default)]
struct SessionTasks(Arc<Mutex<JoinSet<()>>>);

impl SessionTasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        // The engine calls the health check every second, so ended tasks are dropped here.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for SessionTasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

async fn serve(
    request: Request<Incoming>,
    tree: Arc<Tree>,
    logins: Arc<BaseLogins>,
    tasks: SessionTasks,
) -> Result<Response<grpc::GrpcBody>, Infallible> {
    Ok(match request.uri().path() {
        DIFF_COPY => {
            let (head, body) = request.into_parts();
            let (out, frames) = mpsc::channel(8);
            tasks.spawn(async move { DiffCopy { tree: &tree }.serve(head.headers, body, out).await });
            grpc::answer(ReceiverStream::new(frames).fuse())
        }
        CREDENTIALS => grpc::unary(request, async |asked: CredentialsRequest| logins.credentials(&asked).await).await,
        TOKEN_AUTHORITY => grpc::unary(request, async |asked: GetTokenAuthorityRequest| logins.authority(&asked)).await,
        VERIFY_AUTHORITY => {
            grpc::unary(request, async |asked: VerifyTokenAuthorityRequest| logins.verify(&asked)).await
        }
        FETCH_TOKEN => grpc::unary(request, async |asked: FetchTokenRequest| logins.token(asked).await).await,
        HEALTH => {
            let serving = HealthCheckResponse { status: ServingStatus::Serving.into() };
            grpc::unary(request, async |(): ()| Ok(serving)).await
        }
        path => grpc::refusal(GrpcStatus::unimplemented(path)),
    })
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

    /// The engine may ask for files much faster than the daemon reads the requests.
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
                    Ok::<_, Infallible>(grpc::refusal(GrpcStatus::unavailable("all was read")))
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
        let tasks = SessionTasks::default();
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
