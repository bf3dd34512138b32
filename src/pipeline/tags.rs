//! Tags that several jobs give to their images: the ledger of who has each, and a lock for each.

mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

use crate::model::{RefUpdate, RepoRef, TagHolder};
pub(super) use order::{Contest, Later};

/// The reason why the ledger cannot be read or written, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

pub type LedgerFuture<'a, T> = BoxFuture<'a, Result<T, LedgerError>>;

/// The record of tags and of the refs that set them, which outlives jobs. Tags are named `registry/path:tag`.
pub trait TagLedger: Send + Sync {
    /// The image that a tag was given last.
    fn holder<'a>(&'a self, image: &'a str) -> LedgerFuture<'a, Option<TagHolder>>;

    /// Notes that an image has a tag from now on.
    fn give<'a>(&'a self, image: &'a str, holder: &'a TagHolder) -> LedgerFuture<'a, ()>;

    /// The refs of a repository whose heads are noted, and the newest head of each.
    fn watched<'a>(&'a self, repository: &'a str) -> LedgerFuture<'a, BTreeMap<String, String>>;

    /// Notes the heads of a repository's refs, as the fetch of this number found them.
    fn saw<'a>(&'a self, repository: &'a str, number: u64, heads: BTreeMap<String, String>) -> LedgerFuture<'a, ()>;

    /// The number of the last fetch that found each of these commits at the head of the ref.
    fn last_seen<'a>(&'a self, of: &'a RepoRef, commits: [&'a str; 2]) -> LedgerFuture<'a, [Option<u64>; 2]>;

    /// The newest pushes of a ref.
    fn pushes<'a>(&'a self, of: &'a RepoRef) -> LedgerFuture<'a, Vec<RefUpdate>>;
}

/// The ledger, and a lock for each tag.
pub struct Tags {
    pub ledger: Box<dyn TagLedger>,
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Tags {
    pub fn new(ledger: impl TagLedger + 'static) -> Self {
        Self { ledger: Box::new(ledger), locks: Mutex::default() }
    }

    /// Nobody else gives this tag to anything as long as the guard lives.
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
