//! The places that connections take. Some are kept for webhooks and for questions about the daemon's health, and no address
//! has more than its share.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::shares::{AddressPlace, AddressShares, TrustedProxies};
use crate::http::error::ApiError;
use crate::http::messages;

/// Files that the store, Git and the engines may need beside the connections.
const OWN_FILES: u64 = 512;
/// The most connections, because the headers of each may take 64 KB before anyone knows who sends them.
const MOST: usize = 4096;
/// Places for webhooks and health while all others are taken.
const KEPT: usize = 64;
/// The part of the places that one address may have, as a divisor.
const SHARE: usize = 4;

/// The places of all connections, and of those that follow a log.
pub struct Places {
    ordinary: PlacePool,
    kept: PlacePool,
    followers: PlacePool,
    proxies: TrustedProxies,
    /// The connections with kept places, the oldest first.
    waiting: Mutex<VecDeque<Weak<KeptState>>>,
    /// True from the first connection without an ordinary place until one gets it again.
    is_full: AtomicBool,
    refusals: [AtomicU64; 3],
}

struct PlacePool {
    size: usize,
    free: Arc<Semaphore>,
    shares: Arc<AddressShares>,
}

impl PlacePool {
    fn new(size: usize) -> Self {
        Self { size, free: Arc::new(Semaphore::new(size)), shares: AddressShares::new(size / SHARE) }
    }

    fn taken(&self) -> usize {
        self.size - self.free.available_permits()
    }
}

/// The reason why something got no ordinary place.
#[derive(Clone, Copy)]
enum NoPlace {
    /// All places are taken.
    Places,
    /// The address has its share.
    Address,
    /// All places of followers are taken.
    Followers,
}

/// The place of one connection.
pub(super) struct ConnectionPlace {
    pub places: Arc<Places>,
    pub kept: Option<Arc<KeptState>>,
    /// True if the peer is a trusted proxy, whose requests are counted for those who sent them.
    pub is_proxy: bool,
    /// The place of the sender whose request made a WebSocket of the connection.
    pub upgraded: OnceLock<AddressPlace>,
    _permit: OwnedSemaphorePermit,
    _address: Option<AddressPlace>,
}

/// The state of a connection with a kept place, which makes room for a newer one while it has brought no request.
#[derive(Default)]
pub(super) struct KeptState {
    /// True once a request has come, or the connection must go. The first of the two counts.
    is_decided: AtomicBool,
    pub displaced: CancellationToken,
}

impl KeptState {
    /// Notes that a request has come. Returns false if the connection must go.
    pub fn begin(&self) -> bool {
        !self.is_decided.swap(true, Relaxed)
    }
}

/// The place of one follower of a log.
pub struct FollowerPlace(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

impl Places {
    /// Makes the places of a process that may open this many files: one file is one connection.
    pub fn new(files: u64, proxies: TrustedProxies) -> Self {
        let all = files.saturating_sub(OWN_FILES).max(files / 2);
        let all = usize::try_from(all).unwrap_or(MOST).clamp(2 * KEPT, MOST);
        let ordinary = all - KEPT;
        Self {
            ordinary: PlacePool::new(ordinary),
            kept: PlacePool::new(KEPT),
            followers: PlacePool::new(ordinary - ordinary / 4),
            proxies,
            waiting: Mutex::default(),
            is_full: AtomicBool::new(false),
            refusals: Default::default(),
        }
    }

    pub(super) fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// Takes a place: an ordinary one if there is one, else a kept one as soon as there is one. Returns `None` for a peer
    /// that has its share of both. The peer of a Unix socket has no address.
    pub(super) async fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<ConnectionPlace> {
        let counted = peer.and_then(|peer| self.proxies.counted(peer));
        let place = |permit, kept, address| ConnectionPlace {
            places: self.clone(),
            kept,
            is_proxy: peer.is_some_and(|peer| self.proxies.has(peer)),
            upgraded: OnceLock::new(),
            _permit: permit,
            _address: address,
        };
        match counted.map(|address| self.share(&self.ordinary, address)).transpose() {
            Ok(address) => {
                if let Ok(permit) = self.ordinary.free.clone().try_acquire_owned() {
                    // A few places come and go at the brink.
                    let is_free = self.ordinary.free.available_permits() > self.ordinary.size / 16;
                    if is_free && self.is_full.swap(false, Relaxed) {
                        tracing::info!("there are places for connections again");
                    }
                    return Some(place(permit, None, address));
                }
                self.note_full();
            }
            Err(()) => self.count_refusal(NoPlace::Address),
        }
        let address = counted.map(|address| self.kept.shares.take(address)).transpose().ok()?;
        let permit = match self.kept.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.displace();
                self.kept.free.clone().acquire_owned().await.ok()?
            }
        };
        let kept = Arc::new(KeptState::default());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|state| state.strong_count() > 0);
        waiting.push_back(Arc::downgrade(&kept));
        Some(place(permit, Some(kept), address))
    }

    /// Takes a place for a request that a trusted proxy passed on: of the sender's ordinary share, or for an urgent request
    /// of the kept one. Returns `None` for a sender that is not counted.
    ///
    /// # Errors
    /// The sender has its share.
    pub(super) fn take_forwarded(&self, sender: IpAddr, is_urgent: bool) -> Result<Option<AddressPlace>, ApiError> {
        let Some(sender) = self.proxies.counted(sender) else { return Ok(None) };
        if let Ok(place) = self.share(&self.ordinary, sender) {
            return Ok(Some(place));
        }
        self.count_refusal(NoPlace::Address);
        let kept = is_urgent.then(|| self.kept.shares.take(sender).ok()).flatten();
        kept.map(Some).ok_or_else(|| ApiError::with(&messages::ADDRESS, self.ordinary.shares.most.to_string()))
    }

    fn share(&self, pool: &PlacePool, address: IpAddr) -> Result<AddressPlace, ()> {
        pool.shares.take(address).map_err(|is_first| {
            if is_first {
                tracing::warn!(
                    "{address} has {} places, the share of one address: it gets only webhooks, /health, /ready and /metrics; \
                     if it is a proxy, name it in TRUSTED_PROXIES",
                    pool.shares.most
                );
            }
        })
    }

    fn note_full(&self) {
        self.count_refusal(NoPlace::Places);
        if !self.is_full.swap(true, Relaxed) {
            tracing::warn!(
                "all {} places for connections are taken: later ones get only webhooks, /health, /ready and /metrics; raise \
                 LimitNOFILE, or end some",
                self.ordinary.size
            );
        }
    }

    /// Ends the oldest connection with a kept place that has brought no request, so that silent ones hold nobody up.
    fn displace(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = waiting.pop_front() {
            if let Some(oldest) = oldest.upgrade().filter(|oldest| oldest.begin()) {
                oldest.displaced.cancel();
                return;
            }
        }
    }

    /// Takes the place of a follower of a log.
    ///
    /// # Errors
    /// All are taken. A quarter of the connections is left for other requests.
    pub fn follow(&self) -> Result<FollowerPlace, ApiError> {
        let permit = self.followers.free.clone().try_acquire_owned();
        let full = |_| {
            self.count_refusal(NoPlace::Followers);
            ApiError::with(&messages::FOLLOWERS, self.followers.size.to_string())
        };
        permit.map(FollowerPlace).map_err(full)
    }

    /// Returns the number of connections, of followers among them, and of places.
    pub fn count(&self) -> (usize, usize, usize) {
        let connections = self.ordinary.taken() + self.kept.taken();
        (connections, self.followers.taken(), self.ordinary.size + self.kept.size)
    }

    fn count_refusal(&self, reason: NoPlace) {
        self.refusals[reason as usize].fetch_add(1, Relaxed);
    }

    /// Returns how often there was no ordinary place, by the reason.
    pub fn refusals(&self) -> [(&'static str, u64); 3] {
        let count = |reason: NoPlace| self.refusals[reason as usize].load(Relaxed);
        [
            ("places", count(NoPlace::Places)),
            ("address", count(NoPlace::Address)),
            ("followers", count(NoPlace::Followers)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(files: u64) -> Arc<Places> {
        Arc::new(Places::new(files, TrustedProxies::new(&["192.0.2.9/32".parse().unwrap()])))
    }

    #[tokio::test]
    async fn places_follow_from_the_files_and_some_are_kept() {
        for (files, all) in [(0, 128), (256, 128), (1024, 512), (2000, 1488), (65_536, 4096), (u64::MAX, 4096)] {
            assert_eq!(places(files).count(), (0, 0, all), "{files}");
        }
        let places = places(0);
        let mut taken = Vec::new();
        for _ in 0..128 {
            taken.push(places.take(None).await.unwrap());
        }
        assert_eq!(taken.iter().filter(|place| place.kept.is_some()).count(), KEPT);
        let followers: Vec<_> = (0..48).map(|_| places.follow().unwrap()).collect();
        assert!(places.follow().is_err());
        assert_eq!(places.count(), (128, 48, 128));
        drop((taken, followers));
        assert!(places.take(None).await.unwrap().kept.is_none());
        assert_eq!(places.count(), (0, 0, 128));
        assert_eq!(places.refusals(), [("places", 64), ("address", 0), ("followers", 1)]);
    }

    #[tokio::test]
    async fn one_address_leaves_places_for_others() {
        let places = places(0);
        let mut taken = Vec::new();
        let mut take = async |address: &str, n| {
            let (mut ordinary, mut kept) = (0, 0);
            for _ in 0..n {
                let Some(place) = places.take(Some(address.parse().unwrap())).await else { continue };
                *(if place.kept.is_some() { &mut kept } else { &mut ordinary }) += 1;
                taken.push(place);
            }
            (ordinary, kept)
        };
        assert_eq!(take("192.0.2.1", 64).await, (16, 16));
        // The hosts of one IPv6 network are one.
        assert_eq!(take("2001:db8::1", 10).await, (10, 0));
        assert_eq!(take("2001:db8::2", 10).await, (6, 4));
        assert_eq!(take("192.0.2.9", 16).await, (16, 0));
        assert_eq!(take("127.0.0.1", 17).await, (16, 1));
        drop(taken);
        assert_eq!(places.count().0, 0);
    }

    #[tokio::test]
    async fn requests_of_a_proxy_are_counted_for_their_senders() {
        let places = places(0);
        let sender = "198.51.100.1".parse().unwrap();
        let mut taken: Vec<_> = (0..16).map(|_| places.take_forwarded(sender, false).unwrap()).collect();
        assert!(places.take_forwarded(sender, false).is_err());
        taken.extend((0..16).map(|_| places.take_forwarded(sender, true).unwrap()));
        assert!(places.take_forwarded(sender, true).is_err());
        assert!(places.take_forwarded("127.0.0.1".parse().unwrap(), false).unwrap().is_none());
        drop(taken);
        assert!(places.take_forwarded(sender, false).is_ok());
    }

    #[tokio::test]
    async fn a_silent_connection_makes_room_and_one_with_a_request_does_not() {
        let places = places(0);
        let mut taken = Vec::new();
        for _ in 0..128 {
            taken.push(places.take(None).await.unwrap());
        }
        let kept: Vec<_> = taken.iter().filter_map(|place| place.kept.clone()).collect();
        assert!(kept[0].begin());
        let mut next = Box::pin(places.take(None));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        let displaced = || kept.iter().filter(|state| state.displaced.is_cancelled()).count();
        assert_eq!((kept[1].displaced.is_cancelled(), displaced()), (true, 1));
        assert!(!kept[1].begin());
        taken.retain(|place| !place.kept.as_ref().is_some_and(|state| state.displaced.is_cancelled()));
        assert!(next.await.unwrap().kept.is_some());
    }
}
