use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Which synced contexts of a key are in use. The engine resyncs in full when two builds share
/// one, and may hold it for a whole build; so a build takes a free slot or opens another, and
/// never waits.
#[derive(Default, Clone)]
pub(in crate::engine) struct Slots(Arc<Mutex<HashMap<String, Key>>>);

#[derive(Default)]
struct Key {
    /// The most recently used one is last: it holds the newest context.
    free: Vec<u32>,
    opened: u32,
}

/// A slot in use; it is free again when this is dropped.
pub(in crate::engine) struct Slot {
    slots: Slots,
    key: String,
    pub number: u32,
}

impl Slots {
    pub(in crate::engine) fn take(&self, key: &str) -> Slot {
        let number = self.with(key, |slots| {
            slots.free.pop().unwrap_or_else(|| {
                slots.opened += 1;
                slots.opened - 1
            })
        });
        Slot { slots: self.clone(), key: key.into(), number }
    }

    fn with<T>(&self, key: &str, f: impl FnOnce(&mut Key) -> T) -> T {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(keys.entry(key.into()).or_default())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.with(&self.key, |slots| slots.free.push(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_never_shared_and_the_last_used_comes_first() {
        let slots = Slots::default();
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
