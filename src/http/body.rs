use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::Error;

/// A job's description.
pub const JOB_LIMIT: usize = 1 << 20;
/// GitHub's own cap for what a webhook sends.
pub const HOOK_LIMIT: usize = 25 << 20;

/// So much of a body counts for nothing: what people push every day (a push of 10 commits has 15 KB) gets in also while
/// somebody without a signature keeps the budget busy with large bodies.
const FREE: usize = 64 << 10;
/// For all bodies on their way together.
const BUDGET: usize = 128 << 20;
/// 25 MB in that time are 10 Mbit/s; GitHub itself waits 10 s.
const TIMEOUT: Duration = Duration::from_secs(20);

const UNIT: usize = 1 << 10;

/// How much memory the bodies that are being read may take.
pub struct Budget(Semaphore);

impl Default for Budget {
    fn default() -> Self {
        Self(Semaphore::new(BUDGET / UNIT))
    }
}

/// A whole body, counted in the budget until it is dropped.
pub struct Received<'a> {
    bytes: Bytes,
    _held: Option<SemaphorePermit<'a>>,
}

impl std::ops::Deref for Received<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Budget {
    /// Reads a body of at most `limit` bytes.
    pub async fn read(&self, body: Body, limit: usize) -> Result<Received<'_>, Error> {
        match tokio::time::timeout(TIMEOUT, self.collect(body, limit)).await {
            Ok(read) => read,
            Err(_) => Err(Error::SlowBody),
        }
    }

    async fn collect(&self, mut body: Body, limit: usize) -> Result<Received<'_>, Error> {
        use axum::body::HttpBody;
        if body.size_hint().lower() > limit as u64 {
            return Err(Error::TooLarge(limit));
        }
        // The first piece is most often all of it, and is not copied then.
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut held: Option<SemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Error::Argument(format!("The body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let len = first.len() + all.len() + data.len();
            if len > limit {
                return Err(Error::TooLarge(limit));
            }
            let owed = len.saturating_sub(FREE).div_ceil(UNIT) - held.as_ref().map_or(0, SemaphorePermit::num_permits);
            if owed > 0 {
                let more = self.0.try_acquire_many(owed as u32).map_err(|_| Error::Busy)?;
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
        Ok(Received { bytes, _held: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn pieces(count: usize, size: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size])))))
    }

    #[tokio::test]
    async fn a_body_is_put_together_up_to_its_limit() {
        let budget = Budget::default();
        assert_eq!(budget.read(pieces(3, 5), 15).await.unwrap().len(), 15);
        assert_eq!(budget.read(Body::empty(), 15).await.unwrap().len(), 0);
        assert!(matches!(budget.read(pieces(4, 5), 15).await, Err(Error::TooLarge(15))));
        assert!(matches!(budget.read(Body::from(vec![0; 16]), 15).await, Err(Error::TooLarge(15))));
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_and_small_ones_need_none() {
        let budget = Budget(Semaphore::new(100));
        let first = budget.read(pieces(130, 1 << 10), HOOK_LIMIT).await.unwrap();
        assert_eq!(budget.0.available_permits(), 100 - 66);
        assert!(matches!(budget.read(pieces(130, 1 << 10), HOOK_LIMIT).await, Err(Error::Busy)));
        assert!(budget.read(pieces(64, 1 << 10), HOOK_LIMIT).await.is_ok());
        drop(first);
        assert_eq!(budget.0.available_permits(), 100);
    }
}
