use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::ApiError;
use super::messages;

/// Largest description of a job.
pub const JOB_LIMIT: usize = 1 << 20;
/// Largest webhook: GitHub's own cap for what it sends.
pub const HOOK_LIMIT: usize = 25 << 20;

/// The first 64 KB of a body take nothing from the budget, because everyday pushes (10 commits have 15 KB) must get in
/// while somebody without a signature keeps the budget busy with large bodies.
const FREE: usize = 64 << 10;
/// Memory for all bodies that are being read, together.
const BUDGET: usize = 128 << 20;
/// Time for a whole body. 25 MB in that time are 10 Mbit/s; GitHub itself waits 10 s.
const TIMEOUT: Duration = Duration::from_secs(20);

const UNIT: usize = 1 << 10;

/// The memory that the bodies that are being read may take.
pub struct Budget(Semaphore);

impl Default for Budget {
    fn default() -> Self {
        Self(Semaphore::new(BUDGET / UNIT))
    }
}

/// A whole body, counted in the budget until it is dropped.
pub struct ReceivedBody<'a> {
    bytes: Bytes,
    _held: Option<SemaphorePermit<'a>>,
}

impl ReceivedBody<'_> {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    /// Reads a body of at most `limit` bytes.
    pub async fn read(&self, body: Body, limit: usize) -> Result<ReceivedBody<'_>, ApiError> {
        match tokio::time::timeout(TIMEOUT, self.collect(body, limit)).await {
            Ok(read) => read,
            Err(_) => Err(ApiError::new(&messages::SLOW_BODY)),
        }
    }

    async fn collect(&self, mut body: Body, limit: usize) -> Result<ReceivedBody<'_>, ApiError> {
        use axum::body::HttpBody;
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large(limit));
        }
        // The first piece is most often the whole body, and then it is not copied.
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut held: Option<SemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::with(&messages::BROKEN_BODY, error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let len = first.len() + all.len() + data.len();
            if len > limit {
                return Err(too_large(limit));
            }
            let owed = len.saturating_sub(FREE).div_ceil(UNIT) - held.as_ref().map_or(0, SemaphorePermit::num_permits);
            if owed > 0 {
                let more = self.0.try_acquire_many(owed as u32).map_err(|_| ApiError::new(&messages::BUSY))?;
                match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                }
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(ReceivedBody { bytes, _held: held })
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::with(&messages::TOO_LARGE, limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn pieces(count: usize, size: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size])))))
    }

    fn is_refused(read: Result<ReceivedBody, ApiError>, message: &messages::Message, text: &str) -> bool {
        matches!(read, Err(error @ ApiError::Message(found, _)) if found == message && error.text("") == text)
    }

    #[tokio::test]
    async fn a_body_is_put_together_up_to_its_limit() {
        let budget = Budget::default();
        assert_eq!(budget.read(pieces(3, 5), 15).await.unwrap().bytes().len(), 15);
        assert_eq!(budget.read(Body::empty(), 15).await.unwrap().bytes().len(), 0);
        let too_large = "The body is longer than 15 bytes";
        assert!(is_refused(budget.read(pieces(4, 5), 15).await, &messages::TOO_LARGE, too_large));
        assert!(is_refused(budget.read(Body::from(vec![0; 16]), 15).await, &messages::TOO_LARGE, too_large));
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_and_small_ones_need_none() {
        let budget = Budget(Semaphore::new(100));
        let first = budget.read(pieces(130, 1 << 10), HOOK_LIMIT).await.unwrap();
        assert_eq!(budget.0.available_permits(), 100 - 66);
        let busy = "Too many large requests are on their way: send it again later";
        assert!(is_refused(budget.read(pieces(130, 1 << 10), HOOK_LIMIT).await, &messages::BUSY, busy));
        assert!(budget.read(pieces(64, 1 << 10), HOOK_LIMIT).await.is_ok());
        drop(first);
        assert_eq!(budget.0.available_permits(), 100);
    }
}
