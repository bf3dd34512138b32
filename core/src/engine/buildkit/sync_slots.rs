//! Slots for the contexts that an engine keeps between builds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The slots of each key, and their use. Each slot is a context that the engine keeps. When two builds share a
/// context, the engine sends all files again and may lock it for a whole build. Therefore a build takes a free slot or
/// opens another one, and never waits.
#[derive(Default, Clone)]
pub(in crate::engine) struct SyncSlots(Arc<Mutex<HashMap<String, SlotsOfKey>>>);

#[derive(Default)]
struct SlotsOfKey {
    /// Free slots. The most recently used one is last, because it has the newest context.
    free: Vec<u32>,
    opened: u32,
}

/// A slot in use. Dropping it makes it free.
pub(in crate::engine) struct SyncSlot {
    slots: SyncSlots,
    key: String,
    pub number: u32,
}

impl SyncSlots {
    pub(in crate::engine) fn take(&self, key: &str) -> SyncSlot {
        let number = self.with(key, |slots| {
            slots.free.pop().unwrap_or_else(|| {
                slots.opened += 1;
                slots.opened - 1
            })
        });
        SyncSlot { slots: self.clone(), key: key.into(), number }
    }

    fn with<T>(&self, key: &str, f: impl FnOnce(&mut SlotsOfKey) -> T) -> T {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(keys.entry(key.into()).or_default())
    }
}

impl Drop for SyncSlot {
    fn drop(&mut self) {
        self.slots.with(&self.key, |slots| slots.free.push(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_never_shared_and_the_last_used_comes_first() {
        let slots = SyncSlots::default();
        let (a, b, c) = (slots.take("k"), slots.take("k"), slots.take("k"));
        assert_eq!((a.number, b.number, c.number), (0, 1, 2));
        drop(a);
        drop(c);
        drop(b);
        assert_eq!(slots.take("k").number, 1);
        let (b, c) = (slots.take("k"), slots.take("k"));
        assert_eq!((b.number, c.number), (1, 2));
        assert_eq!(slots.take("other").number, 0);
    }
}
