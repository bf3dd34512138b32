//! A log as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};

use super::feed::{LogFeed, Piece};
use super::text::LogText;
use crate::model::Status;

/// Silence after which a comment is sent, so that proxies and the reader see that the connection is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

struct Events {
    feed: LogFeed,
    text: LogText,
    /// Position after the last event.
    position: u64,
    /// Status with which the job has ended.
    end: Option<Status>,
    is_done: bool,
}

/// Answers with an event for each piece of the log from `start` on, whose id is the position after it, and at the end with the
/// event `end`, whose data is the job's status.
pub fn answer(feed: LogFeed, start: u64) -> impl IntoResponse {
    let events = Events { feed, text: LogText::with_returns_held(), position: start, end: None, is_done: false };
    Sse::new(stream(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

fn stream(events: Events) -> impl Stream<Item = io::Result<Event>> {
    stream::try_unfold(events, async |mut events| Ok(events.next().await?.map(|event| (event, events))))
}

impl Events {
    async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if self.is_done {
                return Ok(None);
            }
            if let Some(status) = self.end {
                self.is_done = true;
                let end = Event::default().event("end").id(self.position.to_string());
                return Ok(Some(end.data(status.as_str())));
            }
            let (text, len) = match self.feed.next().await? {
                Piece::Bytes(bytes) => self.text.push(bytes),
                Piece::End(status) => {
                    self.end = Some(status);
                    self.text.rest()
                }
                // The reader comes back with the id of the last event.
                Piece::Stopped | Piece::Refused => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            self.position += len;
            if !text.is_empty() {
                return Ok(Some(self.event_of(&text)));
            }
        }
    }

    /// Makes an event of a text. A carriage return becomes a line feed, because events have no other end of a line.
    fn event_of(&self, text: &Bytes) -> Event {
        let text = String::from_utf8_lossy(text);
        let id = self.position.to_string();
        match text.contains('\r') {
            true => Event::default().id(id).data(text.replace("\r\n", "\n").replace('\r', "\n")),
            false => Event::default().id(id).data(text),
        }
    }
}
