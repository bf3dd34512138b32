//! A log by a WebSocket (RFC 6455).

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::feed::{LogFeed, Piece};
use super::text::LogText;

/// Time between two pings.
const PING: Duration = Duration::from_secs(25);
/// Largest text of a frame, because a WebSocket keeps a buffer of twice its largest frame.
const FRAME: usize = 4096;
/// Size of the buffer for what the reader sends, which is nothing but answers to pings.
const RECEIVED: usize = 256;
/// Time for the reader's answer to the end.
const END: Duration = Duration::from_secs(5);

/// Answers with a WebSocket of text frames, which is closed when the job ends. The reason is then the job's status.
pub fn answer(upgrade: WebSocketUpgrade, feed: LogFeed) -> Response {
    let upgrade = upgrade.read_buffer_size(RECEIVED).write_buffer_size(0);
    upgrade.max_message_size(RECEIVED).max_frame_size(RECEIVED).on_upgrade(|socket| follow(socket, feed))
}

async fn follow(mut socket: WebSocket, mut feed: LogFeed) {
    let mut text = LogText::default();
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (code, reason) = loop {
        let piece = tokio::select! {
            piece = feed.next() => piece,
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = ping.tick() => {
                if socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let (piece, end) = match piece {
            Ok(Piece::Bytes(bytes)) => (text.push(bytes).0, None),
            Ok(Piece::End(status)) => (text.rest().0, Some((close_code::NORMAL, status.as_str()))),
            Ok(Piece::Stopped) => break (close_code::AWAY, "the daemon stops: come back with ?start="),
            Ok(Piece::Refused) => break (close_code::POLICY, "the token may not see this log any more"),
            Err(_) => break (close_code::ERROR, "the log cannot be read"),
        };
        for frame in frames(piece) {
            if socket.send(Message::Text(frame)).await.is_err() {
                return;
            }
        }
        if let Some(end) = end {
            break end;
        }
    };
    let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
    // The reader closes the connection, because whoever closes first keeps the port for a minute.
    let _ = tokio::time::timeout(END, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
}

/// Cuts a text into frames of whole characters.
fn frames(mut text: Bytes) -> impl Iterator<Item = Utf8Bytes> {
    std::iter::from_fn(move || {
        let whole = std::str::from_utf8(&text).unwrap_or_default();
        let frame = text.split_to(whole.floor_char_boundary(FRAME));
        Utf8Bytes::try_from(frame).ok().filter(|frame| !frame.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_whole_characters() {
        let text = "ä€😀x".repeat(3000);
        let cut: Vec<_> = frames(Bytes::from(text.clone())).collect();
        assert!(
            cut.len() > 5
                && cut.iter().all(|frame| (FRAME - 3..=FRAME).contains(&frame.len()) || frame == cut.last().unwrap())
        );
        assert_eq!(cut.iter().map(Utf8Bytes::as_str).collect::<String>(), text);
        assert_eq!(frames(Bytes::new()).count(), 0);
    }
}
