//! GitHub's rate limits (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::model::Millis;

/// The longest pause. The primary limit is counted by the hour, so a longer one would come from a wrong clock.
const LONGEST: Duration = Duration::from_secs(3600);
/// The pause after a refusal that names no time, as GitHub asks.
const UNNAMED: Duration = Duration::from_secs(60);

/// Holds requests back until the limit is over.
#[derive(Default)]
pub(super) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Returns how long the gate stays closed.
    pub fn closed(&self, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }

    /// Closes the gate until then, or for longer if it is closed for longer already.
    pub fn close(&self, until: Instant) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(until));
    }
}

/// Returns how long a response asks us to pause. `message` is GitHub's own.
pub(super) fn pause(status: StatusCode, headers: &HeaderMap, message: &str, now: Millis) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u32>().ok();
    let is_refusal = [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let is_unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
    let named = number("retry-after").filter(|_| is_refusal || is_unavailable).map(|s| Duration::from_secs(s.into()));
    let used_up = || {
        let reset = number("x-ratelimit-reset").filter(|_| number("x-ratelimit-remaining") == Some(0))?;
        // One second more, because the reset is rounded down to whole seconds.
        Some(Millis(i64::from(reset) * 1000).since(now) + Duration::from_secs(1))
    };
    let is_secondary =
        is_refusal && (status == StatusCode::TOO_MANY_REQUESTS || message.to_ascii_lowercase().contains("rate limit"));
    named.or_else(used_up).or(is_secondary.then_some(UNNAMED)).map(|pause| pause.min(LONGEST))
}
