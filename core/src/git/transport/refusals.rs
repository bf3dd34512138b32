//! Keys that a server refused lately. After about four refused keys, sshd (OpenSSH 9.8 and newer) drops every
//! connection from an address for 15 s and more (PerSourcePenalties), even those with good keys. A refused key is
//! therefore not shown again for five minutes, unless a person asks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Millis;

const KEPT: Duration = Duration::from_secs(5 * 60);

/// Refused keys, each by the name that [`super::ssh::connection_name`] gives to its server, host keys, user and key.
#[derive(Debug)]
pub(in crate::git) struct KeyRefusals {
    kept: Duration,
    known: Mutex<HashMap<String, RefusalRecord>>,
}

#[derive(Debug)]
struct RefusalRecord {
    host: String,
    refusal: KeyRefusal,
}

/// Time of a refusal, and the time until which the key is not shown again.
#[derive(Debug, Clone, Copy)]
pub(in crate::git) struct KeyRefusal {
    at: Millis,
    end: Instant,
    kept: Duration,
}

impl Default for KeyRefusals {
    fn default() -> Self {
        Self::keeping(KEPT)
    }
}

impl KeyRefusals {
    fn keeping(kept: Duration) -> Self {
        Self { kept, known: Mutex::default() }
    }

    /// Returns the refusal because of which this key must not be shown now.
    pub fn of(&self, name: &str) -> Option<KeyRefusal> {
        self.known().get(name).map(|known| known.refusal)
    }

    pub fn note(&self, name: &str, host: &str) {
        let refusal = KeyRefusal { at: Millis::now(), end: Instant::now() + self.kept, kept: self.kept };
        self.known().insert(name.into(), RefusalRecord { host: host.into(), refusal });
    }

    /// Forgets all keys that this host (with its port) refused, because a submodule there may have another key than its
    /// superproject.
    pub fn forget(&self, host: &str) {
        self.known().retain(|_, known| known.host != host);
    }

    /// Returns the refusals that have not ended.
    fn known(&self) -> MutexGuard<'_, HashMap<String, RefusalRecord>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.refusal.end > Instant::now());
        known
    }
}

impl fmt::Display for KeyRefusal {
    /// Writes the end of a sentence that says what was refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, end) = (self.at, self.at + self.kept);
        write!(f, "refused at {at} and not asked again until {end}; `image-factory rebuild` asks at once")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_s_refusals_are_forgotten_together() {
        let refusals = KeyRefusals::default();
        refusals.note("one", "git.example.com");
        refusals.note("two", "git.example.com");
        refusals.note("three", "git.example.com:2222");
        refusals.forget("git.example.com");
        let left = ["one", "two", "three"].map(|name| refusals.of(name).is_some());
        assert_eq!(left, [false, false, true]);
    }

    #[test]
    fn a_refusal_says_until_when_it_holds_and_ends_then() {
        let refusals = KeyRefusals::default();
        refusals.note("one", "git.example.com");
        let refusal = KeyRefusal { at: Millis(0), ..refusals.of("one").unwrap() };
        let words = "refused at 1970-01-01T00:00:00.000Z and not asked again until 1970-01-01T00:05:00.000Z; ";
        assert!(refusal.to_string().starts_with(words), "{refusal}");

        let refusals = KeyRefusals::keeping(Duration::ZERO);
        refusals.note("one", "git.example.com");
        assert!(refusals.of("one").is_none());
    }
}
