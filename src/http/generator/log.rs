//! The log of a job, by HTTP in numbered pieces, and by WebSocket from its beginning until the job ends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::response::Response;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::pieces::{LogPieces, failure};
use super::text;
use crate::http::auth::RepoCaller;
use crate::http::error::ApiError;
use crate::http::ids::JobPath;
use crate::http::log::{LogFeed, LogReader, Piece};
use crate::http::{ApiState, messages};
use crate::model::{Job, JobId, Role, Status};

/// The last piece of every log.
const END: &str = "bye";
// The words of the original.
const WAITS: &str = "waitting build ...";
const UNKNOWN: &str = "invalid id ...";

/// Length of a message in bytes at which no further piece joins it.
const MESSAGE: usize = 4096;
/// Size of the buffer for what the reader sends, which is nothing but answers to pings.
const RECEIVED: usize = 256;
/// Pause between two pings, which keep proxies from ending a silent connection.
const PING: Duration = Duration::from_secs(25);

/// `GET /b1/build/log/{protocol}/{id}`: by `ws` the log as it comes, by `http` its piece with the number `count`, by another
/// protocol nothing.
pub async fn read(
    State(api): State<Arc<ApiState>>,
    Path((protocol, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    // A page of any origin may open a WebSocket and read it, unlike an answer to another request.
    let is_stream = protocol == "ws";
    let named = api.credentials.present().tokens.find_anywhere(&parts.headers, &api.store).await?;
    let caller = RepoCaller::admit_as(&parts, named, &api.credentials.guard, Role::Read, is_stream)?;
    let job = match caller.job(&api, &JobPath(id)).await {
        Ok(job) => Some(job),
        Err(error) if error.status().is_client_error() => None,
        Err(error) => return Err(error),
    };
    match protocol.as_str() {
        "ws" => {
            let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &api)
                .await
                .map_err(|error| ApiError::with(&messages::BAD_UPGRADE, error.body_text()))?;
            let answer = match job {
                None => LogAnswer::Words(UNKNOWN),
                Some(job) if job.status == Status::Pending && job.attempt == 0 => LogAnswer::Words(WAITS),
                Some(job) => {
                    let feed = LogFeed::open(&api, &job, 0, LogReader::of(&parts.headers)).await?;
                    LogAnswer::Log(Box::new(feed), api, job.id)
                }
            };
            // A client sends nothing, and 1,000 readers of a log are usual, so the buffers are small.
            let upgrade = upgrade.max_message_size(RECEIVED).read_buffer_size(RECEIVED).write_buffer_size(0);
            Ok(upgrade.on_upgrade(move |socket| stream(answer, socket)))
        }
        "http" => Ok(text(piece(&api, job, number(parts.uri.query().unwrap_or_default())).await?)),
        _ => Ok(text(String::new())),
    }
}

/// Returns the first `count` of a query, as Go's forms read it: a text that is no number is 0. A number that is too large is
/// behind every log.
fn number(query: &str) -> usize {
    let count = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "count").map(|(_, count)| count);
    let count = count.unwrap_or_default();
    match !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) {
        true => count.parse().unwrap_or(usize::MAX),
        false => 0,
    }
}

/// Returns the piece of a job's log with this number, from 0; empty if it has not come yet, or is behind the last.
async fn piece(api: &ApiState, job: Option<Job>, number: usize) -> Result<String, ApiError> {
    let Some(job) = job else {
        let pieces = [UNKNOWN, END];
        return Ok(pieces.get(number).copied().unwrap_or_default().into());
    };
    // The job's state was read before the log's length, so that the log of an ended job is whole.
    let unreadable = |error: io::Error| ApiError::Internal(format!("the log of job {}: {error}", job.id));
    let length = api.logs.len(job.id).await.map_err(unreadable)?;
    let mut log = api.logs.range(job.id, 0, length);
    let (mut pieces, mut before) = (LogPieces::default(), 0);
    while let Some(bytes) = log.next().await.map_err(unreadable)? {
        let found = pieces.push(&bytes);
        if let Some(piece) = found.get(number - before) {
            return Ok(piece.clone());
        }
        before += found.len();
    }
    let last = if job.status.is_terminal() { ending(&job, &mut pieces) } else { Vec::new() };
    Ok(last.into_iter().nth(number - before).unwrap_or_default())
}

/// Returns the pieces that end the log of an ended job.
fn ending(job: &Job, pieces: &mut LogPieces) -> Vec<String> {
    let failure = (job.status != Status::Success).then(|| failure(job.cause.as_deref().unwrap_or(job.status.as_str())));
    pieces.finish().into_iter().chain(failure).chain([END.to_owned()]).collect()
}

/// The answer to a reader of a log by WebSocket.
enum LogAnswer {
    /// Nothing but these words.
    Words(&'static str),
    /// The log from its beginning until the job ends.
    Log(Box<LogFeed>, Arc<ApiState>, JobId),
}

/// Sends the answer, and closes the connection. A reader that is slow or has gone holds up nothing but this task.
async fn stream(answer: LogAnswer, mut socket: WebSocket) {
    let sent = match answer {
        LogAnswer::Words(words) => send(&mut socket, words.into()).await,
        LogAnswer::Log(feed, api, id) => follow(*feed, &api, id, &mut socket).await,
    };
    if sent.is_some() {
        let _ = socket.send(Message::Close(None)).await;
    }
}

/// Sends a log until its job has ended. Returns `None` if it is cut off: the reader or its token has gone, the daemon stops, or
/// the log cannot be read. The connection then ends without `bye`.
async fn follow(mut feed: LogFeed, api: &ApiState, id: JobId, socket: &mut WebSocket) -> Option<()> {
    let (mut pieces, mut pings) = (LogPieces::default(), interval_at(Instant::now() + PING, PING));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let bytes = tokio::select! {
            piece = feed.next() => match piece.ok()? {
                Piece::Bytes(bytes) => bytes,
                Piece::End(_) => break,
                Piece::Stopped | Piece::Refused => return None,
            },
            _ = pings.tick() => {
                socket.send(Message::Ping(Vec::new().into())).await.ok()?;
                continue;
            }
            // A client has nothing to say but that it goes.
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => continue,
            },
        };
        let mut message = String::new();
        for piece in pieces.push(&bytes) {
            if !message.is_empty() && message.len() + piece.len() > MESSAGE {
                send(socket, std::mem::take(&mut message)).await?;
            }
            message += &piece;
        }
        if !message.is_empty() {
            send(socket, message).await?;
        }
    }
    let job = api.store.job(id).await.ok()??;
    for piece in ending(&job, &mut pieces) {
        send(socket, piece).await?;
    }
    Some(())
}

/// Sends a message; `None` if the reader does not take it.
async fn send(socket: &mut WebSocket, text: String) -> Option<()> {
    socket.send(Message::Text(text.into())).await.ok()
}
