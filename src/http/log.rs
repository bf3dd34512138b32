//! `GET /job/{id}/log`: a route of totem's dialect, whose answer is plain text.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::ApiState;
use super::auth::RepoCaller;
use super::error::ApiError;
use super::ids::JobPath;
use super::page;
use super::range::Range;
use crate::logs::LogFollower;

/// The last position of a range whose end is not known yet (RFC 8673): the largest integer that JavaScript counts exactly.
const OPEN_END: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
struct LogQuery {
    follow: Option<String>,
}

/// Returns true for `?follow=1`.
pub fn is_followed(uri: &Uri) -> Result<bool, ApiError> {
    let LogQuery { follow } = page::query(uri)?;
    Ok(follow.is_some_and(|follow| !matches!(follow.as_str(), "0" | "false")))
}

/// `GET /job/{id}/log`: the log so far, or with `?follow=1` until the job ends. `Range` asks for a part of it.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: JobPath,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let follow = is_followed(&uri)?;
    let id = caller.job(&api, &path).await?.id;
    // A beginning may become ambiguous while the log is followed.
    let path = JobPath(id.to_string());
    let unreadable = |error: io::Error| ApiError::Internal(format!("the log of job {id}: {error}"));
    let has_ended = || async { Ok::<_, ApiError>(caller.job(&api, &path).await?.status.is_terminal()) };
    let follow = !has_ended().await? && follow;
    // The length is read after the job's state, so that a finished log is sent to its last byte.
    let len = api.logs.len(id).await.map_err(unreadable)?;
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
            if start > len {
                return Err(ApiError::Range(len));
            }
            (start, last + 1, Some(format!("bytes {start}-{last}/*")))
        }
        Some(range) => {
            let (start, end) = range.within(len).ok_or(ApiError::Range(len))?;
            (start, end, Some(format!("bytes {start}-{}/{len}", end - 1)))
        }
    };
    let body = if follow {
        let mut follower = api.logs.follow(id, start);
        // The state is read again now that the follower listens, because the job may have ended in between without waking it.
        if has_ended().await? {
            follower.stop_at_end();
        }
        Body::from_stream(at_most(follower, end - start))
    } else {
        Body::from_stream(api.logs.range(id, start, end).into_stream())
    };
    let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if !follow {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    }
    if let Some(value) = content_range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// Streams the next `left` bytes, or fewer if the log ends before.
fn at_most(follower: LogFollower, left: u64) -> impl stream::Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((follower, left), |(mut follower, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut bytes) = follower.next().await? else { return Ok(None) };
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - bytes.len() as u64;
        Ok(Some((bytes, (follower, left))))
    })
}
