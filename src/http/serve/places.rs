//! The places that connections take. Some are kept for webhooks and for questions about the daemon's health.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::unrouted::{EVENT, has_token};

/// Files that the store, Git and the engines may need beside the connections.
const OWN_FILES: u64 = 512;
/// The most connections, because the headers of each may take 64 KB before anyone knows who sends them.
const MOST: usize = 4096;
/// Places for webhooks and health while all others are taken.
const KEPT: usize = 64;
/// Time for a whole request and its answer at a kept place. Forges wait for 10 s, and may have to wait for a place first.
const KEPT_ANSWER: Duration = Duration::from_secs(5);

/// The places of all connections, and of those that follow a log.
pub struct Places {
    ordinary: PlacePool,
    kept: PlacePool,
    followers: PlacePool,
    /// True from the first connection without an ordinary place until one gets it again.
    is_full: AtomicBool,
}

struct PlacePool {
    size: usize,
    free: Arc<Semaphore>,
}

impl PlacePool {
    fn new(size: usize) -> Self {
        Self { size, free: Arc::new(Semaphore::new(size)) }
    }

    fn taken(&self) -> usize {
        self.size - self.free.available_permits()
    }
}

/// The place of one connection.
pub(super) struct ConnectionPlace {
    pub is_kept: bool,
    _permit: OwnedSemaphorePermit,
}

/// The place of one follower of a log.
pub struct FollowerPlace(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

/// Marks the requests of a connection that has a kept place.
#[derive(Clone)]
pub(super) struct KeptPlace;

impl Places {
    /// Makes the places of a process that may open this many files: one file is one connection.
    pub fn new(files: u64) -> Self {
        let all = files.saturating_sub(OWN_FILES).max(files / 2);
        let all = usize::try_from(all).unwrap_or(MOST).clamp(2 * KEPT, MOST);
        let ordinary = all - KEPT;
        Self {
            ordinary: PlacePool::new(ordinary),
            kept: PlacePool::new(KEPT),
            followers: PlacePool::new(ordinary - ordinary / 4),
            is_full: AtomicBool::new(false),
        }
    }

    /// Takes a place: an ordinary one if there is one, else a kept one as soon as there is one.
    pub(super) async fn take(&self) -> Option<ConnectionPlace> {
        if let Ok(permit) = self.ordinary.free.clone().try_acquire_owned() {
            // A few places come and go at the brink.
            let is_free = self.ordinary.free.available_permits() > self.ordinary.size / 16;
            if is_free && self.is_full.swap(false, Relaxed) {
                tracing::info!("there are places for connections again");
            }
            return Some(ConnectionPlace { is_kept: false, _permit: permit });
        }
        if !self.is_full.swap(true, Relaxed) {
            tracing::warn!(
                "all {} places for connections are taken: later ones get only webhooks, /health, /ready and /metrics; raise \
                 LimitNOFILE, or end some",
                self.ordinary.size
            );
        }
        let permit = self.kept.free.clone().acquire_owned().await.ok()?;
        Some(ConnectionPlace { is_kept: true, _permit: permit })
    }

    /// Takes the place of a follower of a log.
    ///
    /// # Errors
    /// All are taken. A quarter of the connections is left for other requests.
    pub fn follow(&self) -> Result<FollowerPlace, ApiError> {
        let permit = self.followers.free.clone().try_acquire_owned();
        let full = |_| ApiError::with(&messages::FOLLOWERS, self.followers.size.to_string());
        permit.map(FollowerPlace).map_err(full)
    }

    /// Returns the number of connections, of followers among them, and of places.
    pub fn count(&self) -> (usize, usize, usize) {
        let connections = self.ordinary.taken() + self.kept.taken();
        (connections, self.followers.taken(), self.ordinary.size + self.kept.size)
    }
}

/// Refuses what a connection with a kept place may not ask for, and ends what takes too long there. It is a layer of the
/// routes, so a webhook that a dialect takes where no route is passes by its path.
pub async fn keep_for_urgent(request: Request, next: Next) -> Response {
    let full = || ApiError::new(&messages::PLACES).into_response();
    match request.extensions().get::<KeptPlace>() {
        None => next.run(request).await,
        Some(KeptPlace) if !is_urgent(&request) => full(),
        Some(KeptPlace) => tokio::time::timeout(KEPT_ANSWER, next.run(request)).await.unwrap_or_else(|_| full()),
    }
}

/// True for webhooks and for questions about the daemon's health.
fn is_urgent(request: &Request) -> bool {
    let path = request.uri().path();
    let is_routed = request.extensions().get::<MatchedPath>().is_some();
    // `/` has a route for GET alone.
    let is_elsewhere = !is_routed || (path == "/" && request.method() == Method::POST);
    let has_door = request.headers().contains_key(EVENT) || has_token(request.uri());
    let is_webhook = path.starts_with("/hooks/") || (is_elsewhere && has_door);
    matches!(path, "/health" | "/ready" | "/metrics") || is_webhook
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_follow_from_the_files_and_some_are_kept() {
        for (files, places) in [(0, 128), (256, 128), (1024, 512), (2000, 1488), (65_536, 4096), (u64::MAX, 4096)] {
            assert_eq!(Places::new(files).count(), (0, 0, places), "{files}");
        }
        let places = Places::new(0);
        let mut taken = Vec::new();
        for _ in 0..128 {
            taken.push(places.take().await.unwrap());
        }
        assert_eq!(taken.iter().filter(|place| place.is_kept).count(), KEPT);
        let followers: Vec<_> = (0..48).map(|_| places.follow().unwrap()).collect();
        assert!(places.follow().is_err());
        assert_eq!(places.count(), (128, 48, 128));
        drop((taken, followers));
        assert!(!places.take().await.unwrap().is_kept);
        assert_eq!(places.count(), (0, 0, 128));
    }
}
