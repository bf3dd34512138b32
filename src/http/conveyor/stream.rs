use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::{Instant, interval_at};

use super::render::TEXT;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::ConveyorCaller;
use crate::http::ids::JobPath;
use crate::http::log::{LogFeed, LogReader, Piece};
use crate::model::{Dialect, Job};

/// `GET /logs/{id}`: the log from its beginning until the job ends.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    caller: Result<ConveyorCaller, ApiError>,
    path: JobPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (job, reader) = match caller {
        Ok(ConveyorCaller(caller)) => (caller.job(&api, &path).await?, LogReader::of_conveyor(&headers)),
        Err(refused) => (open_log(&api, &path).await?.ok_or(refused)?, LogReader::Anyone),
    };
    follow(&api, &job, reader).await
}

/// Returns the job if everyone may read its log: the path has the whole id of a job of this dialect, and CONVEYOR_OPEN_LOGS is
/// set.
async fn open_log(api: &ApiState, JobPath(text): &JobPath) -> Result<Option<Job>, ApiError> {
    let Some(id) = text.parse().ok().filter(|_| api.open_logs) else { return Ok(None) };
    Ok(api.store.job(id).await?.filter(|job| job.dialect == Dialect::Conveyor))
}

/// Streams a log from its beginning until its job ends, with a NUL as a heartbeat.
pub async fn follow(api: &Arc<ApiState>, job: &Job, reader: LogReader) -> Result<Response, ApiError> {
    let feed = LogFeed::open(api, job, 0, reader).await?;
    let beats = interval_at(Instant::now() + api.log_heartbeat, api.log_heartbeat);
    let pieces = stream::try_unfold((feed, beats), async |(mut feed, mut beats)| {
        let piece = tokio::select! {
            biased;
            piece = feed.next() => match piece? {
                Piece::Bytes(bytes) => Some(bytes),
                Piece::End(_) => None,
                // The answer is cut, so that it does not look like the whole log.
                Piece::Stopped | Piece::Refused => return Err(io::ErrorKind::ConnectionAborted.into()),
            },
            _ = beats.tick() => Some(Bytes::from_static(b"\0")),
        };
        Ok::<_, io::Error>(piece.map(|piece| (piece, (feed, beats))))
    });
    Ok(([(header::CONTENT_TYPE, TEXT)], Body::from_stream(pieces)).into_response())
}
