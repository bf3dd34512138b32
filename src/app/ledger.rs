use std::collections::BTreeMap;

use futures_util::FutureExt;

use crate::model::{RefUpdate, RepoRef, TagHolder};
use crate::pipeline::{LedgerError, LedgerFuture, TagLedger};
use crate::store::{Store, StoreError};

/// Implements the pipeline's ledger of tags by the store.
pub struct Ledger(pub Store);

fn error(error: StoreError) -> LedgerError {
    LedgerError(error.to_string())
}

impl TagLedger for Ledger {
    fn holder<'a>(&'a self, image: &'a str) -> LedgerFuture<'a, Option<TagHolder>> {
        async move { self.0.tag_holder(image).await.map_err(error) }.boxed()
    }

    fn set_holder<'a>(&'a self, image: &'a str, holder: &'a TagHolder) -> LedgerFuture<'a, ()> {
        async move { self.0.give_tag(image, holder).await.map_err(error) }.boxed()
    }

    fn watched_refs<'a>(&'a self, repository: &'a str) -> LedgerFuture<'a, BTreeMap<String, String>> {
        async move { self.0.watched_refs(repository).await.map_err(error) }.boxed()
    }

    fn record_heads<'a>(
        &'a self,
        repository: &'a str,
        number: u64,
        heads: BTreeMap<String, String>,
    ) -> LedgerFuture<'a, ()> {
        async move { self.0.saw_heads(repository, number, heads).await.map_err(error) }.boxed()
    }

    fn last_seen<'a>(&'a self, of: &'a RepoRef, commits: [&'a str; 2]) -> LedgerFuture<'a, [Option<u64>; 2]> {
        async move { self.0.last_seen(of, commits).await.map_err(error) }.boxed()
    }

    fn pushes<'a>(&'a self, of: &'a RepoRef) -> LedgerFuture<'a, Vec<RefUpdate>> {
        async move { self.0.pushes(of).await.map_err(error) }.boxed()
    }
}
