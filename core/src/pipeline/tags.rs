//! Records which image has each tag, in a ledger, and locks a tag while a job sets it.

mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

use crate::model::{RefUpdate, RepoRef, TagHolder};
pub(super) use order::{CommitPair, Later};

/// The reason why the ledger cannot be read or written, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

pub type LedgerFuture<'a, T> = BoxFuture<'a, Result<T, LedgerError>>;

/// The record of tags and of the refs that set them. It outlives jobs. A tag's name has the form `registry/path:tag`.
pub trait TagLedger: Send + Sync {
    /// Returns the image that has a tag.
    fn holder<'a>(&'a self, image: &'a str) -> LedgerFuture<'a, Option<TagHolder>>;

    /// Stores that an image has a tag from now on.
    fn set_holder<'a>(&'a self, image: &'a str, holder: &'a TagHolder) -> LedgerFuture<'a, ()>;

    /// Returns the refs of a repository whose heads are recorded, and the newest head of each.
    fn watched_refs<'a>(&'a self, repository: &'a str) -> LedgerFuture<'a, BTreeMap<String, String>>;

    /// Stores the heads of a repository's refs, as the fetch of this number found them.
    fn record_heads<'a>(
        &'a self,
        repository: &'a str,
        number: u64,
        heads: BTreeMap<String, String>,
    ) -> LedgerFuture<'a, ()>;

    /// Returns, for each of these commits, the number of the last fetch that found it at the head of the ref.
    fn last_seen<'a>(&'a self, of: &'a RepoRef, commits: [&'a str; 2]) -> LedgerFuture<'a, [Option<u64>; 2]>;

    /// Returns the newest pushes of a ref.
    fn pushes<'a>(&'a self, of: &'a RepoRef) -> LedgerFuture<'a, Vec<RefUpdate>>;
}

/// The ledger, with a lock for each tag.
pub struct Tags {
    pub ledger: Box<dyn TagLedger>,
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Tags {
    pub fn new(ledger: impl TagLedger + 'static) -> Self {
        Self { ledger: Box::new(ledger), locks: Mutex::default() }
    }

    /// Locks a tag. No other job sets this tag while the guard lives.
    pub(super) async fn lock(&self, image: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let lock = locks.get(image).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(image.into(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}
