//! The memory of answers that a repository or a sender can make large.

use std::time::Duration;

use axum::response::Response;
use http_body_util::BodyExt;

use super::error::ApiError;
use super::messages;
use crate::memory::{MemoryClaim, MemoryPool};

/// Longest time for which an answer waits for memory. A request has 30 s in all.
const WAIT: Duration = Duration::from_secs(20);

/// Memory for an answer with one job, in bytes: JSON makes up to 240 KB of a Dockerfile of 40.
pub const ONE_JOB: u64 = 512 << 10;
/// Memory for a page of deliveries or notifications, in bytes: 1,000 of them have about 1 KB each.
pub const PAGE: u64 = 4 << 20;

/// The memory of all answers that have not gone out.
pub struct Answers(MemoryPool);

impl Answers {
    pub fn new(pool: MemoryPool) -> Self {
        Self(pool)
    }

    /// Takes the memory that an answer needs, before it is made.
    ///
    /// # Errors
    /// Other answers have held it for [`WAIT`].
    pub async fn claim(&self, bytes: u64) -> Result<MemoryClaim, ApiError> {
        let claim = tokio::time::timeout(WAIT, self.0.claim(bytes)).await;
        claim.map_err(|_| ApiError::new(&messages::ANSWERS))
    }

    /// Returns the bytes that are held, and those that there are; `None` without a bound.
    pub fn usage(&self) -> Option<(u64, u64)> {
        self.0.usage()
    }
}

/// Returns an answer whose body is in memory, which stays claimed until it has gone out.
pub async fn held(response: Response, claim: MemoryClaim) -> Response {
    let (parts, body) = response.into_parts();
    // The body cannot fail, because it is in memory.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = if body.is_empty() { body } else { claim.hold(body) };
    Response::from_parts(parts, body.into())
}
