use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::{Instant, interval_at};

use super::render::TEXT;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::ConveyorCaller;
use crate::http::ids::JobPath;
use crate::model::{Dialect, JobId};

/// `GET /logs/{id}`: the log from its beginning until the job ends.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    caller: Result<ConveyorCaller, ApiError>,
    path: JobPath,
) -> Result<Response, ApiError> {
    let id = match caller {
        Ok(ConveyorCaller(caller)) => caller.job(&api, &path).await?.id,
        Err(refused) => open_log(&api, &path).await?.ok_or(refused)?,
    };
    follow(&api, id).await
}

/// Returns the id if everyone may read the log: it is the whole id of a job of this dialect, and CONVEYOR_OPEN_LOGS is set.
async fn open_log(api: &ApiState, JobPath(text): &JobPath) -> Result<Option<JobId>, ApiError> {
    let Some(id) = text.parse().ok().filter(|_| api.open_logs) else { return Ok(None) };
    let job = api.store.job(id).await?.filter(|job| job.dialect == Dialect::Conveyor);
    Ok(job.map(|job| job.id))
}

/// Streams a log from its beginning until its job ends, with a NUL as a heartbeat.
pub async fn follow(api: &ApiState, id: JobId) -> Result<Response, ApiError> {
    let mut follower = api.logs.follow(id, 0);
    // The state is read now that the follower listens, because the job may have ended before without waking it.
    if api.store.job(id).await?.is_none_or(|job| job.status.is_terminal()) {
        follower.stop_at_end();
    }
    let beats = interval_at(Instant::now() + api.log_heartbeat, api.log_heartbeat);
    let pieces = stream::try_unfold((follower, beats), async |(mut follower, mut beats)| {
        let piece = tokio::select! {
            biased;
            piece = follower.next() => piece?,
            _ = beats.tick() => Some(Bytes::from_static(b"\0")),
        };
        Ok::<_, io::Error>(piece.map(|piece| (piece, (follower, beats))))
    });
    Ok(([(header::CONTENT_TYPE, TEXT)], Body::from_stream(pieces)).into_response())
}
