//! bollard over our own connection, so that an engine behind TLS or ssh is reached as for a build.

use std::io;

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, StatusCode, Uri, header};

use crate::engine::api::connect::{Host, RequestBody};
use crate::engine::api::errors::EngineError;
use crate::engine::api::version::ApiVersion;

/// Time limit, in seconds, of a request until its answer begins. The answer to an upload begins after its last byte, and
/// each stage has a limit of its own, so this one is beyond them.
const LIMIT: u64 = 7 * 24 * 3600;

/// Body of a request that bollard makes.
pub(super) type BollardBody = Either<Full<Bytes>, StreamBody<BoxStream<'static, Result<Frame<Bytes>, io::Error>>>>;

/// Returns a client of the engine at `host` that speaks the API version `api`.
pub(super) fn docker(host: &Host, api: ApiVersion) -> Result<Docker, EngineError> {
    let host = host.clone();
    let transport = move |request: BollardRequest| {
        let host = host.clone();
        async move {
            let sent = async { Ok(host.send(at_socket(request)?).await?.into_response()) };
            sent.await.map_err(|error: EngineError| Error::from(io::Error::other(error)))
        }
    };
    let version = ClientVersion { major_version: api.major.into(), minor_version: api.minor.into() };
    let docker = Docker::connect_with_custom_transport(transport, Some("http://docker"), LIMIT, &version);
    docker.map_err(of_bollard)
}

/// Makes a request to a proxy one to the server itself.
fn at_socket(request: BollardRequest) -> Result<Request<RequestBody>, EngineError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = Uri::try_from(path).map_err(|e| EngineError::engine(format!("a path that is none: {e}")))?;
    parts.headers.insert(header::HOST, header::HeaderValue::from_static("docker"));
    Ok(Request::from_parts(parts, body.map_err(Into::into).boxed_unsync()))
}

/// Returns the engine's error, or ours if the request did not reach the engine.
pub(super) fn of_bollard(error: Error) -> EngineError {
    match error {
        Error::IOError { err } => match err.downcast::<EngineError>() {
            Ok(ours) => ours,
            Err(err) => EngineError::broken(&err),
        },
        Error::DockerResponseServerError { status_code, message } => {
            EngineError { status: StatusCode::from_u16(status_code).ok(), ..EngineError::engine(message) }
        }
        Error::DockerStreamError { error } => EngineError::engine(error),
        other => EngineError::broken(&other),
    }
}
