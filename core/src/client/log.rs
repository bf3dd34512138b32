use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, header};

use super::{ApiClient, ClientError};

/// Number of tries to resume a broken log, one second apart. A restart of the daemon takes less (DRAIN_TIMEOUT is 60 s).
const RETRIES: u32 = 90;
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Number of bytes that are read first to find the last lines: some hundred lines.
const FIRST_TAIL: u64 = 64 << 10;

/// The reading of one log, over as many connections as it takes.
pub struct LogReading {
    client: ApiClient,
    id: String,
    follow: bool,
    /// The position at which the reading begins, in bytes.
    start: u64,
    /// The position of the next byte that is read.
    offset: u64,
    /// Number of bytes at the start of this answer that were read before. It is more than 0 if a proxy ignored the `Range`.
    skip: u64,
    open: Option<Response>,
    /// Number of failures since the last byte.
    failures: u32,
}

impl LogReading {
    pub fn new(client: ApiClient, id: &str, start: u64, follow: bool) -> Self {
        Self { client, id: id.into(), follow, start, offset: start, skip: 0, open: None, failures: 0 }
    }

    /// Returns the next bytes of the log, or `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let step = match &mut self.open {
                None => self.reopen().await,
                Some(response) => match response.chunk().await {
                    Ok(Some(mut bytes)) => {
                        let read_before = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                        self.skip -= read_before as u64;
                        let bytes = bytes.split_off(read_before);
                        self.offset += bytes.len() as u64;
                        self.failures = 0;
                        if bytes.is_empty() {
                            continue;
                        }
                        return Ok(Some(bytes));
                    }
                    Ok(None) => {
                        self.open = None;
                        self.is_complete().await
                    }
                    Err(error) => {
                        self.open = None;
                        Err(self.client.unreachable(&error))
                    }
                },
            };
            match step {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                // The first connection is tried once, because the user wants to know soon that nothing is there.
                Err(ClientError::Unreachable { .. } | ClientError::Unavailable { .. })
                    if self.failures < RETRIES && (self.offset > self.start || self.failures > 0) =>
                {
                    self.failures += 1;
                    tokio::time::sleep(RETRY_WAIT).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for the part that was not read yet. Returns true if there is no more.
    async fn reopen(&mut self) -> Result<bool, ClientError> {
        let mut request = self.client.request(Method::GET, &["job", &self.id, "log"]);
        if self.follow {
            request = request.query(&[("follow", "1")]);
        }
        if self.offset > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", self.offset));
        }
        match self.client.send(request).await {
            Ok(response) => {
                self.skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { self.offset };
                self.open = Some(response);
                Ok(false)
            }
            Err(ClientError::Refused { status: 416, .. }) => self.is_complete().await,
            Err(error) => Err(error),
        }
    }

    /// True if the whole log was read. A followed log is whole only if its job has ended, because a server that stops ends
    /// the log, too; that is an error here, after which the reading is resumed.
    async fn is_complete(&mut self) -> Result<bool, ClientError> {
        if !self.follow || self.client.job(&self.id).await?.is_over() {
            return Ok(true);
        }
        // This counts as a failure, so that the reading is resumed even if nothing was read yet.
        self.failures += 1;
        let url = self.client.base.to_string();
        Err(ClientError::Unreachable { url, cause: "it ended the log before the job ended".into() })
    }
}

impl ApiClient {
    /// Returns the position at which the last lines of the log begin, as many as are wanted; 0 if it has fewer. Reads from
    /// the log's end, four times as much each time.
    pub async fn tail_start(&self, id: &str, lines: usize) -> Result<u64, ClientError> {
        let mut size = FIRST_TAIL;
        loop {
            let request = self.request(Method::GET, &["job", id, "log"]);
            let response = match self.send(request.header(header::RANGE, format!("bytes=-{size}"))).await {
                // The log is empty.
                Err(ClientError::Refused { status: 416, .. }) => return Ok(0),
                response => response?,
            };
            // A proxy that ignores the range gives all of the log.
            let start = match response.headers().get(header::CONTENT_RANGE) {
                Some(range) => range.to_str().ok().and_then(first_position).unwrap_or_default(),
                None => 0,
            };
            let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
            match last_lines(&bytes, lines) {
                Some(at) => return Ok(start + at as u64),
                None if start == 0 => return Ok(0),
                None => size *= 4,
            }
        }
    }
}

/// Reads the first position of `bytes FIRST-LAST/LENGTH`.
fn first_position(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Returns where the last lines of the text begin. Returns `None` if the text has not the beginning of so many lines.
fn last_lines(text: &[u8], lines: usize) -> Option<usize> {
    // A line feed at the end belongs to the last line.
    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    let Some(before) = lines.checked_sub(1) else { return Some(text.len()) };
    whole.iter().enumerate().rev().filter(|&(_, &b)| b == b'\n').nth(before).map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end() {
        for (text, lines, at) in [
            ("one\ntwo\nthree\n", 1, Some(8)),
            ("one\ntwo\nthree", 2, Some(4)),
            ("one\ntwo\n\n", 1, Some(8)),
            ("one\ntwo\n", 0, Some(8)),
            ("one\ntwo\n", 2, None),
            ("", 1, None),
        ] {
            assert_eq!(last_lines(text.as_bytes(), lines), at, "{text:?} {lines}");
        }
        assert_eq!(first_position("bytes 12-40/41"), Some(12));
    }
}
