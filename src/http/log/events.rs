//! A log as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::IntoResponse;
use futures_util::stream::{self, Stream};
use tokio::time::timeout;

use super::feed::{LogFeed, Piece};
use super::text::LogText;
use crate::memory::hold_for;
use crate::model::Status;

/// Silence after which a comment is sent, so that proxies and the reader see that the connection is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Number of lines in an event. Each line of an event is 6 bytes longer than in the log.
const LINES: usize = 2000;

struct Events {
    feed: LogFeed,
    text: LogText,
    /// Bytes of the log that come in the next events.
    rest: Bytes,
    /// Position after the last event.
    position: u64,
    /// Status with which the job has ended.
    end: Option<Status>,
    is_done: bool,
}

/// Answers with an event for each piece of the log from `start` on, whose id is the position after it, and at the end with the
/// event `end`, whose data is the job's status.
pub fn answer(feed: LogFeed, start: u64) -> impl IntoResponse {
    let text = LogText::with_returns_held();
    let events = Events { feed, text, rest: Bytes::new(), position: start, end: None, is_done: false };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(stream(events)))
}

fn stream(events: Events) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(events, async |mut events| {
        let next = timeout(HEARTBEAT, events.next()).await;
        let event = next.unwrap_or_else(|_| Ok(Some(Bytes::from_static(b":\n\n"))))?;
        Ok(event.map(|event| (event, events)))
    })
}

impl Events {
    /// Returns the next event. A call that is dropped loses nothing.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.is_done {
                return Ok(None);
            }
            let piece = self.next_lines();
            if piece.is_empty()
                && let Some(status) = self.end
            {
                self.is_done = true;
                return Ok(Some(format!("event: end\nid: {}\ndata: {}\n\n", self.position, status.as_str()).into()));
            }
            let (text, len) = match piece.is_empty() {
                false => self.text.push(piece.clone()),
                true => match self.feed.next().await? {
                    Piece::Bytes(bytes) => {
                        self.rest = bytes;
                        continue;
                    }
                    Piece::End(status) => {
                        self.end = Some(status);
                        self.text.rest()
                    }
                    // The reader comes back with the id of the last event.
                    Piece::Stopped | Piece::Refused => return Err(io::ErrorKind::ConnectionAborted.into()),
                },
            };
            self.position += len;
            if !text.is_empty() {
                // The memory of the piece stays claimed until the event has gone out.
                return Ok(Some(hold_for(event(self.position, &text), piece)));
            }
        }
    }

    /// Takes the first lines of what is left.
    fn next_lines(&mut self) -> Bytes {
        let is_end = |byte: &u8| *byte == b'\n' || *byte == b'\r';
        let mut ends = self.rest.iter().enumerate().filter(|(_, byte)| is_end(byte));
        let length = ends.nth(LINES - 1).map_or(self.rest.len(), |(at, _)| at + 1);
        self.rest.split_to(length)
    }
}

/// Returns the event of a text. A carriage return becomes a line feed, because events have no other end of a line.
fn event(position: u64, text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut event = format!("id: {position}\n");
    event.extend(text.split('\n').flat_map(|line| ["data: ", line, "\n"]));
    event.push('\n');
    event.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::event;

    #[test]
    fn every_line_of_a_text_is_data() {
        for (text, lines) in [("a", "data: a\n"), ("a\r\n\rb\n", "data: a\ndata: \ndata: b\ndata: \n")] {
            assert_eq!(event(7, text.as_bytes()), format!("id: 7\n{lines}\n").into_bytes());
        }
    }
}
