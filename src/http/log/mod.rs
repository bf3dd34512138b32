//! `GET /job/{id}/log`: a route of totem's dialect, whose answer is plain text. It is also a stream of events (`events`) and a
//! WebSocket (`socket`).

mod events;
mod feed;
mod socket;
mod text;

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::auth::{RepoCaller, has_bearer};
use super::error::ApiError;
use super::ids::JobPath;
use super::range::Range;
use super::{ApiState, messages, page};
use crate::model::Job;
pub use feed::{LogFeed, LogReader, Piece};

/// The last position of a range whose end is not known yet (RFC 8673): the largest integer that JavaScript counts exactly.
const OPEN_END: u64 = (1 << 53) - 1;
/// Keeps nginx from collecting a followed log before it passes it on.
const NO_BUFFER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

#[derive(Deserialize)]
struct LogQuery {
    follow: Option<String>,
    /// Position of the first byte, for events and a WebSocket.
    start: Option<u64>,
}

/// Returns true for `?follow=1`.
pub fn is_followed(uri: &Uri) -> Result<bool, ApiError> {
    let LogQuery { follow, .. } = page::query(uri)?;
    Ok(follow.is_some_and(|follow| !matches!(follow.as_str(), "0" | "false")))
}

/// `GET /job/{id}/log`: the log so far, or with `?follow=1` until the job ends. `Range` asks for a part of it. With `Accept:
/// text/event-stream` it comes as events, and with `Upgrade: websocket` by a WebSocket, both until the job ends.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: JobPath,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let LogQuery { start, .. } = page::query(&uri)?;
    let names = |name, value: &str| {
        let said = headers.get(name).and_then(|said| said.to_str().ok()).unwrap_or_default();
        said.split([',', ';']).any(|part| part.trim().eq_ignore_ascii_case(value))
    };
    if names(header::UPGRADE, "websocket") {
        // A page of any origin may open a WebSocket, and the browser adds a password that it remembers.
        if !has_bearer(&headers) {
            api.credentials.guard.check(&headers, true)?;
        }
        let upgrade = upgrade.map_err(|why| ApiError::with(&messages::BAD_UPGRADE, why.body_text()))?;
        let job = caller.job(&api, &path).await?;
        let feed = LogFeed::open(&api, &job, start.unwrap_or(0), LogReader::of(&headers)).await?;
        return Ok(socket::answer(upgrade, feed));
    }
    let job = caller.job(&api, &path).await?;
    if names(header::ACCEPT, "text/event-stream") {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let start = last.or(start).unwrap_or(0);
        let feed = LogFeed::open(&api, &job, start, LogReader::of(&headers)).await?;
        return Ok(([NO_BUFFER], events::answer(feed, start)).into_response());
    }
    plain(&api, &job, is_followed(&uri)?, &headers).await
}

async fn plain(api: &Arc<ApiState>, job: &Job, follow: bool, headers: &HeaderMap) -> Result<Response, ApiError> {
    let follow = follow && !job.status.is_terminal();
    let id = job.id;
    // The length is read after the job's state, so that a finished log is sent to its last byte.
    let len = feed::length(api, id).await?;
    // A range with `If-Range` is ignored, because the header names a version of the log and our answers name none.
    let range = headers.get(header::RANGE).filter(|_| !headers.contains_key(header::IF_RANGE));
    let range = range.and_then(|range| Range::parse(range.to_str().ok()?));
    let (start, end, content_range) = match range {
        None => (0, if follow { u64::MAX } else { len }, None),
        Some(range) if follow => {
            let (start, last) = match range {
                Range::From(first, last) => (first, last.unwrap_or(OPEN_END).min(OPEN_END)),
                Range::Last(count) => (len.saturating_sub(count), OPEN_END),
            };
            (start, last + 1, Some(format!("bytes {start}-{last}/*")))
        }
        Some(range) => {
            let (start, end) = range.within(len).ok_or(ApiError::Range(len))?;
            (start, end, Some(format!("bytes {start}-{}/{len}", end - 1)))
        }
    };
    let body = if follow {
        Body::from_stream(at_most(LogFeed::open(api, job, start, LogReader::of(headers)).await?, end - start))
    } else {
        Body::from_stream(api.logs.range(id, start, end).into_stream())
    };
    let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    match follow {
        true => headers.insert(NO_BUFFER.0, NO_BUFFER.1),
        false => headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start)),
    };
    if let Some(value) = content_range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// Streams the next `left` bytes, or fewer if the job ends before. An answer that is cut ends with an error, so that its
/// reader does not take it for the whole log.
fn at_most(feed: LogFeed, left: u64) -> impl stream::Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((feed, left), |(mut feed, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut bytes = match feed.next().await? {
            Piece::Bytes(bytes) => bytes,
            Piece::End(_) => return Ok(None),
            Piece::Stopped | Piece::Refused => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - bytes.len() as u64;
        Ok(Some((bytes, (feed, left))))
    })
}
