use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::error::{ApiError, shortened};
use super::messages;

/// Largest description of a job.
pub const JOB_LIMIT: usize = 1 << 20;
/// Largest webhook: GitHub's own cap for what it sends.
pub const HOOK_LIMIT: usize = 25 << 20;

/// The first 64 KB of a body take nothing from the budget, because everyday pushes (10 commits have 15 KB) must get in
/// while somebody without a signature keeps the budget busy with large bodies.
const FREE: usize = 64 << 10;
/// Most bodies whose end has not come yet. Their first 64 KB are in no budget, and each of 4,096 connections may send one
/// that never ends. The oldest makes room, so that an everyday push, which comes at once, gets in all the same.
const UNFINISHED: usize = 256;
/// Time for a whole body. 25 MB in that time are 10 Mbit/s; GitHub itself waits 10 s.
const TIMEOUT: Duration = Duration::from_secs(20);

const UNIT: usize = 1 << 10;
/// Bytes that are decoded at once. Between two pieces other requests have their turn.
const PIECE: usize = 64 << 10;

/// The memory that the bodies that are being read may take.
pub struct Budget {
    large: Semaphore,
    unfinished: UnfinishedBodies,
}

/// Bodies whose end has not come yet, by the order in which they began.
#[derive(Default)]
struct UnfinishedBodies(Mutex<(u64, BTreeMap<u64, CancellationToken>)>);

/// A place among them until this is dropped.
struct UnfinishedBody<'a> {
    all: &'a UnfinishedBodies,
    number: u64,
    displaced: CancellationToken,
}

impl UnfinishedBodies {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, CancellationToken>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a body, and displaces the oldest one if there are too many.
    fn add(&self) -> UnfinishedBody<'_> {
        let (mut all, displaced) = (self.lock(), CancellationToken::new());
        all.0 += 1;
        let number = all.0;
        all.1.insert(number, displaced.clone());
        if all.1.len() > UNFINISHED
            && let Some((_, oldest)) = all.1.pop_first()
        {
            oldest.cancel();
        }
        UnfinishedBody { all: self, number, displaced }
    }
}

impl Drop for UnfinishedBody<'_> {
    fn drop(&mut self) {
        self.all.lock().1.remove(&self.number);
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
    /// Makes a budget of this many bytes for all bodies together.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX);
        Self { large: Semaphore::new(units.min(Semaphore::MAX_PERMITS)), unfinished: UnfinishedBodies::default() }
    }

    /// Reads a body of at most `limit` bytes, also when it is decoded: `Content-Encoding` may be `gzip`.
    pub async fn read(&self, headers: &HeaderMap, body: Body, limit: usize) -> Result<ReceivedBody<'_>, ApiError> {
        let encoding = headers.get(header::CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or("?"));
        let is_gzip = match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => false,
            "gzip" | "x-gzip" => true,
            _ => return Err(ApiError::with(&messages::CONTENT_ENCODING, shortened(encoding))),
        };
        let read = async {
            let unfinished = self.unfinished.add();
            let received = unfinished.displaced.run_until_cancelled(self.collect(body, limit)).await;
            let received = received.unwrap_or_else(|| Err(ApiError::new(&messages::SLOW_BODIES)))?;
            drop(unfinished);
            if is_gzip { self.unpack(received.bytes(), limit).await } else { Ok(received) }
        };
        match tokio::time::timeout(TIMEOUT, read).await {
            Ok(read) => read,
            Err(_) => Err(ApiError::new(&messages::SLOW_BODY)),
        }
    }

    /// Decodes gzip.
    async fn unpack(&self, packed: &[u8], limit: usize) -> Result<ReceivedBody<'_>, ApiError> {
        let mut decoder = MultiGzDecoder::new(packed);
        let (mut all, mut held, mut piece) = (BytesMut::new(), None, vec![0; PIECE]);
        loop {
            let len =
                decoder.read(&mut piece).map_err(|error| ApiError::with(&messages::BAD_GZIP, error.to_string()))?;
            if len == 0 {
                return Ok(ReceivedBody { bytes: all.freeze(), _held: held });
            }
            self.hold(&mut held, all.len() + len, limit)?;
            all.extend_from_slice(&piece[..len]);
            tokio::task::yield_now().await;
        }
    }

    /// Has the budget hold a body of `len` bytes.
    fn hold<'a>(&'a self, held: &mut Option<SemaphorePermit<'a>>, len: usize, limit: usize) -> Result<(), ApiError> {
        if len > limit {
            return Err(too_large(limit));
        }
        let owed = len.saturating_sub(FREE).div_ceil(UNIT) - held.as_ref().map_or(0, SemaphorePermit::num_permits);
        if owed > 0 {
            let more = self.large.try_acquire_many(owed as u32).map_err(|_| ApiError::new(&messages::BUSY))?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        Ok(())
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
            self.hold(&mut held, first.len() + all.len() + data.len(), limit)?;
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
    use futures_util::{FutureExt, StreamExt, stream};

    fn pieces(count: usize, size: usize) -> Body {
        Body::from_stream(stream::iter((0..count).map(move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size])))))
    }

    fn is_refused(read: Result<ReceivedBody, ApiError>, message: &messages::Message, text: &str) -> bool {
        matches!(read, Err(error @ ApiError::Message(found, _)) if found == message && error.text("") == text)
    }

    #[tokio::test]
    async fn a_body_is_put_together_up_to_its_limit() {
        let budget = Budget::new(1 << 20);
        assert_eq!(budget.read(&HeaderMap::new(), pieces(3, 5), 15).await.unwrap().bytes().len(), 15);
        assert_eq!(budget.read(&HeaderMap::new(), Body::empty(), 15).await.unwrap().bytes().len(), 0);
        let too_large = "The body is longer than 15 bytes";
        assert!(is_refused(budget.read(&HeaderMap::new(), pieces(4, 5), 15).await, &messages::TOO_LARGE, too_large));
        assert!(is_refused(
            budget.read(&HeaderMap::new(), Body::from(vec![0; 16]), 15).await,
            &messages::TOO_LARGE,
            too_large
        ));
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_and_small_ones_need_none() {
        let budget = Budget::new(100 << 10);
        let first = budget.read(&HeaderMap::new(), pieces(130, 1 << 10), HOOK_LIMIT).await.unwrap();
        assert_eq!(budget.large.available_permits(), 100 - 66);
        let busy = "Too many large requests are on their way: send it again later";
        assert!(is_refused(
            budget.read(&HeaderMap::new(), pieces(130, 1 << 10), HOOK_LIMIT).await,
            &messages::BUSY,
            busy
        ));
        assert!(budget.read(&HeaderMap::new(), pieces(64, 1 << 10), HOOK_LIMIT).await.is_ok());
        drop(first);
        assert_eq!(budget.large.available_permits(), 100);
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_unfinished_bodies_makes_room() {
        let budget = Budget::new(1 << 20);
        let first = || stream::iter([Ok::<_, std::io::Error>(Bytes::from("{"))]);
        let begun = || Body::from_stream(first().chain(stream::pending()));
        let headers = HeaderMap::new();
        let mut unfinished: Vec<_> = (0..UNFINISHED).map(|_| Box::pin(budget.read(&headers, begun(), 9))).collect();
        for read in &mut unfinished {
            assert!(read.now_or_never().is_none());
        }
        // A body that ends leaves its place.
        for _ in 0..3 {
            assert_eq!(budget.read(&headers, pieces(3, 3), 9).await.unwrap().bytes().len(), 9);
        }
        let displaced = unfinished.remove(0).now_or_never().unwrap();
        assert!(is_refused(displaced, &messages::SLOW_BODIES, messages::SLOW_BODIES.text));
        assert!(unfinished.iter_mut().all(|read| read.now_or_never().is_none()));
        drop(unfinished);
        assert!(budget.unfinished.lock().1.is_empty());
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, plain).unwrap();
        packed.finish().unwrap()
    }

    #[tokio::test]
    async fn a_packed_body_is_bounded_as_it_is_unpacked() {
        let budget = Budget::new(200 << 10);
        let encoded =
            |encoding: &'static str| HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())]);
        let read = async |body: Vec<u8>, limit| budget.read(&encoded("gzip"), body.into(), limit).await;
        assert_eq!(read(gzip(b"{}"), 99).await.unwrap().bytes(), b"{}");
        assert_eq!(read([gzip(b"a"), gzip(b"b")].concat(), 99).await.unwrap().bytes(), b"ab");
        assert_eq!(budget.read(&encoded("Identity"), "x".into(), 1).await.unwrap().bytes(), b"x");
        let large = gzip(&vec![0; 300 << 10]);
        assert!(large.len() < 4 << 10);
        assert!(is_refused(read(large.clone(), 300 << 10).await, &messages::BUSY, messages::BUSY.text));
        assert!(is_refused(read(large, 100 << 10).await, &messages::TOO_LARGE, "The body is longer than 102400 bytes"));
        assert_eq!(budget.large.available_permits(), 200);
        for broken in [b"{}".to_vec(), gzip(b"hello")[..12].to_vec()] {
            assert!(
                matches!(read(broken, 99).await, Err(ApiError::Message(message, _)) if *message == messages::BAD_GZIP)
            );
        }
        let refused = budget.read(&encoded("br"), "x".into(), 1).await;
        let text = "The body is encoded as br: send it as it is, or with Content-Encoding: gzip";
        assert!(is_refused(refused, &messages::CONTENT_ENCODING, text));
    }
}
