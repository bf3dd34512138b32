//! Leases of mirrors. A job holds one from the fetch to the end of the build, because the engine reads files while it
//! builds.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

#[derive(Debug, Default)]
pub(in crate::git) struct MirrorLeases {
    taken: Mutex<LeaseTable>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct LeaseTable {
    next: u64,
    /// Mirror and start of each lease; the first entry is the oldest.
    live: BTreeMap<u64, (PathBuf, SystemTime)>,
    ended: HashSet<PathBuf>,
}

/// Keeps a mirror as it is while this value is held.
#[derive(Debug)]
pub(in crate::git) struct MirrorLease {
    leases: Arc<MirrorLeases>,
    id: u64,
}

impl MirrorLeases {
    pub fn take(self: &Arc<Self>, mirror: &Path) -> Arc<MirrorLease> {
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.live.insert(id, (mirror.into(), SystemTime::now()));
        self.changed.notify_waiters();
        Arc::new(MirrorLease { leases: self.clone(), id })
    }

    pub fn is_leased(&self, mirror: &Path) -> bool {
        self.taken().live.values().any(|(path, _)| path == mirror)
    }

    /// Returns the start of the oldest lease.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.taken().live.values().map(|(_, since)| *since).min()
    }

    /// Returns the mirrors whose leases have ended since the last call.
    pub fn take_ended(&self) -> HashSet<PathBuf> {
        std::mem::take(&mut self.taken().ended)
    }

    /// Returns a future that completes when a lease is taken or ends after this call.
    pub fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Returns when somebody leases the mirror.
    pub async fn until_taken(&self, mirror: &Path) {
        loop {
            let change = self.change();
            if self.is_leased(mirror) {
                return;
            }
            change.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, LeaseTable> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MirrorLease {
    fn drop(&mut self) {
        let mut taken = self.leases.taken();
        if let Some((mirror, _)) = taken.live.remove(&self.id) {
            taken.ended.insert(mirror);
        }
        self.leases.changed.notify_waiters();
    }
}
