//! Memory that the daemon holds for others at once, such as for answers that have not gone out: parts of MEMORY_BUDGET.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of a pool, in bytes.
const UNIT: u64 = 1 << 10;

/// A number of bytes that are claimed in the order in which they were asked for. Clones share it; the default one is
/// without bound.
#[derive(Debug, Clone, Default)]
pub struct MemoryPool(Option<PoolUnits>);

#[derive(Debug, Clone)]
struct PoolUnits {
    free: Arc<Semaphore>,
    units: u32,
}

/// Bytes of a pool, which are given back when this is dropped.
#[derive(Debug, Default)]
pub struct MemoryClaim(Option<OwnedSemaphorePermit>);

impl MemoryPool {
    /// Makes a pool of this many bytes. 0 bytes are no bound.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        Self((bytes > 0).then(|| PoolUnits { free: Arc::new(Semaphore::new(units as usize)), units }))
    }

    /// Waits for this many bytes, or for all that there are.
    pub async fn claim(&self, bytes: u64) -> MemoryClaim {
        let Some(pool) = &self.0 else { return MemoryClaim::default() };
        // The semaphore is never closed.
        MemoryClaim(pool.free.clone().acquire_many_owned(pool.owed(bytes)).await.ok())
    }

    /// Takes this many bytes, or all that there are; `None` if they are not free, or others wait for them.
    pub fn try_claim(&self, bytes: u64) -> Option<MemoryClaim> {
        let Some(pool) = &self.0 else { return Some(MemoryClaim::default()) };
        pool.free.clone().try_acquire_many_owned(pool.owed(bytes)).ok().map(|permit| MemoryClaim(Some(permit)))
    }

    /// Returns the bytes that are claimed, and those that there are; `None` without a bound.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let PoolUnits { free, units } = self.0.as_ref()?;
        let all = u64::from(*units);
        Some((all.saturating_sub(free.available_permits() as u64) * UNIT, all * UNIT))
    }
}

impl PoolUnits {
    fn owed(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).map_or(self.units, |units| units.min(self.units))
    }
}

impl MemoryClaim {
    /// Gives back all but this many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        let Some(permit) = &mut self.0 else { return };
        let kept = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        drop(permit.split(permit.num_permits().saturating_sub(kept)));
    }

    /// Returns the bytes, whose memory stays claimed until the last part of them is dropped. The rest of the claim is
    /// given back.
    pub fn hold(mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        self.shrink(bytes.as_ref().len() as u64);
        hold_for(bytes, self)
    }
}

/// Returns the bytes, with which `owner` lives until their last part is dropped.
pub fn hold_for(bytes: impl AsRef<[u8]> + Send + 'static, owner: impl Send + 'static) -> Bytes {
    Bytes::from_owner(HeldBytes { bytes, _owner: owner })
}

struct HeldBytes<T, O> {
    bytes: T,
    _owner: O,
}

impl<T: AsRef<[u8]>, O> AsRef<[u8]> for HeldBytes<T, O> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_until_their_last_part_is_gone() {
        let pool = MemoryPool::new(10 << 10);
        let mut bytes = pool.claim(8 << 10).await.hold(vec![b'x'; 3000]);
        assert_eq!(pool.usage(), Some((3 << 10, 10 << 10)));
        let part = bytes.split_to(1);
        drop(bytes);
        assert_eq!((pool.usage().unwrap().0, &part[..]), (3 << 10, &b"x"[..]));
        drop(part);
        assert_eq!(pool.usage().unwrap().0, 0);
    }

    #[tokio::test]
    async fn who_asked_first_is_first_and_one_that_wants_too_much_gets_all() {
        let pool = MemoryPool::new(10 << 10);
        let first = pool.claim(1).await;
        let claim = |bytes: u64| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.claim(bytes).await }
            })
        };
        let all = claim(1 << 30);
        tokio::task::yield_now().await;
        let small = claim(1);
        tokio::task::yield_now().await;
        assert!(!all.is_finished() && !small.is_finished() && pool.try_claim(1).is_none());
        drop(first);
        let all = all.await.unwrap();
        assert_eq!(pool.usage().unwrap().0, 10 << 10);
        assert!(!small.is_finished());
        drop(all);
        drop(small.await.unwrap());
        assert!(pool.try_claim(10 << 10).is_some());
        let unbounded = MemoryPool::new(0);
        assert_eq!((unbounded.usage(), unbounded.claim(u64::MAX).await.hold("x")), (None, "x".into()));
    }
}
