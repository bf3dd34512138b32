//! The stream of JSON messages in which an engine reports the progress of a build, a pull or a push.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::connect::Reply;
use super::errors::EngineError;

/// Size limit of a line. The longest one is a trace with 1 MiB of a step's output in base64.
const MAX_LINE: usize = 32 << 20;

/// One message of the engine's progress: dockerd's `jsonmessage`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::engine) struct EngineMessage {
    pub id: String,
    pub status: String,
    /// Present in messages about a layer only.
    #[serde(rename = "progressDetail")]
    pub progress_detail: Value,
    /// Output of the classic builder.
    pub stream: String,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    pub error_detail: ErrorDetail,
    pub aux: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::engine) struct ErrorDetail {
    pub message: String,
    /// Exit code of the classic builder's step; 0 if no step failed.
    pub code: i32,
}

impl EngineMessage {
    /// Returns the reason why the engine gave up. API 1.48 has deprecated `error` in favour of `errorDetail`.
    pub(in crate::engine) fn error(&self) -> Option<&str> {
        let detail = Some(self.error_detail.message.as_str()).filter(|message| !message.is_empty());
        detail.or(self.error.as_deref())
    }
}

/// The messages of an answer, one a line. A chunk of the answer may end anywhere, even inside the last CRLF.
pub(in crate::engine) struct MessageStream {
    reply: Reply,
    splitter: Splitter,
}

impl MessageStream {
    pub(in crate::engine) fn new(reply: Reply) -> Self {
        Self { reply, splitter: Splitter::default() }
    }

    /// Returns the next message, or `None` after a complete answer.
    ///
    /// # Errors
    /// The answer broke off, or a line is no message.
    pub(in crate::engine) async fn next(&mut self) -> Result<Option<EngineMessage>, EngineError> {
        loop {
            if let Some(line) = self.splitter.next()? {
                return Ok(Some(line));
            }
            let body: &mut Incoming = self.reply.response.body_mut();
            match body.frame().await {
                Some(Ok(frame)) => self.splitter.buffer.extend(frame.into_data().unwrap_or_default()),
                Some(Err(e)) => return Err(EngineError::broken(&e)),
                None => return self.splitter.last(),
            }
        }
    }
}

#[derive(Default)]
struct Splitter {
    buffer: BytesMut,
    /// Number of bytes at its start that have no line end.
    searched: usize,
}

impl Splitter {
    fn next(&mut self) -> Result<Option<EngineMessage>, EngineError> {
        while let Some(at) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') {
            let line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return parse(&line).map(Some);
            }
        }
        self.searched = self.buffer.len();
        if self.searched > MAX_LINE {
            return Err(EngineError::engine(format!("the engine sent a line of more than {MAX_LINE} bytes")));
        }
        Ok(None)
    }

    fn last(&mut self) -> Result<Option<EngineMessage>, EngineError> {
        let rest = self.buffer.split();
        self.searched = 0;
        if rest.trim_ascii().is_empty() { Ok(None) } else { parse(&rest).map(Some) }
    }
}

fn parse(line: &[u8]) -> Result<EngineMessage, EngineError> {
    serde_json::from_slice(line).map_err(|e| {
        let start = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        EngineError::engine(format!("the engine reports its progress in an unknown form ({e}): {start:?}"))
    })
}

#[cfg(fuzzing)]
pub(in crate::engine) fn fuzz(answer: &[u8]) {
    let mut splitter = Splitter::default();
    for chunk in answer.chunks(7) {
        splitter.buffer.extend(chunk);
        while let Ok(Some(_)) = splitter.next() {}
    }
    let _ = splitter.last();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_do_not_depend_on_where_chunks_end(
            ids in prop::collection::vec("[a-zé\\\\\"]{0,8}", 0..6),
            cut in 1usize..40,
            newline in any::<bool>(),
        ) {
            let mut text = String::new();
            for id in &ids {
                text.push_str(&format!("{}\r\n\r\n", serde_json::json!({ "id": id, "other": 1 })));
            }
            if !newline {
                text.truncate(text.trim_end().len());
            }
            let mut splitter = Splitter::default();
            let mut read = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                splitter.buffer.extend_from_slice(chunk);
                while let Some(line) = splitter.next().unwrap() {
                    read.push(line.id);
                }
            }
            read.extend(splitter.last().unwrap().map(|line| line.id));
            prop_assert_eq!(read, ids);
        }

        #[test]
        fn a_line_without_json_is_an_error(text in "[^{\\s]\\PC{0,40}") {
            let mut splitter = Splitter::default();
            splitter.buffer.extend_from_slice(format!("{text}\n").as_bytes());
            prop_assert!(splitter.next().is_err());
        }
    }

    #[test]
    fn an_error_is_read() {
        for (line, error) in [
            (&br#"{"errorDetail":{"message":"m"},"error":"old"}"#[..], Some("m")),
            (br#"{"errorDetail":{"message":"m"}}"#, Some("m")),
            (br#"{"error":"old"}"#, Some("old")),
            (br#"{"errorDetail":{"code":3},"error":"old"}"#, Some("old")),
            (br#"{"status":"s"}"#, None),
        ] {
            assert_eq!(parse(line).unwrap().error(), error);
        }
    }
}
