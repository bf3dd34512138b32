use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedMutexGuard;

/// An answer of whoever keeps the tags, or why there is none.
type Answer<T> = BoxFuture<'static, Result<T, String>>;

/// Which commit each tag of an image was last given, so that an older one that is built later does not take it back. Kept
/// elsewhere: these are the ways to ask and to tell, by `registry/name:tag`.
pub struct Tags {
    holder: Box<dyn Fn(String) -> Answer<Option<String>> + Send + Sync>,
    hold: Box<dyn Fn(String, String) -> Answer<()> + Send + Sync>,
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Tags {
    pub fn new<A, B>(
        holder: impl Fn(String) -> A + Send + Sync + 'static,
        hold: impl Fn(String, String) -> B + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = Result<Option<String>, String>> + Send + 'static,
        B: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            holder: Box::new(move |image| holder(image).boxed()),
            hold: Box::new(move |image, commit| hold(image, commit).boxed()),
            locks: Mutex::default(),
        }
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

    pub(super) async fn holder(&self, image: &str) -> Result<Option<String>, String> {
        (self.holder)(image.into()).await
    }

    pub(super) async fn hold(&self, image: &str, commit: &str) -> Result<(), String> {
        (self.hold)(image.into(), commit.into()).await
    }
}
