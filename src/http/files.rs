//! Files of the container in which a job was tested. The handler reaches no engine; `app` injects what it asks.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::error::{ApiError, shortened};
use super::extract::BuildCaller;
use super::ids::JobPath;
use super::{ApiState, messages};
use crate::model::JobId;

/// Opens a path in the container of a job's test, on the engine of this name.
pub type OpenFile = Arc<dyn Fn(String, JobId, String) -> BoxFuture<'static, Result<OpenedFile, NoFile>> + Send + Sync>;

/// A file, or a folder as a tar.
pub struct OpenedFile {
    /// Bytes of the file; `None` for a folder.
    pub size: Option<u64>,
    pub body: BoxStream<'static, Result<Bytes, String>>,
}

/// Why there is nothing to send.
pub enum NoFile {
    /// The job has no container.
    Container,
    /// The container has no such path.
    Path,
    /// The path is neither a file nor a folder.
    Special,
    /// The engine's trouble, in one line.
    Engine(String),
}

/// `GET /job/{id}/files/{path}`: a file as it is, or a folder as a tar.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    BuildCaller(caller): BuildCaller,
    Path((id, path)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let job = caller.job(&api, &JobPath(id)).await?;
    if path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(ApiError::new(&messages::BAD_FILE_PATH));
    }
    let path = format!("/{path}");
    let no_container = || ApiError::with(&messages::NO_CONTAINER, job.id.to_string());
    let engine = job.engine.clone().unwrap_or_default();
    let opened = (api.engines.open_file)(engine, job.id, path.clone()).await.map_err(|none| match none {
        NoFile::Container => no_container(),
        NoFile::Path => ApiError::with(&messages::NO_FILE, shortened(&path)),
        NoFile::Special => ApiError::with(&messages::SPECIAL_FILE, shortened(&path)),
        NoFile::Engine(why) => ApiError::with(&messages::NO_ENGINE, why),
    })?;
    tracing::info!(job = %job.id, by = caller.name, path, "a file of a test is read");
    let mut response = Body::from_stream(opened.body).into_response();
    let headers = response.headers_mut();
    let media_type = if opened.size.is_some() { "application/octet-stream" } else { "application/x-tar" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // A test may have written a page, which a browser must not show as one of the daemon's.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(size) = opened.size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    Ok(response)
}
